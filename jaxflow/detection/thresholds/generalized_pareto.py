"""The tail of scores beyond a high level: a generalised Pareto distribution, fitted by maximum likelihood.

Whatever the scores are distributed as, what exceeds a high enough level is nearly distributed so (Balkema and de Haan
1974; Pickands 1975), so that quantiles can be told that lie beyond all scores seen.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

LEAST_EXCESSES = 10
SMALLEST_SHAPE = -1.0  # below it the likelihood has no maximum: it grows without bound as the end nears the largest
NEAREST_TO_EXPONENTIAL = 1e-5  # of shape / scale times the mean; nearer to 0 the equation drowns in rounding
GRID = 48  # points on each side of 0 between which roots are looked for
BLOCK = 1 << 20  # numbers in memory at once


class Tail(NamedTuple):
    """Scores beyond a level: P(score > level + y) = share (1 + shape y / scale)^(-1 / shape), for y > 0.

    Attributes:
        level: where the tail begins, in units of the score.
        share: the share of all scores that lie beyond.
        shape: of the generalised Pareto distribution; 0 is the exponential, below 0 the tail has an end.
        scale: in units of the score.
    """

    level: float
    share: float
    shape: float
    scale: float

    def quantile(self, rate: float) -> float:
        """The finite score that the share `rate` of all scores exceeds.

        level + scale / shape ((rate / share)^(-shape) - 1)         (Siffer et al. 2017, equation 1)
        """
        ratio = math.log(self.share / rate)
        try:
            excess = self.scale * (math.expm1(self.shape * ratio) / self.shape if self.shape else ratio)
        except OverflowError:
            excess = math.inf
        return min(max(self.level + excess, -np.finfo(float).max), np.finfo(float).max)

    def beyond(self, score: float) -> float:
        """The share of all scores that exceeds one that is not below the level; 0 from the end of the tail on."""
        y = (score - self.level) / self.scale
        if self.shape == 0 or y == math.inf:
            return self.share * math.exp(-y)
        inside = 1 + self.shape * y
        return self.share * math.exp(-math.log(inside) / self.shape) if inside > 0 else 0.0


def fit_tail(scores: Float[np.ndarray, "n"], share: float, *, endless: bool = False) -> Tail | None:
    """The tail of the largest scores.

    Scores of +inf have no part in it: no finite level bounds them.

    Args:
        scores: higher = more anomalous.
        share: share of the scores that make up the tail, more than 0 and less than 1; of few scores it is more, so
            that 10 of them do, where that leaves half below.
        endless: see `fit_generalized_pareto`.

    Returns:
        None where nothing is to be learned: of fewer than two finite scores, and where the largest are all equal.
    """
    scores = np.sort(scores[scores < np.inf])
    finite = scores[scores > -np.inf]
    count = max(round(share * len(scores)), min(LEAST_EXCESSES, len(scores) // 2), 1)
    if len(finite) < 2:
        return None
    level = finite[-1 - min(count, len(finite) - 1)]
    with np.errstate(over="ignore"):
        excesses = finite[finite > level] - level
    if not len(excesses) or np.isinf(excesses[-1]):
        return None
    shape, scale = fit_generalized_pareto(excesses, endless=endless)
    return Tail(float(level), len(excesses) / len(scores), shape, scale)


def fit_generalized_pareto(excesses: Float[np.ndarray, "k"], *, endless: bool = False) -> tuple[float, float]:
    """Shape and scale of greatest likelihood, among shapes of -1 and more, for finite numbers above 0.

    With theta = shape / scale the likelihood has its maximum over the shape where shape = mean(log(1 + theta y)), so
    that only theta is left to be found (Grimshaw 1993, "Computing maximum likelihood estimates for the generalized
    Pareto distribution"). Its stationary points are the roots of

        mean(1 / (1 + theta y)) (1 + mean(log(1 + theta y))) = 1

    between -1 / max(y) and 2 (mean(y) - min(y)) / min(y)^2. All that are maxima are compared, and with them the
    exponential (theta = 0) and the uniform distribution up to the largest number (shape -1).

    Args:
        excesses: the numbers, one at least.
        endless: only shapes of 0 and more, for which every number has a larger one. A few numbers often look as if
            their distribution ended just beyond the largest of them, and quantiles would then be told too low.
    """
    unit = float(excesses.max())
    y = excesses / unit
    mean, least = float(y.mean()), float(y.min())
    nearest = NEAREST_TO_EXPONENTIAL / mean
    best, grids = (_likelihood(0.0, mean, y), 0.0, mean), []
    farthest = 2 * (mean - least) / max(least, 1e-150) ** 2
    if farthest > nearest:
        grids.append(np.geomspace(nearest, farthest, GRID))
    if not endless:
        best = max(best, (_likelihood(-1.0, 1.0, y), -1.0, 1.0))
        # Towards the end of the support, where 1 + theta max(y) = 0, and towards 0, in equal steps of the logarithm.
        to_end, to_zero = np.geomspace(1e-12, 0.5, GRID), np.geomspace(0.5, min(nearest, 0.4), GRID)
        grids.append(np.concatenate([to_end - 1, -to_zero[1:]]))
    for grid in grids:
        # The likelihood grows with theta where the left side above is greater than 1.
        grows = _slopes(grid, y) > 0
        for index in np.flatnonzero(grows[:-1] & ~grows[1:]):
            ends = grid[index : index + 2]
            theta: Any = brentq(lambda theta: _slopes(np.array([theta]), y)[0], *ends, xtol=1e-300)
            shape = float(np.mean(np.log1p(theta * y)))
            if shape > SMALLEST_SHAPE and shape / theta > 0:
                best = max(best, (_likelihood(shape, shape / theta, y), shape, shape / theta))
    _, shape, scale = best
    return shape, scale * unit


def _slopes(thetas: Float[np.ndarray, "m"], y: Float[np.ndarray, "k"]) -> Float[np.ndarray, "m"]:
    """The left side of the equation for each theta, less 1; it has the sign of the likelihood's derivative."""
    slopes = np.empty(len(thetas))
    step = max(1, BLOCK // len(y))
    for start in range(0, len(thetas), step):
        products = thetas[start : start + step, None] * y
        shapes = np.log1p(products).mean(axis=1)
        # mean(1 / (1 + a)) - 1 is written as -mean(a / (1 + a)), which keeps its digits where a is small.
        below = (products / (1 + products)).mean(axis=1)
        slopes[start : start + step] = shapes - below - below * shapes
    return slopes


def _likelihood(shape: float, scale: float, y: Float[np.ndarray, "k"]) -> float:
    """The mean log-likelihood of numbers none of which lies beyond the end of the support."""
    if shape == SMALLEST_SHAPE:
        return -math.log(scale)
    if shape == 0:
        return -math.log(scale) - float(y.mean()) / scale
    return -math.log(scale) - (1 + 1 / shape) * float(np.mean(np.log1p(shape / scale * y)))
