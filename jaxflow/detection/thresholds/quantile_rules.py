"""Rules that take a quantile of the scores, or tell one that lies beyond them."""

import math
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from jaxflow.detection.thresholds.generalized_pareto import fit_tail
from jaxflow.detection.thresholds.rule import Threshold, ThresholdRule, as_written, checked_scores, normal_scores
from jaxflow.errors import counted

TAIL_SHARE = 0.1  # of the scores, from which a tail is told


class Percentile(ThresholdRule):
    """The given percentile of the scores, as in scikit-learn and PyOD with contamination = 1 - percentile / 100.

    >>> Percentile(percentile=90).threshold(np.arange(100.0))
    89.0

    threshold = the (1 + floor((n - 1) percentile / 100))-th smallest of n scores

    They interpolate between two neighbouring scores; this takes the lower one, because between a finite score and an
    infinite one (off the support of a density) there is nothing to take. A description of the scores it is given, not a
    promise about unseen ones: see `TargetFalsePositiveRate`. With fewer scores than 100 / (100 - percentile), none is
    that far up, and the threshold comes with a doubt.
    """

    kind: Literal["percentile"] = "percentile"
    percentile: float = Field(default=95.0, ge=0, le=100, description="share of scores below the threshold, in percent")

    def derive(self, scores, labels=None):
        """The largest score that is not above the percentile; of all scores, whatever their label."""
        scores = checked_scores(scores)
        percentile = as_written(self.percentile)
        below = math.floor((scores.size - 1) * percentile / 100)
        doubts = ()
        if (100 - percentile) * scores.size < 100:
            doubts = (
                f"percentile {self.percentile:.10g} leaves a share of {float(100 - percentile) / 100:.2g} above it, "
                f"less than 1 in {counted(scores.size, 'score')}: on average more normal rows than that are flagged",
            )
        return Threshold(float(np.partition(scores, below)[below]), scores.size, doubts=doubts)


class TargetFalsePositiveRate(ThresholdRule):
    """At most the given share of unseen normal rows is flagged, on average over calibration sets.

    >>> TargetFalsePositiveRate(rate=0.1).threshold(np.arange(99.0))  # the 90th smallest of 99
    89.0

    threshold = the ceil((n + 1)(1 - rate))-th smallest of n scores of held-out normal rows

    The split-conformal quantile (Vovk et al. 2005; Lei et al. 2018, section 2.2). Where scores have no ties, more than
    rate - 1 / (n + 1) is flagged. With n < 1 / rate - 1 scores no threshold but infinity can promise the rate, and
    `beyond` says what is taken instead, with a warning: "tail" extrapolates the tail of the scores, "largest" takes the
    largest score, which flags 1 / (n + 1) on average.

    The tail is that of `PeaksOverThreshold` with the largest tenth of the scores (10 of them at least), with two
    differences that keep the rate from being exceeded: its shape is 0 or more, so that no end of the scores is
    concluded from a few of them, and no threshold is below the largest finite score, which belongs to a higher rate.
    Nothing is promised there: what is flagged on average depends on the tail of the scores, and is more than the rate
    where it is heavy. As multiples of the rate, over many simulated sets of scores:

        scores  rate    normal  exponential  lognormal  Cauchy
            20  1 %        0.4          1.6        2.6       3
            20  0.1 %      0.2            4          9      17
           100  0.1 %      0.9            2        3.6       5

    A tail of any shape would flag four to twenty times as much.
    """

    kind: Literal["target_fpr"] = "target_fpr"
    rate: float = Field(default=0.05, gt=0, lt=1, description="share of normal rows that may be flagged")
    beyond: Literal["tail", "largest"] = Field(
        default="tail",
        description="with fewer than 1 / rate - 1 scores: extrapolate their tail, or take the largest of them",
    )

    def derive(self, scores, labels=None):
        """The conformal quantile of the normal rows' scores, or what lies beyond; labelled anomalies are left out."""
        scores = normal_scores(self.kind, scores, labels)
        rank = scores.size + 1 - math.floor((scores.size + 1) * as_written(self.rate))
        if rank <= scores.size:
            return Threshold(float(np.partition(scores, rank - 1)[rank - 1]), scores.size, "conformal")
        too_few = (
            f"{counted(scores.size, 'held-out score')} cannot promise a false-positive rate of {self.rate:g}: the "
            f"smallest {'it supports' if scores.size == 1 else 'they support'} is {1 / (scores.size + 1):.2g}"
        )
        if self.beyond == "largest":
            return Threshold(float(scores.max()), scores.size, "largest", (f"{too_few}, which the threshold now has",))
        return _extrapolated(scores, self.rate, TAIL_SHARE, too_few, cautious=True)


