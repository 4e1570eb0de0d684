"""From scores to a threshold: rules that can be applied again to stored scores, without refitting any model."""

import math
import warnings
from abc import abstractmethod
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Shaped
from pydantic import Field

from jaxflow.config.spec import Spec
from jaxflow.errors import InputError


class ThresholdRule(Spec):
    """How a threshold follows from scores. A row is flagged when its score is greater than the threshold."""

    @abstractmethod
    def threshold(self, scores: Shaped[ArrayLike, "n"], labels: Shaped[ArrayLike, "n_labels"] | None = None) -> float:
        """The threshold, in units of the score.

        Args:
            scores: anomaly scores, higher = more anomalous; infinite ones are legal.
            labels: 0 = normal, 1 = anomaly, one a score; None where all scores come from normal rows.

        Raises:
            InputError: if there are no scores, one of them is NaN, there is not one label a score or one is neither 0
                nor 1, or labels are needed and missing.
        """


class Percentile(ThresholdRule):
    """The given percentile of the scores, as in scikit-learn and PyOD with contamination = 1 - percentile / 100.

    threshold = the (1 + floor((n - 1) percentile / 100))-th smallest of n scores

    They interpolate between two neighbouring scores; this takes the lower one, because between a finite score and an
    infinite one (off the support of a density) there is nothing to take. A description of the scores it is given, not a
    promise about unseen ones: see `TargetFalsePositiveRate`.
    """

    kind: Literal["percentile"] = "percentile"
    percentile: float = Field(default=95.0, ge=0, le=100, description="share of scores below the threshold, in percent")

    def threshold(self, scores, labels=None):
        """The largest score that is not above the percentile; of all scores, whatever their label."""
        scores = checked_scores(scores)
        below = math.floor((scores.size - 1) * _as_written(self.percentile) / 100)
        return float(np.partition(scores, below)[below])


class TargetFalsePositiveRate(ThresholdRule):
    """At most the given share of unseen normal rows is flagged, on average over calibration sets.

    threshold = the ceil((n + 1)(1 - rate))-th smallest of n scores of held-out normal rows

    The split-conformal quantile (Vovk et al. 2005; Lei et al. 2018, section 2.2). Where scores have no ties, more than
    rate - 1 / (n + 1) is flagged. With n < 1 / rate - 1 scores no threshold but infinity can promise the rate; the
    largest score is then taken, which flags 1 / (n + 1) on average, with a warning.
    """

    kind: Literal["target_fpr"] = "target_fpr"
    rate: float = Field(default=0.05, gt=0, lt=1, description="share of normal rows that may be flagged")

    def threshold(self, scores, labels=None):
        """The conformal quantile of the normal rows' scores; labelled anomalies are left out."""
        scores = checked_scores(scores)
        if labels is not None:
            scores = scores[checked_labels(labels, scores) == 0]
            if scores.size == 0:
                raise InputError(
                    f"target_fpr needs scores of normal rows, and none of the {np.size(labels)} labels is 0"
                )
        rank = scores.size + 1 - math.floor((scores.size + 1) * _as_written(self.rate))
        if rank > scores.size:
            warnings.warn(
                f"{scores.size} held-out scores cannot promise a false-positive rate of {self.rate:g}: the smallest "
                f"they support is {1 / (scores.size + 1):.2g}, which the threshold now has",
                stacklevel=2,
            )
            rank = scores.size
        return float(np.partition(scores, rank - 1)[rank - 1])


class BestF1(ThresholdRule):
    """The threshold with the highest F1 on labelled validation data; of several, the one that flags the fewest rows.

    F1 = 2 TP / (2 TP + FP + FN), a row being flagged when its score is greater than the threshold
    """

    kind: Literal["best_f1"] = "best_f1"

    def threshold(self, scores, labels=None):
        """The middle between the two neighbouring scores where flagging everything above gives the highest F1.

        If that is everything there is, the next number below the lowest score.
        """
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
        # Rows of equal score are flagged together, so a cut can only lie where the score changes; and nothing lies
        # below minus infinity.
        f1[:-1][ranked[:-1] == ranked[1:]] = -1.0
        f1[ranked == -np.inf] = -1.0
        best = int(np.argmax(f1))
        above = float(ranked[best])
        if best == scores.size - 1:
            return math.nextafter(above, -math.inf)
        below = float(ranked[best + 1])
        middle = below / 2 + above / 2
        # The middle of two neighbouring numbers is one of them, and that of a finite and an infinite one is infinite.
        return middle if below < middle < above else below


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


def checked_scores(scores: Shaped[ArrayLike, "..."]) -> Float[np.ndarray, "n"]:
    """The scores as float64.

    Raises:
        InputError: if there are none, they are not one number a row, or some are NaN.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise InputError(f"scores have shape {scores.shape}, expected one score a row and at least one row")
    missing = np.flatnonzero(np.isnan(scores))
    if missing.size:
        raise InputError(f"{missing.size} of {scores.size} scores are NaN, the first in row {missing[0] + 1}")
    return scores


def checked_labels(labels: Shaped[ArrayLike, "..."], scores: Shaped[ArrayLike, "..."]) -> Int[np.ndarray, "n"]:
    """The labels as integers.

    Raises:
        InputError: if there is not one a score, or one is neither 0 nor 1.
    """
    values, count = np.asarray(labels), np.size(scores)
    if values.shape != (count,):
        raise InputError(f"labels have shape {values.shape}, expected one label for each of {count} rows")
    for row, label in enumerate(values.tolist(), start=1):
        if label not in (0, 1):
            raise InputError(f"label = {label!r} in row {row}, expected 0 for normal or 1 for anomaly")
    return values.astype(np.int64)


def _as_written(number: float) -> Fraction:
    """The decimal fraction that a user wrote: 0.29 times 100 is then 29 and not 28.999999999999996."""
    return Fraction(str(number))
