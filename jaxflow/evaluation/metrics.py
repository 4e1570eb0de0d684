"""How good a detector is on labelled rows, as numbers."""

import dataclasses
import math
import os
from typing import Any, SupportsFloat

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Shaped
from sklearn.metrics import average_precision_score, roc_auc_score

from jaxflow.atomic_write import write_json
from jaxflow.errors import InputError, counted


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Figures that a detector's scores and its threshold achieve on a labelled test set.

    The anomaly is the positive class, and a row is flagged when its score is above the threshold. A number that
    depends on a class of which the test set has no row is None. With both classes present every number is a float; in
    particular the precision is 0.0 when nothing is flagged, as with scikit-learn's `zero_division=0`.

    Attributes:
        roc_auc: the probability that an anomaly scores higher than a normal row, ties counting half; None unless both
            classes are present.
        pr_auc: average precision, sum over k of (recall[k] - recall[k-1]) precision[k], which unlike the trapezoidal
            area does not flatter (Davis and Goadrich 2006, section 4); None unless both classes are present.
        prevalence: the share of anomalies among the test rows.
        precision: TP / (TP + FP), the share of anomalies among the flagged rows; None without anomalies.
        recall: TP / (TP + FN), the share of the anomalies that is flagged; None without anomalies.
        f1: 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall; None without anomalies.
        threshold: in units of the score.
        false_positive_rate: FP / (FP + TN), the share of the normal rows that is flagged; None without normal rows.
        true_positives: anomalies flagged.
        false_positives: normal rows flagged.
        true_negatives: normal rows not flagged.
        false_negatives: anomalies not flagged.
        n_train: number of rows the detector was fitted on.
        n_test: number of rows evaluated.
        n_anomalies: number of anomalies among them.
    """

    roc_auc: float | None
    pr_auc: float | None
    prevalence: float
    precision: float | None
    recall: float | None
    f1: float | None
    threshold: float
    false_positive_rate: float | None
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    n_train: int
    n_test: int
    n_anomalies: int

    @property
    def random_baseline(self) -> float:
        """The PR-AUC that random scores reach: the prevalence (a little more when the rows are few)."""
        return self.prevalence

    @property
    def pr_auc_lift(self) -> float | None:
        """How many times the PR-AUC of random scores is reached: pr_auc / prevalence."""
        return None if self.pr_auc is None else self.pr_auc / self.random_baseline

    def to_dict(self) -> dict[str, Any]:
        """Every field and `pr_auc_lift`, as values that JSON can express.

        None stays None (JSON null). An infinite threshold, for which JSON has no token, becomes the string "Infinity"
        or "-Infinity", which `float` reads back.
        """
        values = dataclasses.asdict(self) | {"pr_auc_lift": self.pr_auc_lift}
        if math.isinf(self.threshold):
            values["threshold"] = "Infinity" if self.threshold > 0 else "-Infinity"
        return values


def evaluate_scores(
    labels: Shaped[ArrayLike, "n"], scores: Shaped[ArrayLike, "n_scores"], threshold: SupportsFloat, *, n_train: int
) -> Metrics:
    """Compare anomaly scores with the truth.

    Args:
        labels: 0 (normal) or 1 (anomaly), one a row.
        scores: higher = more anomalous, one a row. Infinite scores are legal, since off its support a density gives
            +inf: they rank beyond all finite ones and tie among themselves.
        threshold: a row is flagged when its score > threshold; infinite thresholds are legal.
        n_train: number of rows the detector was fitted on.

    Raises:
        InputError: when there are no rows, the lengths differ, a label is neither 0 nor 1, a score is NaN, or the
            threshold is NaN.
    """
    truth, values = checked_labels_and_scores(labels, scores)
    threshold = float(threshold)
    if math.isnan(threshold):
        raise InputError("threshold is NaN: expected a number in units of the score")
    flagged = values > threshold
    n_anomalies, n_normal = int(np.sum(truth == 1)), int(np.sum(truth == 0))
    true_positives = int(np.sum(flagged & (truth == 1)))
    false_positives = int(np.sum(flagged & (truth == 0)))
    false_negatives = n_anomalies - true_positives
    both = n_anomalies > 0 and n_normal > 0
    ranks = score_ranks(values)
    precision = recall = f1 = None
    if n_anomalies:
        precision = true_positives / max(true_positives + false_positives, 1)
        recall = true_positives / n_anomalies
        f1 = 2 * true_positives / (2 * true_positives + false_positives + false_negatives)
    return Metrics(
        roc_auc=float(roc_auc_score(truth, ranks)) if both else None,
        pr_auc=float(average_precision_score(truth, ranks)) if both else None,
        prevalence=n_anomalies / truth.size,
        precision=precision,
        recall=recall,
        f1=f1,
        threshold=threshold,
        false_positive_rate=false_positives / n_normal if n_normal else None,
        true_positives=true_positives,
        false_positives=false_positives,
        true_negatives=n_normal - false_positives,
        false_negatives=false_negatives,
        n_train=n_train,
        n_test=truth.size,
        n_anomalies=n_anomalies,
    )


def write_metrics(metrics: Metrics, path: str | os.PathLike[str]) -> None:
    """Write `metrics.to_dict()` to `path` as JSON that any reader accepts, replacing the file as a whole.

    Raises:
        InputError: when the operating system refuses to write there.
    """
    write_json(metrics.to_dict(), path)


def checked_scores(scores: Shaped[ArrayLike, "n"]) -> Float[np.ndarray, "n"]:
    """The scores as float64.

    Raises:
        InputError: when there is none, one is NaN, or they are not one number a row.
    """
    values = np.asarray(scores)
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"scores have shape {values.shape}: expected one score a row and at least one row")
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"scores are of type {values.dtype}: expected numbers") from None
    missing = np.flatnonzero(np.isnan(values))
    if missing.size:
        raise InputError(
            f"{missing.size} of {values.size} scores are NaN, the first in row {missing[0]}: "
            "expected numbers, of which infinity is one"
        )
    return values


def checked_labels(labels: Shaped[ArrayLike, "n"]) -> Int[np.ndarray, "n"]:
    """The labels as integers.

    Raises:
        InputError: when one is neither 0 nor 1, or they are not one a row.
    """
    values = np.asarray(labels)
    if values.ndim != 1:
        raise InputError(f"labels have shape {values.shape}: expected one label a row")
    # Element by element, because numpy compares strings with numbers in ways that differ between versions.
    for row, label in enumerate(values.tolist()):
        if label not in (0, 1):
            raise InputError(f"label = {label!r} in row {row}: expected 0 for normal or 1 for anomaly")
    return values.astype(np.int64)


def checked_labels_and_scores(
    labels: Shaped[ArrayLike, "n"], scores: Shaped[ArrayLike, "n_scores"]
) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Labels as integers and scores as float64, equally many.

    Raises:
        InputError: for what `checked_labels` and `checked_scores` refuse, and when the lengths differ.
    """
    truth, values = checked_labels(labels), checked_scores(scores)
    if truth.size != values.size:
        raise InputError(
            f"{counted(truth.size, 'label')} for {counted(values.size, 'score')}: expected one of each a row"
        )
    return truth, values


def score_ranks(scores: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The rank of each score among the distinct ones, from 0.

    ROC and precision-recall curves depend on nothing else, and scikit-learn, which refuses an infinite score, takes a
    rank.
    """
    return np.unique(scores, return_inverse=True)[1]
