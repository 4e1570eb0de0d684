"""Whether rows that were taken as normal are all of one kind, as far as their scores tell."""

import warnings
from collections.abc import Callable
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import binom

from jaxflow.detection.inputs import NEVER_SEEN
from jaxflow.detection.thresholds import checked_scores
from jaxflow.errors import NAMED_ROWS

LEAST_SCORES = 20  # distinct ones; of fewer none can be told to be apart
LOWEST = 0.05  # quantile from which scores are measured
TAIL = 0.75  # quantile from which on their density must fall
WIDTHS = (0.5, 1.0, 2.0)  # of the stretches compared, in logarithms: factors of 1.6, 2.7 and 7.4
SIGNIFICANT = 1e-3


class Contamination(NamedTuple):
    """What `contamination_estimate` finds.

    Attributes:
        share: of the scores, those that lie apart; 0 if none do.
        above: the score above which they lie; +inf if none do.
        p_value: of the most marked valley in the tail, not corrected for the number of places looked at; at most
            `SIGNIFICANT` if scores are said to lie apart.
    """

    share: float
    above: float
    p_value: float


def contamination_estimate(scores: Float[np.ndarray, "n"]) -> Contamination:
    """Look for a group of high scores that lies apart from the others: beyond a valley in the tail.

    Scores of clean data may have a heavy tail, so how far the tail reaches says nothing. But it thins out: even in
    u = log(score - lowest), where a tail that falls off as a power of the score becomes an exponential one, the
    density falls from some point on. `lowest` is the 5 % quantile; the tail is taken to begin at the 75 % quantile,
    from which on the density of u falls for normal, heavy-tailed, skewed and bounded features. Where it falls, a
    stretch (a, a + w] of u holds at least as many scores as the next one, (a + w, a + 2w], and of m scores in both so
    few as k are in the first with a probability of at most P(Binomial(m, 1/2) <= k). The least of these over all scores
    a in the tail and w = 0.5, 1 and 2 is `p_value`; at 0.001 or below, the scores beyond the first stretch are said to
    lie apart. Equal scores count once, since many sets have rows that repeat.

    `p_value` is not corrected for the number of places looked at, nor need it be: of 32,000 simulated sets of 50 to
    5,000 clean rows of 1 to 30 features (normal, t with 3 and 5 degrees of freedom, exponential, log-normal, uniform,
    and two or three groups of at least 30 % of the rows), scored by a Gaussian fitted to others, one was said to be
    contaminated. A small group of normal rows far from the others is taken for contamination, as it must be. At
    least ten held-out outliers are needed. Where the model has learned the outliers, their scores do not lie
    apart and nothing is found: so with a Gaussian that a dense cloud of 5 % of the rows has drawn to itself, unless
    its covariance is robust.

    Args:
        scores: anomaly scores of rows that the model has not learned from, higher = more anomalous; infinite ones
            are legal, and lie apart if others do.

    Raises:
        InputError: if there are no scores or one is NaN.
    """
    scores = checked_scores(scores)
    distinct = np.unique(scores[np.isfinite(scores)])
    if distinct.size < LEAST_SCORES:
        return Contamination(0.0, np.inf, 1.0)
    lowest = np.quantile(distinct, LOWEST)
    logs = np.log(distinct[distinct > lowest] - lowest)
    first = int(np.searchsorted(logs, np.log(np.quantile(distinct, TAIL) - lowest)))
    starts, places = logs[first:], np.arange(first, logs.size)
    least, beyond = 1.0, np.inf
    for width in WIDTHS:
        valley = np.searchsorted(logs, starts + width, side="right")
        after = np.searchsorted(logs, starts + 2 * width, side="right")
        inside = valley - places - 1
        p_values = binom.cdf(inside, inside + after - valley, 0.5)
        best = int(np.argmin(p_values))
        if p_values[best] < least:
            least, beyond = float(p_values[best]), float(lowest + np.exp(starts[best] + width))
    if least > SIGNIFICANT:
        return Contamination(0.0, np.inf, least)
    return Contamination(float(np.mean(scores > beyond)), beyond, least)


class ContaminationWarning(UserWarning):
    """Held-out rows that were taken as normal hold some that lie apart.

    Attributes:
        found: the estimate.
        rows: the rows that lie apart, the worst first.
        held_out: number of rows that were looked at.
        resisted: whether the model was fitted so that such rows are left out.
        source: what the rows are rows of, and where their numbers begin.
    """

    def __init__(
        self,
        found: Contamination,
        rows: tuple[int, ...],
        held_out: int,
        *,
        resisted: bool = False,
        source: str = "X, counted from 0",
    ):
        super().__init__(found, rows, held_out)
        self.found, self.rows, self.held_out = found, rows, held_out
        self.resisted, self.source = resisted, source

    def renamed(self, number: Callable[[int], Any], source: str) -> "ContaminationWarning":
        """The same warning for who knows row i as row `number(i)`, of `source`."""
        renamed = copy(self)
        renamed.rows, renamed.source = tuple(int(number(row)) for row in self.rows), source
        return renamed

    def __str__(self) -> str:
        """One sentence: how many, which, and what can be done."""
        named = ", ".join(str(row) for row in self.rows[:NAMED_ROWS])
        more = f" and {len(self.rows) - NAMED_ROWS} more" if len(self.rows) > NAMED_ROWS else ""
        remedy = "leave them out, or fit with trim (by gradient steps) or with covariance = robust (a Gaussian)"
        if self.resisted:
            remedy = "the fit leaves such rows out, but the threshold counts them as normal: leave them out there, too"
        return (
            f"the data to fit does not look clean: {self.found.share:.2g} of the {self.held_out} held-out rows have "
            f"scores that lie apart from the others, above {self.found.above:.6g}; review rows {named}{more} of "
            f"{self.source}, the worst first, and {remedy}"
        )


def contamination_warning(
    scores: Float[np.ndarray, "n"], number: Callable[[int], int], *, resisted: bool, source: str
) -> ContaminationWarning | None:
    """Give the warning if there is reason for it, and return it.

    Args:
        scores: of held-out rows.
        number: what the user calls each of them.
        resisted: whether the model was fitted so that outliers are left out.
        source: what they are rows of, and where their numbers begin.
    """
    found = contamination_estimate(scores)
    if not found.share:
        return None
    worst = np.argsort(-scores, kind="stable")[: np.sum(scores > found.above)]
    warning = ContaminationWarning(
        found, tuple(int(number(int(row))) for row in worst), len(scores), resisted=resisted, source=source
    )
    warnings.warn(warning, stacklevel=5)
    return warning


def contamination_of(
    detector: Any, scores: Float[np.ndarray, "n"], number: Callable[[int], int], source: str
) -> ContaminationWarning | None:
    """`contamination_warning` of a detector just fitted, from the scores of the normal rows that calibrate it.

    None without a look if these are the rows that it learned from, whose scores say little. Rows with a value that was
    never seen do not count: they lie apart for a reason of their own.
    """
    if detector.calibration_source_ == "training":
        return None
    rows = np.flatnonzero((scores < NEVER_SEEN / 2) | np.isinf(scores))
    if not rows.size:
        return None
    resisted = bool(getattr(getattr(detector, "train", None), "trim", 0.0))
    resisted |= getattr(detector.model_spec_, "covariance", None) == "robust"
    return contamination_warning(scores[rows], lambda row: number(int(rows[row])), resisted=resisted, source=source)
