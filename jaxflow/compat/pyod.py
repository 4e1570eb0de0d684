"""Detectors as PyOD has them: higher scores and 1 for anomalies, and the scores and labels of the training rows."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.stats import binom
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from jaxflow.detection.detector import Detector
from jaxflow.detection.thresholds.any_rule import Percentile
from jaxflow.errors import InputError


class PyODAdapter(BaseEstimator):
    """A detector in PyOD's conventions (Zhao, Nasrullah and Li 2019), for its ensembles and for threshold libraries.

    PyOD takes the share of anomalies among the training rows as known, and puts the threshold so that this share of
    them is flagged. With a contamination of None or 0 the threshold is the detector's own instead, calibrated on rows
    held out.

    PyOD itself is neither needed nor imported, and this is no subclass of its `BaseDetector`; its ensembles and the
    libraries that find thresholds from `decision_scores_` ask for methods and attributes only.

    Args:
        detector: the detector, whose copy is fitted; its parameters are reached as `detector__...`.
        contamination: share of anomalies among the training rows, above 0 and at most 0.5; None or 0 for the
            detector's own threshold.

    Attributes after `fit`:
        detector_: the fitted detector.
        decision_scores_: anomaly scores of the training rows, shape (n,); those that calibrate are among them.
        threshold_: the score above which a row is flagged.
        labels_: 1 for the training rows that are flagged, 0 for the others.
        n_features_in_: number of features.
    """

    detector_: Detector
    decision_scores_: Float[np.ndarray, "n"]
    threshold_: float
    labels_: Int[np.ndarray, "n"]

    def __init__(self, detector: Detector, contamination: float | int | None = 0.1):
        self.detector = detector
        self.contamination = contamination

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> "PyODAdapter":
        """Fit a copy of the detector, score the rows it was given, and find the threshold.

        Args:
            X: rows, shape (n, n_features).
            y: ignored, unless the detector's threshold rule needs labels, 0 = normal and 1 = anomaly.

        Raises:
            InputError: if the contamination is out of range, or as `Detector.fit`.
        """
        if not isinstance(self.detector, Detector):
            raise InputError(f"detector = {self.detector!r:.80}: expected one such as FlowDetector()")
        share = self._checked_contamination()
        fitted: Any = clone(self.detector)
        fitted.fit(X, y)
        scores = fitted.anomaly_score(X)
        # Where PyOD takes a number between two neighbouring scores this takes the lower: it flags the same rows of
        # these, and there is nothing between a finite score and an infinite one.
        rule = Percentile(percentile=round(100 * (1 - share), 9))
        self.detector_, self.decision_scores_, self.n_features_in_ = fitted, scores, fitted.n_features_in_
        self.threshold_ = rule.derive(scores).value if share else fitted.threshold_
        self.labels_ = (scores > self.threshold_).astype(np.int64)
        return self

    def decision_function(self, X: ArrayLike) -> Float[np.ndarray, "n"]:
        """Anomaly score of each row, `Detector.anomaly_score`: higher is more anomalous, and +inf is legal."""
        check_is_fitted(self, "threshold_")
        return self.detector_.anomaly_score(X)

    def predict(self, X: ArrayLike) -> Int[np.ndarray, "n"]:
        """1 for rows whose score is greater than `threshold_`, 0 for the others."""
        return (self.decision_function(X) > self.threshold_).astype(np.int64)

    def fit_predict(self, X: ArrayLike, y: ArrayLike | None = None) -> Int[np.ndarray, "n"]:
        """`fit`, and the labels of the same rows."""
        return self.fit(X, y).labels_

    def predict_proba(self, X: ArrayLike) -> Float[np.ndarray, "n 2"]:
        """How sure it is that a row is no normal one: its conformal p-value, and one minus that.

        The second column is the share of normal calibration scores below that of the row. A normal row has more than
        1 - a there with a probability of at most a (see `Detector.p_values`), which says what a number means. PyOD
        stretches the training scores to [0, 1] instead, where one extreme training row decides what half means. Neither
        is the probability that a row is anomalous: that depends on how many anomalies there are.
        """
        check_is_fitted(self, "threshold_")
        p = self.detector_.p_values(X)
        return np.stack([p, 1 - p], axis=1)

    def predict_confidence(self, X: ArrayLike) -> Float[np.ndarray, "n"]:
        """Probability that `predict` would say the same of a row had the training rows been others like them.

        With q = (1 + #{training scores <= score}) / (2 + n), a row is flagged if at least n (1 - contamination) of n
        training scores are below its own, which for independent ones has a binomial probability (Perini, Vercruyssen
        and Davis 2020, "Quantifying the confidence of anomaly detectors in their example-wise predictions", section 3).
        With the detector's own threshold, the contamination is the share of training rows that it flags.
        """
        scores = self.decision_function(X)
        n = self.decision_scores_.size
        flagged = int(n * (self.contamination or self.labels_.mean()))
        below = np.searchsorted(np.sort(self.decision_scores_), scores, side="right")
        anomalous = binom.sf(n - flagged, n, (1 + below) / (2 + n))
        return np.where(scores > self.threshold_, anomalous, 1 - anomalous)

    def _checked_contamination(self) -> float:
        """The contamination, 0 for none."""
        share: Any = self.contamination
        if share is None:
            return 0.0
        if isinstance(share, bool) or not isinstance(share, float | int | np.number) or not 0 <= share <= 0.5:
            expected = "a number from 0 to 0.5, or None for the detector's own threshold"
            raise InputError(f"contamination = {share!r:.80}: expected {expected}")
        return float(share)
