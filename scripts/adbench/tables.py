"""Tables of `benchmark_adbench.py`: means over the data sets, and set by set."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

Table: TypeAlias = tuple[str, list[str], list[list[str]]]
SHOWN = (("roc_auc", "ROC-AUC"), ("pr_auc", "PR-AUC"), ("f1", "F1"))
WITHOUT_COPIES = (("roc_auc_new", "ROC-AUC, no copies"), ("pr_auc_new", "PR-AUC, no copies"))
CALIBRATED = (("false_positive_rate", "FP rate at 1 %"), ("recall", "recall at 1 %"))


def summary(results: Sequence[Any], protocol: str, earlier: int = 0) -> str:
    """A paragraph that says what the numbers are, of which an `earlier` run had measured some."""
    sets, seeds = {result.dataset for result in results}, {result.seed for result in results}
    failed = sum(bool(result.error) for result in results)
    text = (
        f"{len(sets)} data set(s), {len(seeds)} seed(s) each, protocol {protocol}. Figures are percent: the mean over "
        "the seeds of a set, then over the sets. F1 is that of flagging as many rows as there are anomalies, in "
        "expectation over equal scores. The figures without copies leave out test rows that equal a training row in "
        "every column."
    )
    if protocol != "dte":
        text += (
            " At 1 %: with the threshold for 1 % false positives that a held-out fifth of the rows to learn from sets."
        )
    if failed:
        text += f" {failed} of {len(results)} runs failed; `results.csv` has their errors."
    if earlier:
        text += f" {earlier} of {len(results)} results stood in `results.csv` before, from runs that ended earlier."
    return text


def tables(results: Sequence[Any], titles: Mapping[str, str]) -> list[Table]:
    """First the means, a detector or a detector at a rate of contamination a row, then each figure set by set."""
    protocol = results[0].protocol if results else ""
    columns = SHOWN + WITHOUT_COPIES + (CALIBRATED if protocol != "dte" else ())
    kinds = list(dict.fromkeys((result.contamination, result.detector) for result in results))
    kinds.sort(key=lambda kind: (list(titles).index(kind[1]), kind[0]))
    means = {kind: _by_set(results, kind) for kind in kinds}
    common = sorted(set.intersection(*(set(sets) for sets in means.values()))) if means else []

    def title(kind: tuple[float, str]) -> str:
        return titles[kind[1]] + (f", {kind[0]:.0%} anomalies" if protocol == "contaminated" else "")

    # Where every normal test row is a copy there is no figure without them, for any detector.
    over = {key: [name for name in common if all(key in means[kind][name] for kind in kinds)] for key, _ in columns}
    rows = []
    for kind in kinds:
        cells = [_mean([means[kind][name][key] for name in over[key]]) for key, _ in columns]
        seconds = [_mean([means[kind][name][key] for name in common], 1.0) for key in ("fit_seconds", "score_seconds")]
        rows.append([title(kind), *cells, *seconds])
    texts = [
        text + (f" ({count_of_sets(len(over[key]))})" if len(over[key]) < len(common) else "") for key, text in columns
    ]
    header = ["detector", *texts, "fit (s a set)", "score (s a set)"]
    found: list[Table] = [(f"Means over {count_of_sets(len(common))} that all detectors did", header, rows)]
    for key, text in SHOWN:
        names = sorted({result.dataset for result in results})
        body = [[name, *(_mean([means[kind].get(name, {}).get(key)]) for kind in kinds)] for name in names]
        found.append((f"{text} by set", ["set", *map(title, kinds)], body))
    return found


def count_of_sets(n: int) -> str:
    """So many sets, in words."""
    return f"{n} set{'' if n == 1 else 's'}"


def _by_set(results: Sequence[Any], kind: tuple[float, str]) -> dict[str, dict[str, float]]:
    """The mean over the seeds of every figure, for each set on which no seed failed."""
    found: dict[str, list[Any]] = {}
    for result in results:
        if (result.contamination, result.detector) == kind:
            found.setdefault(result.dataset, []).append(result)
    keys = [key for key, _ in SHOWN + WITHOUT_COPIES + CALIBRATED] + ["fit_seconds", "score_seconds"]
    means = {}
    for name, some in found.items():
        if not any(result.error for result in some):
            values = {key: [getattr(result, key) for result in some] for key in keys}
            means[name] = {key: float(np.mean(every)) for key, every in values.items() if None not in every}
    return means


def _mean(values: Sequence[float | None], times: float = 100.0) -> str:
    known = [value for value in values if value is not None]
    return f"{times * float(np.mean(known)):.2f}" if known else "-"
