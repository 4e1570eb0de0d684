"""Rules that measure how far the bulk of the scores spreads and flag what lies far outside."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from jaxflow.detection.thresholds.rule import Threshold, ThresholdRule, normal_scores

NORMAL_DEVIATIONS = 1.4826  # standard deviations of a normal distribution in a median absolute deviation


class MedianAbsoluteDeviation(ThresholdRule):
    """So many robust standard deviations above the median of the scores.

    >>> round(MedianAbsoluteDeviation(factor=3.0).threshold(np.array([1.0, 2.0, 3.0, 4.0, 90.0])), 2)
    7.45

    threshold = median + factor 1.4826 median(|scores - median|)

    The factor 1.4826 makes it the standard deviation where scores are normally distributed (Hampel 1974; Leys et al.
    2013). Up to half of the scores may be anomalies' own. A description, not a promise about a rate.
    """

    kind: Literal["mad"] = "mad"
    factor: float = Field(default=3.0, gt=0, le=1e9, description="robust standard deviations above the median")

    def derive(self, scores, labels=None):
        """From the scores of the normal rows; labelled anomalies are left out."""
        scores = np.sort(normal_scores(self.kind, scores, labels))
        middle = _quantile(scores, 0.5)
        if np.isinf(middle):
            return Threshold(middle, scores.size)
        with np.errstate(over="ignore"):
            spread = _quantile(np.sort(np.abs(scores - middle)), 0.5)
            return _above(middle, self.factor * NORMAL_DEVIATIONS * spread, scores.size)


class InterquartileRange(ThresholdRule):
    """So many interquartile ranges above the upper quartile of the scores, as the upper whisker of a box plot.

    >>> InterquartileRange(factor=1.5).threshold(np.array([1.0, 2.0, 3.0, 4.0, 90.0]))
    7.0

    threshold = Q3 + factor (Q3 - Q1), with quartiles as numpy's (Tukey 1977)

    Up to a quarter of the scores may be anomalies' own. A description, not a promise about a rate.
    """

    kind: Literal["iqr"] = "iqr"
    factor: float = Field(default=1.5, gt=0, le=1e9, description="interquartile ranges above the upper quartile")

    def derive(self, scores, labels=None):
        """From the scores of the normal rows; labelled anomalies are left out."""
        scores = np.sort(normal_scores(self.kind, scores, labels))
        lower, upper = _quantile(scores, 0.25), _quantile(scores, 0.75)
        if np.isinf(upper):
            return Threshold(upper, scores.size)
        with np.errstate(over="ignore"):
            return _above(upper, self.factor * (upper - lower), scores.size)


def _above(place: float, spread: float, count: int) -> Threshold:
    doubts = () if spread else (f"half of the {count} scores are equal: what is above them in any way is flagged",)
    return Threshold(float(place + spread), count, doubts=doubts)


def _quantile(ranked: Float[np.ndarray, "n"], fraction: float) -> float:
    """numpy's quantile by linear interpolation; where a neighbour is infinite there is none, and it is the lower."""
    place = (len(ranked) - 1) * fraction
    below = int(place)
    lower, upper = float(ranked[below]), float(ranked[min(below + 1, len(ranked) - 1)])
    weight = place - below
    if lower == upper or weight == 0 or np.isinf([lower, upper]).any():
        return lower
    return lower * (1 - weight) + upper * weight
