"""Whether rows that were taken as normal are all of one kind, as far as can be told without labels."""

import warnings
from collections.abc import Iterable
from copy import copy
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import binom

from jaxflow.detection.calibration.robust_distance import continuous_features, robust_distances, unexplained
from jaxflow.detection.numbered_rows import NumberedRows
from jaxflow.detection.scoring.table_encoder import NEVER_SEEN, Inputs
from jaxflow.detection.thresholds.any_rule import checked_scores
from jaxflow.errors import NAMED_ROWS

LEAST_SCORES = 20  # distinct ones; of fewer none can be told to be apart
LOWEST = 0.05  # quantile from which scores are measured
TAIL = 0.75  # quantile from which on their density must fall
# Of the stretches compared, in logarithms: factors of 1.6, 2.7, 7.4, 55, ..., for groups that lie far and farther out.
WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
SIGNIFICANT = 1e-3
FARTHEST = 1e9  # of a feature, in units of preprocessing; beyond, one is as far out as another
FAR_TAIL = 0.9  # of distances from most rows; larger groups are taken for kinds of normal rows
MOST_ROWS = 20_000  # whose distances are looked at: of 1 % outliers 200, and it takes a second or so


class Contamination(NamedTuple):
    """Result of `contamination_estimate`.

    >>> rng = np.random.default_rng(0)
    >>> scores = np.r_[rng.normal(size=950), rng.normal(30, 1, 50)]
    >>> contamination_estimate(scores).share
    0.05

    Attributes:
        share: of the scores, those that lie apart; 0 if none do.
        above: the score above which they lie; +inf if none do.
        p_value: of the most marked valley in the tail, not corrected for the number of places looked at; at most
            `SIGNIFICANT` if scores are said to lie apart.
    """

    share: float
    above: float
    p_value: float


def contamination_estimate(scores: Float[np.ndarray, "n"], tail: float = TAIL) -> Contamination:
    """Look for a group of high scores that lies apart from the others: beyond a valley in the tail.

    Scores of clean data may have a heavy tail, so how far the tail reaches says nothing. But it thins out: even in
    u = log(score - lowest), where a tail that falls off as a power of the score becomes an exponential one, the
    density falls from some point on. `lowest` is the 5 % quantile; the tail is taken to begin at the 75 % quantile
    (`tail`), from which on the density of u falls for normal, heavy-tailed, skewed and bounded features. Where it
    falls, a stretch (a, a + w] of u holds at least as many scores as the next one, (a + w, a + 2w], and of m scores in
    both so few as k are in the first with a probability of at most P(Binomial(m, 1/2) <= k). The least of these over
    all scores a in the tail and w = 0.5, 1, 2, ..., 32 is `p_value`; at 0.001 or below, the scores beyond the first
    stretch are said to lie apart. Equal scores count once, since many sets have rows that repeat.

    `p_value` is not corrected for the number of places looked at, nor need it be, as scores of clean rows thin out
    faster than the bound has it: `scripts/contamination_study.py` counts how often an alarm is false. A small group of
    normal rows far from the others is taken for contamination, as it must be. At least ten outliers are needed. Where
    the model has learned the outliers, their scores do not lie apart and nothing is found: so with a Gaussian that a
    dense cloud of 5 % of the rows has drawn to itself. `robust_distances` are scores that outliers have no part in.

    Args:
        scores: anomaly scores of rows that the model has not learned from, higher = more anomalous; infinite ones
            are legal, and lie apart if others do.
        tail: quantile from which on scores are looked at. A group that is larger than the rest is not found.

    Raises:
        InputError: if there are no scores or one is NaN.
    """
    scores = checked_scores(scores)
    distinct = np.unique(scores[np.isfinite(scores)])
    if distinct.size < LEAST_SCORES:
        return Contamination(0.0, np.inf, 1.0)
    lowest = np.quantile(distinct, LOWEST)
    logs = np.log(distinct[distinct > lowest] - lowest)
    first = int(np.searchsorted(logs, np.log(np.quantile(distinct, tail) - lowest)))
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
    """Rows that were taken as normal hold some that lie apart.

    >>> issubclass(ContaminationWarning, UserWarning)
    True

    Attributes:
        found: the estimate.
        rows: the rows that lie apart, the worst first.
        judged: number of rows that were looked at.
        by: what was looked at: "distance" of each row from most rows, or "score" of rows that the model has not seen.
        resisted: whether the model was fitted so that such rows are left out.
        source: what the rows are rows of, and where their numbers begin.
    """

    def __init__(
        self,
        found: Contamination,
        rows: tuple[int, ...],
        judged: int,
        *,
        by: Literal["distance", "score"] = "score",
        resisted: bool = False,
        source: str = "X, counted from 0",
    ):
        super().__init__(found, rows, judged)
        self.found, self.rows, self.judged, self.by = found, rows, judged, by
        self.resisted, self.source = resisted, source

    def renamed(self, rows: Iterable[Any], source: str) -> "ContaminationWarning":
        """Return this warning for who knows its rows by these numbers, of `source`."""
        renamed = copy(self)
        renamed.rows, renamed.source = tuple(int(row) for row in rows), source
        return renamed

    def __str__(self) -> str:
        """One sentence: how many, which, and what can be done."""
        named = ", ".join(str(row) for row in self.rows[:NAMED_ROWS])
        more = f" and {len(self.rows) - NAMED_ROWS} more" if len(self.rows) > NAMED_ROWS else ""
        remedy = "leave them out, or fit with trim (by gradient steps) or with covariance = robust (a Gaussian)"
        if self.resisted:
            remedy = "the fit leaves such rows out, but the threshold counts them as normal: leave them out there, too"
        rows, apart = "held-out rows", f"have scores that lie apart from the others, above {self.found.above:.6g}"
        if self.by == "distance":
            rows = "rows looked at"
            apart = f"lie apart from the others, more than {self.found.above**0.5:.3g} robust standard deviations away"
        return (
            f"the data to fit does not look clean: {self.found.share:.2g} of the {self.judged} {rows} {apart}; review "
            f"rows {named}{more} of {self.source}, the worst first, and {remedy}"
        )