class PeaksOverThreshold(ThresholdRule):
    """The score that the given share of normal rows exceeds, told from the tail of the scores.

    >>> scores = -np.log(1 - (np.arange(1000) + 0.5) / 1000)  # exponential, whose 99.9th percentile is 6.9
    >>> round(PeaksOverThreshold(rate=0.001).threshold(scores), 1)
    6.8

    threshold = t + scale / shape ((rate n / k)^(-shape) - 1), for k of n scores above t

    where shape and scale are those of the generalised Pareto distribution of the k excesses over t (peaks over
    threshold: Siffer et al. 2017, "Anomaly detection in streams with extreme value theory", equation 1), fitted by
    maximum likelihood (see `fit_generalized_pareto`). Good for rates near 1 / n; far below, k excesses know little of
    the tail, and more than the rate is flagged on average. Infinite scores have no part in the tail.
    """

    kind: Literal["pot"] = "pot"
    rate: float = Field(default=0.01, gt=0, lt=1, description="share of normal rows that may be flagged")
    tail: float = Field(
        default=TAIL_SHARE,
        gt=0,
        lt=1,
        description="share of the scores that make up the tail, more than the rate; of few scores 10 at least",
    )

    @field_validator("tail")
    @classmethod
    def _more_than_the_rate(cls, tail: float, info: Any) -> float:
        rate = info.data.get("rate")
        if rate is not None and tail <= rate:
            raise ValueError(f"expected more than rate = {rate:g}")
        return tail

    def derive(self, scores, labels=None):
        """The quantile of the tail of the normal rows' scores; labelled anomalies are left out."""
        scores = normal_scores(self.kind, scores, labels)
        too_few = ""
        if self.rate < 1 / scores.size:
            too_few = (
                f"a false-positive rate of {self.rate:g} is less than 1 in {counted(scores.size, 'held-out score')}"
            )
        return _extrapolated(scores, self.rate, self.tail, too_few, cautious=False)


class GivenThreshold(ThresholdRule):
    """A value chosen by the user.

    >>> GivenThreshold(value=3.5).threshold(np.arange(10.0))
    3.5
    """

    kind: Literal["given"] = "given"
    value: float = Field(description="flag rows whose score is greater than this")

    def derive(self, scores, labels=None):
        """Return the given value, whatever the scores."""
        return Threshold(self.value, 0)


def _extrapolated(scores: np.ndarray, rate: float, share: float, too_few: str, *, cautious: bool) -> Threshold:
    """A quantile of the scores' tail; without a tail the largest score, finite if there is such a one."""
    doubts = []
    infinite = int(np.sum(scores == np.inf))
    largest = float(scores[scores < np.inf].max(initial=-np.inf)) if infinite < scores.size else math.inf
    tail = fit_tail(scores, share, endless=cautious)
    if tail is None:
        why = too_few or "the scores have no tail"
        doubts.append(f"{why}; the largest finite score is the threshold, as nothing can be told of the scores beyond")
        value, branch = largest, "largest"
    else:
        if too_few:
            doubts.append(
                f"{too_few}; the threshold is extrapolated from their tail, without a guarantee: "
                "if it is heavy, several times the rate may be flagged"
            )
        value, branch = tail.quantile(rate), "tail"
        value = max(value, largest) if cautious else value
    if infinite and value < np.inf:
        doubts.append(
            f"{infinite} of {counted(scores.size, 'held-out score')} are infinite and above every threshold that is "
            f"taken from their tail: about {infinite / scores.size:.2g} of the normal rows will be flagged at least"
        )
    return Threshold(value, scores.size, branch, tuple(doubts))
