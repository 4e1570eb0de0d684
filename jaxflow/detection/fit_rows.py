"""The rows that a detector is fitted to: which part each has in the fit, and its number in the user's data."""

from dataclasses import KW_ONLY, dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike

from jaxflow.data.splits import hold_out
from jaxflow.data.tables.frame import Frame
from jaxflow.detection.calibration.out_of_fold import fold_count
from jaxflow.detection.check_parameters import require_fold_rows, require_rows
from jaxflow.detection.doubts.few_rows import fewest_rows
from jaxflow.detection.fit_model import ModelRows
from jaxflow.detection.scoring.table_encoder import Inputs
from jaxflow.detection.thresholds.any_rule import ThresholdRule, checked_labels
from jaxflow.errors import InputError

NONE = np.array([], np.int64)


@dataclass(frozen=True, eq=False)
class FitRows:
    """The rows of a fit that are in memory, and the part that each of them has in it.

    Attributes:
        frame: the rows as they were read: all, or of a source those that have to be at hand.
        numbers: the number of each in the user's data.
        data: what the numbers are of, and where they begin.
        count: number of rows of the user's data.
        learned: number of rows that the model learns from.
        fewest: how many of them the smallest fit learns from, without those of a fold and those that validate.
        learn: places in `frame` of the rows from which the inputs are measured, and in memory the model learns.
        calibrate: places of the normal rows that calibrate the threshold.
        held_out: whether these are rows that the model does not learn from.
        folds: number of models that score rows which they have not seen; 0 where the model itself scores them.
        anomalies: places of the rows that are labelled as anomalies.
    """

    frame: Frame
    numbers: Int64[np.ndarray, "n"]
    data: str
    _: KW_ONLY
    count: int
    learned: int
    fewest: int
    learn: Int64[np.ndarray, "n_learn"]
    calibrate: Int64[np.ndarray, "n_calibrate"]
    held_out: bool
    folds: int
    anomalies: Int64[np.ndarray, "n_anomalies"]

    @property
    def normal(self) -> Int64[np.ndarray, "n_normal"]:
        """The places of the rows that are taken as normal."""
        return np.setdiff1d(np.arange(len(self.frame)), self.anomalies, assume_unique=True)

    def streamed(self, inputs: Inputs, codes: Float64[np.ndarray, "n columns"]) -> ModelRows | None:
        """The rows that the model learns from where it reads them itself; None where they are those of `learn`."""
        return None


def rows_in_memory(
    frame: Frame,
    y: ArrayLike | None,
    rule: ThresholdRule,
    *,
    calibration_fraction: float,
    calibration_folds: int | None,
    validation_fraction: float,
    rng: np.random.Generator,
) -> FitRows:
    """Give each row of a table its part in a fit.

    Args:
        frame: the rows.
        y: their labels, 0 = normal and 1 = anomaly; not looked at unless the rule needs them.
        rule: the threshold rule.
        calibration_fraction: share of the normal rows that is held out to calibrate, where there are no folds.
        calibration_folds: as in `AnomalyDetector`.
        validation_fraction: share of the rows learned from that chooses the best epoch.
        rng: where the choice comes from.

    Raises:
        InputError: if there are too few rows, or the labels do not suit the rule.
    """
    anomalies, normal = NONE, np.arange(len(frame))
    if rule.needs_labels:
        labels = _labels(frame, y, rule)
        normal, anomalies = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    n = len(normal)
    require_rows(n, calibration_fraction, calibration_folds, validation_fraction)
    folds = fold_count(n, calibration_fraction, calibration_folds)
    require_fold_rows(n, folds)
    held_out = bool(calibration_fraction) and not folds
    learn = calibrate = normal
    if held_out:
        learned, held = hold_out(n, calibration_fraction, rng)
        if len(learned) < 2:
            left = f"leaves {len(learned)} of {n} rows to learn from"
            raise InputError(f"calibration_fraction = {calibration_fraction}: {left}, expected at least 2")
        learn, calibrate = normal[learned], normal[held]
    return FitRows(
        frame,
        np.arange(len(frame)),
        "X, counted from 0",
        count=len(frame),
        learned=len(learn),
        fewest=fewest_rows(len(learn), folds, validation_fraction),
        learn=learn,
        calibrate=calibrate,
        held_out=held_out,
        folds=folds,
        anomalies=anomalies,
    )


def _labels(frame: Frame, y: ArrayLike | None, rule: ThresholdRule) -> Int64[np.ndarray, "n"]:
    """The labels of the rows, among which there are normal ones and anomalies."""
    if y is None:
        raise InputError(f"the threshold rule {rule.kind} needs labels: fit(X, y) with y = 0 (normal) or 1 (anomaly)")
    labels = checked_labels(np.asarray(y), frame.x[:, 0])
    for value, needed in ((1, "anomalies"), (0, "normal rows")):
        if not (labels == value).any():
            raise InputError(
                f"the threshold rule {rule.kind} needs {needed}, and all {len(labels)} labels are {1 - value}"
            )
    return labels