def contamination_of(
    detector: Any, normal: NumberedRows, calibrating: NumberedRows, scores: Float[np.ndarray, "m"]
) -> ContaminationWarning | None:
    """Give the warning of a detector just fitted if there is reason for it, and return it.

    Two looks are taken. The first is at the rows themselves: the distances from most of them, by their continuous
    features given flags, categories and the context (`unexplained`), for a group of less than a tenth of the rows. It
    needs no rows held out, as outliers have no part in what is near; of more than 20,000 rows so many are looked at.
    The second is at the scores of rows that the model has not seen, where all features are continuous: with others the
    score jumps from value to value by how rare they are. Values that were never seen do not count: they lie apart for a
    reason of their own.

    Args:
        detector: whose inputs and model spec say what was fitted and how.
        normal: rows that were taken as normal.
        calibrating: those of them that calibrate, and
        scores: their scores.
    """
    resisted = detector.train is not None and detector.train.trim > 0
    resisted |= getattr(detector.model_spec_, "covariance", None) == "robust"
    chosen = np.arange(len(normal))
    if len(normal) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(0).choice(len(normal), MOST_ROWS, replace=False))
    distances, all_continuous = _distances(detector.inputs_, normal.codes[chosen])
    looks: list[tuple[Literal["distance", "score"], np.ndarray, np.ndarray, float]] = []
    if distances is not None:
        looks.append(("distance", normal.numbers[chosen], distances, FAR_TAIL))
    if all_continuous and detector.calibration_source_ != "training":
        known = np.flatnonzero((scores < NEVER_SEEN / 2) | np.isinf(scores))
        looks.append(("score", calibrating.numbers[known], scores[known], TAIL))
    for by, numbers, values, tail in looks:
        found = contamination_estimate(values, tail) if numbers.size else Contamination(0.0, np.inf, 1.0)
        if found.share:
            worst = numbers[np.argsort(-values, kind="stable")[: np.sum(values > found.above)]]
            rows = tuple(worst.tolist())
            warning = ContaminationWarning(found, rows, numbers.size, by=by, resisted=resisted, source=normal.data)
            warnings.warn(warning, stacklevel=5)
            return warning
    return None


def _distances(inputs: Inputs, x: Float[np.ndarray, "n columns"]) -> tuple[Float[np.ndarray, "n"] | None, bool]:
    """Squared distances of rows of codes from most of them, if there are any to be had; whether all is continuous."""
    with np.errstate(over="ignore"):
        z, context = inputs.model_rows(x)
    z = np.clip(z, -FARTHEST, FARTHEST)
    judged = continuous_features(z, inputs.gaps(x))
    flags = [column for column in z[:, ~judged].T if np.unique(column).size == 2]
    others = np.column_stack([np.empty((len(z), 0)), *flags, *(() if context is None else (context,))])
    return robust_distances(unexplained(z[:, judged], others)), bool(judged.all())
