"""Results of `benchmark_adbench.py` and published ones, brought to the data sets that all methods of a table did."""

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmark_adbench import TABLE, read_results
from jaxtyping import Float

from adbench.attempt import Result
from adbench.detectors import DETECTORS
from adbench.splits import Protocol
from jaxflow.errors import InputError

METRICS = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "f1": "F1"}
ALL_ROWS = {metric: metric for metric in METRICS}  # where a `Result` has each
# What is known without test rows that equal a training row.
NEW_ROWS = {"roc_auc": "roc_auc_new", "pr_auc": "pr_auc_new"}
SECONDS = ("fit_seconds", "score_seconds")
FLOW = "flow"
# Where the figures of a method come from.
JAXFLOW, OTHERS, PUBLISHED = "jaxflow", "run here", "published"
# What was run here and stands in the published tables too: the same algorithm with the same settings (OCSVM was given
# fewer rows here where there are many).
PUBLISHED_TWINS = {
    "knn": "kNN",
    "lof": "LOF",
    "iforest": "IForest",
    "ocsvm": "OCSVM",
    "hbos": "HBOS",
    "ecod": "ECOD",
    "planar_broken": "PlanarFlow",
}

Published = Mapping[str, Mapping[str, Mapping[str, float]]]


class Method(NamedTuple):
    """A column of a comparison: `name` is that of a detector or of a published column."""

    name: str
    source: str

    @property
    def label(self) -> str:
        """Return the name in tables and figures; no two methods share one."""
        if self.source == PUBLISHED:
            return self.name
        title = DETECTORS[self.name].title
        return f"jaxflow: {title}" if self.source == JAXFLOW else title


class Comparison(NamedTuple):
    """Figures of several methods on the same sets.

    Attributes:
        sets: the rows of all arrays.
        methods: their columns; the default flow is the first.
        values: for each metric an array (sets, methods), percent, each the mean over the seeds of a set; without copies
            there is no F1.
        seconds: mean seconds over the sets to fit and to score, (methods, 2); NaN of published ones.
        left_out: for each set that some method has not, why.
        seeds: the smallest and the largest number of seeds that a figure is the mean of; published ones not counted.
    """

    sets: tuple[str, ...]
    methods: tuple[Method, ...]
    values: dict[str, Float[np.ndarray, "sets methods"]]
    seconds: Float[np.ndarray, "methods 2"]
    left_out: dict[str, str]
    seeds: tuple[int, int]

    def of(self, methods: Sequence[Method]) -> "Comparison":
        """Return the comparison for some of the methods."""
        columns = [self.methods.index(method) for method in methods]
        values = {metric: cells[:, columns] for metric, cells in self.values.items()}
        return self._replace(methods=tuple(methods), values=values, seconds=self.seconds[columns])


class Contaminated(NamedTuple):
    """Figures under contamination: `values` has for each metric an array (sets, detectors, rates), percent."""

    sets: tuple[str, ...]
    methods: tuple[Method, ...]
    rates: tuple[float, ...]
    values: dict[str, Float[np.ndarray, "sets methods rates"]]
    left_out: dict[str, str]


def read_run(option: str, folder: Path, protocol: Protocol, detectors: Collection[str] = ()) -> list[Result]:
    """The results of a run under a protocol, of these detectors or of all.

    Raises:
        InputError: if there are none.
    """
    file = folder / TABLE
    expected = f"expected what benchmark_adbench.py --protocol {protocol} --out {folder} writes"
    if not file.is_file():
        raise InputError(f"{option} {folder}: there is no {file}, {expected}")
    results = [result for result in read_results(file) if result.protocol == protocol]
    if not results:
        raise InputError(f"{option} {folder}: {file} has no results of protocol {protocol}, {expected}")
    for result in results:
        if result.detector not in DETECTORS:
            raise InputError(f"{file} has results of {result.detector}, expected detectors of benchmark_adbench.py")
    known = {result.detector for result in results}
    if FLOW not in known:
        raise InputError(f"{file} has no results of the detector {FLOW}, with which all others are compared")
    for name in detectors:
        if name not in known:
            raise InputError(f"--detectors {name}: {file} has no results of it")
    return [result for result in results if not detectors or result.detector in detectors]


def read_published(file: Path) -> Published:
    """Published figures in percent, by method, set and metric.

    Raises:
        InputError: if the file is not such a table.
    """
    if not file.is_file():
        raise InputError(f"--published {file}: there is no such file")
    columns = ["dataset", "method", *METRICS]
    found: dict[str, dict[str, dict[str, float]]] = {}
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--published {file}: {error}") from None
    if reader.fieldnames != columns:
        raise InputError(f"--published {file}: expected the columns {', '.join(columns)}")
    for number, row in enumerate(rows, 2):
        try:
            cells = {metric: float(row[metric]) for metric in METRICS}
        except (TypeError, ValueError) as error:
            raise InputError(f"--published {file}, line {number}: {error}") from None
        found.setdefault(row["method"], {})[row["dataset"]] = cells
    return found


