"""Detectors side by side on the same test rows, besides their metrics: what they flag, by kind of row, and why."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from jaxflow.data import Split
from jaxflow.detection.explain.explainer import explain_rows
from jaxflow.detection.scoring.table_encoder import NEVER_SEEN
from jaxflow.evaluation import evaluate_scores
from jaxflow.experiment.run import Run
from jaxflow.experiment.run_reasons import TableEntry

Flags = Mapping[str, Bool[np.ndarray, "n"]]

REASONS = 3


def flagged_by_kind(split: Split, flagged: Flags) -> list[TableEntry]:
    """For all that is known of the test rows, the share of each kind that every detector flags; largest kinds first.

    Args:
        split: the rows.
        flagged: which of the test rows each detector flags.
    """
    tables: list[TableEntry] = []
    for name, kinds in split.kinds_test.items():
        found, counts = np.unique(kinds, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        lines = [
            (str(found[i]), int(counts[i]), *(float(flags[kinds == found[i]].mean()) for flags in flagged.values()))
            for i in order
        ]
        tables.append((f"Share of the test rows that is flagged, by {name}", (name, "rows", *flagged), lines))
    return tables


def without_never_seen(split: Split, runs: Mapping[str, Run]) -> list[TableEntry]:
    """How many test rows have a value that no training row has, and what the detectors are worth without that rule.

    The threshold stays as it is. No table if there is no such row.
    """
    assert split.y_test is not None
    lines = []
    for name, run in runs.items():
        counts = run.detector.inputs_.never_seen(run.x).sum(axis=1)
        if not counts.any():
            continue
        shares = [float((counts[split.y_test == label] > 0).mean()) for label in (0, 1)]
        scores = run.scores - NEVER_SEEN * counts
        metrics = evaluate_scores(split.y_test, scores, run.detector.threshold_, n_train=run.n_train)
        lines.append((name, *shares, metrics.roc_auc, metrics.pr_auc, metrics.recall, metrics.false_positive_rate))
    header = ("detector", "of normal rows", "of anomalies", "ROC-AUC without", "PR-AUC", "recall", "FP rate")
    return [("Share with a value never seen, and the figures without that rule", header, lines)] if lines else []


def examples(split: Split, runs: Mapping[str, Run]) -> dict[str, int]:
    """One test row for each of the kinds of anomalies that `split.kinds_test` has first.

    Of those that most of the detectors flag the rows of the kind that is most frequent among them, by whatever else is
    known of the rows; and of these the one with the median score of the first detector, the lower one of two.
    """
    assert split.y_test is not None
    if not split.kinds_test:
        return {}
    coarse, *finer = split.kinds_test.values()
    votes = np.sum([run.scores > run.detector.threshold_ for run in runs.values()], axis=0)
    scores = next(iter(runs.values())).scores
    chosen = {}
    for kind in np.unique(coarse[split.y_test == 1]):
        rows = np.flatnonzero((coarse == kind) & (split.y_test == 1))
        rows = rows[votes[rows] == votes[rows].max()]
        for kinds in finer:
            rows = rows[kinds[rows] == _most_frequent(kinds[rows])]
        ordered = rows[np.argsort(scores[rows], kind="stable")]
        chosen[str(kind)] = int(ordered[(len(ordered) - 1) // 2])
    return chosen


def reasons_of_examples(split: Split, runs: Mapping[str, Run]) -> list[TableEntry]:
    """Why each detector flags, or does not flag, the rows of `examples`: a table for each row."""
    chosen = examples(split, runs)
    rows = np.array(list(chosen.values()), np.int64)
    reasons = {name: _reasons(split, run, rows) for name, run in runs.items() if chosen}
    header = ("detector", "score", "threshold", "flagged", "first reason", "second", "third")
    tables: list[TableEntry] = []
    for place, row in enumerate(rows.tolist()):
        lines = []
        for name, run in runs.items():
            score, threshold = float(run.scores[row]), run.detector.threshold_
            lines.append((name, score, threshold, "yes" if score > threshold else "no", *reasons[name][place]))
        what = ", ".join(f"{name} {kinds[row]}" for name, kinds in split.kinds_test.items())
        tables.append((f"Test row {row + 1:,}: {what}", header, lines))
    return tables


def _most_frequent(values: Shaped[np.ndarray, "n"]) -> Any:
    """The value that comes most often, the first in ascending order of several."""
    found, counts = np.unique(values, return_counts=True)
    return found[np.argmax(counts)]


def _reasons(split: Split, run: Run, rows: Int[np.ndarray, "n"]) -> list[tuple[str, ...]]:
    """The first reasons of some test rows, with the texts of the table where the detector knows none."""
    top = explain_rows(run.detector, run.x[rows]).top(REASONS)
    shown = []
    for row, reasons in zip(rows.tolist(), top, strict=True):
        named = [r._replace(value=split.test.text(row, r.column)) if r.never_seen else r for r in reasons]
        shown.append(tuple(map(str, named)) + ("",) * (REASONS - len(named)))
    return shown
