"""From scores to a threshold: rules that can be applied again to stored scores, without refitting any model."""

import math
import warnings
from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from jaxflow.config.spec import Spec
from jaxflow.errors import InputError


class ThresholdRule(Spec):
    """How a threshold follows from scores. A row is flagged when its score is greater than the threshold."""

    @abstractmethod
    def threshold(self, scores: Float[np.ndarray, "n"], labels: Int[np.ndarray, "n"] | None = None) -> float:
        """The threshold.

        Args:
            scores: anomaly scores, higher = more anomalous.
            labels: 0 = normal, 1 = anomaly; None where all scores come from normal rows.

        Raises:
            InputError: if there are no scores, one of them is NaN, or labels are needed and missing.
        """


class Percentile(ThresholdRule):
    """The given percentile of the scores, as in scikit-learn and PyOD with contamination = 1 - percentile / 100.

    A description of the scores it is given, not a promise about unseen ones: see `TargetFalsePositiveRate`.
    """

    kind: Literal["percentile"] = "percentile"
    percentile: float = Field(default=95.0, ge=0, le=100, description="share of scores below the threshold, in percent")

    def threshold(self, scores, labels=None):
        """The largest score that is not above the percentile; of all scores, whatever their label."""
        # No interpolation: between a finite score and an infinite one (off the support) there is nothing to take.
        return float(np.percentile(checked_scores(scores), self.percentile, method="lower"))


class TargetFalsePositiveRate(ThresholdRule):
    """At most the given share of unseen normal rows is flagged, on average over calibration sets.

    threshold = the ceil((n + 1)(1 - rate))-th smallest of n scores of held-out normal rows

    The split-conformal quantile (Vovk et al. 2005; Lei et al. 2018, section 2.2). With n < 1 / rate - 1 scores no
    threshold can promise that; the largest score is then taken, which flags 1 / (n + 1) on average, with a warning.
    """

    kind: Literal["target_fpr"] = "target_fpr"
    rate: float = Field(default=0.05, gt=0, lt=1, description="share of normal rows that may be flagged")

    def threshold(self, scores, labels=None):
        """The conformal quantile of the normal rows' scores; labelled anomalies are left out."""
        scores = checked_scores(scores)
        if labels is not None:
            scores = scores[checked_labels(labels, scores) == 0]
            if scores.size == 0:
                raise InputError("target_fpr needs scores of normal rows, and no row is labelled 0")
        rank = math.ceil((scores.size + 1) * (1 - self.rate))
        if rank > scores.size:
            warnings.warn(
                f"{scores.size} held-out scores cannot promise a false-positive rate of {self.rate:g}: the smallest "
                f"they support is {1 / (scores.size + 1):.2g}, which the threshold now has",
                stacklevel=2,
            )
            rank = scores.size
        return float(np.partition(scores, rank - 1)[rank - 1])


class BestF1(ThresholdRule):
    """The threshold with the highest F1 on labelled validation data."""

    kind: Literal["best_f1"] = "best_f1"

    def threshold(self, scores, labels=None):
        """The middle between the two neighbouring scores where flagging everything above gives the highest F1."""
        scores = checked_scores(scores)
        if labels is None:
            raise InputError("best_f1 needs labels: give it a labelled validation set")
        labels = checked_labels(labels, scores)
        if labels.min() == labels.max():
            raise InputError(f"best_f1 needs normal rows and anomalies, and all {labels.size} labels are {labels[0]}")
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        hits = np.cumsum(labels[order])
        flagged = np.arange(1, scores.size + 1)
        f1 = 2 * hits / (flagged + labels.sum())
        # Rows of equal score are flagged together, so a cut can only lie where the score changes.
        f1[:-1][ranked[:-1] == ranked[1:]] = -1.0
        best = int(np.argmax(f1))
        if best == scores.size - 1:
            return float(np.nextafter(ranked[best], -np.inf))
        middle = (ranked[best] + ranked[best + 1]) / 2
        return float(middle) if np.isfinite(middle) else float(ranked[best + 1])


class GivenThreshold(ThresholdRule):
    """A value chosen by the user."""

    kind: Literal["given"] = "given"
    value: float = Field(description="flag rows whose score is greater than this")

    def threshold(self, scores, labels=None):
        """That value."""
        return self.value


AnyThresholdRule = Annotated[
    Percentile | TargetFalsePositiveRate | BestF1 | GivenThreshold, Field(discriminator="kind")
]


def checked_scores(scores: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """The scores as float64, or a refusal where there are none or some are NaN."""
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise InputError(f"a threshold needs a list of scores, got an array of shape {scores.shape}")
    if np.isnan(scores).any():
        raise InputError(f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN")
    return scores


def checked_labels(labels: Int[np.ndarray, "n"], scores: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The labels as integers, or a refusal where they are not 0 and 1 or not one a score."""
    labels = np.asarray(labels)
    if labels.shape != scores.shape:
        raise InputError(f"{scores.size} scores need as many labels, got an array of shape {labels.shape}")
    wrong = np.flatnonzero(~np.isin(labels, (0, 1)))
    if wrong.size:
        raise InputError(f"label {labels[wrong[0]]!r} in row {wrong[0] + 1} is neither 0 (normal) nor 1 (anomaly)")
    return labels.astype(int)