def compare(
    option: str,
    results: Sequence[Result],
    published: Published | None = None,
    columns: Mapping[str, str] = ALL_ROWS,
) -> Comparison:
    """The run's detectors, and published methods, on the sets that all of them did.

    Args:
        option: that of the run on the command line, for errors.
        results: of the run.
        published: figures of other methods.
        columns: the figures to compare, and where a `Result` has them.

    Raises:
        InputError: if there is no such set.
    """
    methods = _run_methods(results)
    done, left_out, seeds = _done(results, [(method.name, None) for method in methods], columns)
    for name in [*done] if published else []:
        missing = [method for method, cells in (published or {}).items() if name not in cells]
        if missing:
            left_out[name] = f"{', '.join(missing)}: no published figures"
            del done[name]
    sets = tuple(sorted(done))
    if not sets:
        raise InputError(f"{option}: there is no set that all detectors did: {_first(left_out)}")
    others = tuple(Method(name, PUBLISHED) for name in published or {})
    values = {}
    for metric in columns:
        own = [[100 * done[name][method.name, None][metric] for method in methods] for name in sets]
        theirs = [[(published or {})[method.name][name][metric] for method in others] for name in sets]
        values[metric] = np.hstack([np.array(own), np.array(theirs).reshape(len(sets), len(others))])
    seconds = np.array(
        [[[done[name][method.name, None][key] for key in SECONDS] for method in methods] for name in sets]
    )
    padded = np.vstack([seconds.mean(axis=0), np.full((len(others), 2), np.nan)])
    counts = [seeds[name] for name in sets]
    return Comparison(sets, (*methods, *others), values, padded, left_out, (min(counts), max(counts)))


def without_twins(comparison: Comparison) -> Comparison:
    """Return the comparison without methods run here that have a published column too, as none may count twice."""
    published = {method.name for method in comparison.methods if method.source == PUBLISHED}
    kept = [
        method
        for method in comparison.methods
        if method.source == PUBLISHED or PUBLISHED_TWINS.get(method.name) not in published
    ]
    return comparison.of(kept)


def compare_contaminated(option: str, results: Sequence[Result]) -> Contaminated:
    """The run's detectors at all rates of contamination, on the sets where all of these worked.

    `option` is that of the run on the command line, for errors.

    Raises:
        InputError: if there is no such set.
    """
    methods = _run_methods(results)
    rates = tuple(sorted({result.contamination for result in results}))
    done, left_out, _ = _done(results, [(method.name, rate) for method in methods for rate in rates], ALL_ROWS)
    sets = tuple(sorted(done))
    if not sets:
        raise InputError(f"{option}: there is no set that all detectors did at all rates: {_first(left_out)}")
    values = {
        metric: np.array(
            [[[100 * done[name][method.name, rate][metric] for rate in rates] for method in methods] for name in sets]
        )
        for metric in METRICS
    }
    return Contaminated(sets, methods, rates, values, left_out)


def _run_methods(results: Sequence[Result]) -> tuple[Method, ...]:
    names = sorted({result.detector for result in results}, key=list(DETECTORS).index)
    names.sort(key=lambda name: name != FLOW)
    return tuple(Method(name, JAXFLOW if DETECTORS[name].library == "jaxflow" else OTHERS) for name in names)


def _done(
    results: Sequence[Result],
    kinds: Sequence[tuple[str, float | None]],
    columns: Mapping[str, str],
):
    """By set and kind the means over the seeds that all kinds did; why sets are left out; and how many seeds of each.

    A kind is a detector and a rate of contamination. One failed seed leaves its set out, since a mean over the others
    would be one over chosen seeds.
    """
    with_rate = any(rate is not None for _, rate in kinds)
    found: dict[str, dict[tuple[str, float | None], dict[int, Result]]] = {}
    for result in results:
        kind = (result.detector, result.contamination if with_rate else None)
        found.setdefault(result.dataset, {}).setdefault(kind, {})[result.seed] = result
    done: dict[str, dict[tuple[str, float | None], dict[str, float]]] = {}
    left_out, counts = {}, {}
    for name, cells in sorted(found.items()):
        failed = next((result for by_seed in cells.values() for result in by_seed.values() if result.error), None)
        missing = [kind for kind in kinds if kind not in cells]
        if failed is not None:
            at = f" at {failed.contamination:.0%}" if with_rate else ""
            left_out[name] = f"{failed.detector}{at}, seed {failed.seed}: {failed.error}"
            continue
        seeds = set.intersection(*(set(by_seed) for by_seed in cells.values()))
        if missing or not seeds:
            names = ", ".join(dict.fromkeys(detector for detector, _ in missing))
            left_out[name] = f"no result of {names} yet" if missing else "no seed that all detectors did yet"
            continue
        where = {**columns, **{key: key for key in SECONDS}}
        figures = {
            kind: {metric: [getattr(by_seed[seed], key) for seed in sorted(seeds)] for metric, key in where.items()}
            for kind, by_seed in cells.items()
        }
        if any(None in values for by_metric in figures.values() for values in by_metric.values()):
            left_out[name] = "with some seed all normal test rows, or all anomalies, are copies of training rows"
            continue
        counts[name] = len(seeds)
        done[name] = {
            kind: {metric: float(np.mean(values)) for metric, values in by_metric.items()}
            for kind, by_metric in figures.items()
        }
    return done, left_out, counts


def _first(left_out: Mapping[str, str]) -> str:
    return next((f"{name}: {why}" for name, why in left_out.items()), "there are no results")
