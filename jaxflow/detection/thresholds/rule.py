"""Base of threshold rules: ways from scores to a threshold, applied again without refitting any model."""

import warnings
from abc import abstractmethod
from fractions import Fraction
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Shaped

from jaxflow.config.spec import Spec
from jaxflow.errors import InputError, counted

Branch = Literal["conformal", "tail", "largest"]


class Threshold(NamedTuple):
    """A threshold, and how a rule came by it.

    >>> TargetFalsePositiveRate(rate=0.1).derive(np.arange(99.0))
    Threshold(value=89.0, scores=99, branch='conformal', doubts=())

    Attributes:
        value: in units of the score.
        scores: number of scores it was taken from; those of labelled anomalies count where the rule looks at them.
        branch: which way a rule with several went: "conformal" (a quantile of the scores, with a guarantee), "tail"
            (extrapolated beyond the scores) or "largest" (the largest score); None of a rule with one way only.
        doubts: what the user should know about it, a sentence each.
    """

    value: float
    scores: int
    branch: Branch | None = None
    doubts: tuple[str, ...] = ()


class ThresholdRule(Spec):
    """How a threshold follows from scores. A row is flagged when its score is greater than the threshold.

    >>> class Highest(ThresholdRule):
    ...     kind: str = "highest"
    ...     def derive(self, scores, labels=None):
    ...         return Threshold(float(np.max(scores)), len(scores))
    >>> Highest().threshold(np.array([1.0, 5.0, 2.0]))
    5.0

    A rule of your own has a `kind` and a method `derive`.
    """

    kind: str
    needs_labels: ClassVar[bool] = False

    @abstractmethod
    def derive(self, scores: Shaped[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."] | None = None) -> Threshold:
        """The threshold, and how it came about.

        Args:
            scores: anomaly scores, (n,), higher = more anomalous; infinite ones are legal.
            labels: 0 = normal, 1 = anomaly, one a score; None where all scores come from normal rows.

        Raises:
            InputError: if there are no scores, one of them is NaN, there is not one label a score or one is neither 0
                nor 1, or labels are needed and missing.
        """

    def threshold(self, scores: Shaped[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."] | None = None) -> float:
        """The threshold that `derive` gives, in units of the score; its doubts become warnings.

        Raises:
            InputError: as `derive`.
        """
        derived = self.derive(scores, labels)
        for doubt in derived.doubts:
            warnings.warn(doubt, stacklevel=2)
        return derived.value


def normal_scores(
    kind: str, scores: Shaped[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."] | None
) -> Float[np.ndarray, "n"]:
    """The scores of rows that are not labelled as anomalies, as float64; `kind` is the rule that needs them.

    Raises:
        InputError: as `ThresholdRule.derive`, and if no row is left.
    """
    scores = checked_scores(scores)
    if labels is None:
        return scores
    normal = scores[checked_labels(labels, scores) == 0]
    if normal.size == 0:
        raise InputError(f"{kind} needs scores of normal rows, and none of the {np.size(labels)} labels is 0")
    return normal


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
        raise InputError(
            f"{missing.size} of {counted(scores.size, 'score')} are NaN, the first in row {missing[0] + 1}"
        )
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


def as_written(number: float) -> Fraction:
    """The decimal fraction that a user wrote: 0.29 times 100 is then 29 and not 28.999999999999996."""
    return Fraction(str(number))
