"""Maps that draw in the tails of a column, and which of them suits it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtri

from jaxflow.data.columns.numeric_maps import Arcsinh, Continuous, RankGaussian

MOST_KNOTS = 128  # of a rank-Gaussian map, which has the root of as many as there are rows
JUDGED_ROWS = 20_000  # by which a map is chosen; their mean log-likelihood is known to a hundredth of a nat
LEAST_ROWS = 20  # of fewer, the halves say nothing
LEAST_GAIN = 0.02  # nats a row, for which a column is bent
UNLIKELY = -1e100  # the log-density under a map that cannot be fitted
MOST_GAIN = 10.0  # nats that a row counts for in how sure the gain is


def fit_tails(values: Float64[np.ndarray, "n"], **common: Any) -> Continuous | Arcsinh | RankGaussian:
    """The map under which a column is most likely normal: the identity, arcsinh, or the normal quantile of the rank.

    Each map, and the mean and standard deviation of what it makes of the column, is taken from one half of the values,
    and the other half is judged by the log-density that this gives in the column's own units,

    log N(z; mean, deviation) + log dz/dx,

    and the other way round. Arcsinh takes the place of the identity, and the rank that of both, where it gains 0.02
    nats a row and twice the standard error of the gain, in which no row counts for more than 10 nats. The halves are
    always the same for as many values; of more than 20,000 values, as many judge, evenly spread.
    """
    few = values[:: -(-len(values) // JUDGED_ROWS)]
    order = np.random.default_rng(0).permutation(len(few))
    halves = few[order[: len(few) // 2]], few[order[len(few) // 2 :]]
    chosen: Callable[..., Any] = _as_it_is
    if len(few) >= LEAST_ROWS and all(half.min() < half.max() for half in halves):
        best = _held_out(chosen, halves, common)
        candidates: tuple[Callable[..., Any], ...] = (fit_arcsinh, fit_rank_gaussian)
        for fit in candidates:
            found = _held_out(fit, halves, common)
            gain = found - best
            sure = 2 * np.clip(gain, -MOST_GAIN, MOST_GAIN).std() / math.sqrt(len(gain))
            if gain.mean() > max(LEAST_GAIN, sure):
                chosen, best = fit, found
    return chosen(values, **common)


def _as_it_is(values: Float64[np.ndarray, "n"], **common) -> Continuous:
    return Continuous(**common)


def _held_out(fit: Callable[..., Any], halves: tuple[np.ndarray, np.ndarray], common: Any) -> np.ndarray:
    """The log-density of each value in nats, by a map and a normal density fitted to the other half."""
    found = []
    for learn, judge in (halves, halves[::-1]):
        column = fit(learn, **common)
        z, judged = column.expand(learn)[:, 0], column.expand(judge)[:, 0]
        # In units of the largest, whose square may overflow.
        largest = np.abs(z - z.mean()).max()
        if not 0 < largest < np.inf:
            found.append(np.full(len(judge), UNLIKELY))
            continue
        deviation = largest * np.sqrt(np.mean(((z - z.mean()) / largest) ** 2))
        with np.errstate(over="ignore"):
            squares = np.minimum(((judged - z.mean()) / deviation) ** 2, 1e100)
        found.append(column.log_slopes(judge) - np.log(deviation) - squares / 2)
    return np.concatenate(found)


def fit_arcsinh(values: Float64[np.ndarray, "n"], **common) -> Arcsinh:
    """Centre: the median. Scale: the inter-quartile range as a normal column's deviation, or that itself where 0."""
    low, centre, high = np.quantile(values, [0.25, 0.5, 0.75])
    scale = (high - low) / (ndtri(0.75) - ndtri(0.25))
    if not scale > 0:
        scale = values.std() or 1.0
    return Arcsinh(centre=float(centre), scale=float(scale), **common)


def fit_rank_gaussian(values: Float64[np.ndarray, "n"], **common) -> RankGaussian:
    """Knots at quantiles of the values, of which there are two at least, spread evenly, with both ends among them."""
    ordered = np.sort(values)
    levels = (np.arange(len(ordered)) + 0.5) / len(ordered)
    # The slope of a piece with k rows is off by a share of 1 / sqrt(k), so there must not be too many pieces.
    count = min(MOST_KNOTS, len(ordered), max(8, math.isqrt(len(ordered))))
    places = np.unique(np.linspace(0, len(ordered) - 1, count).round().astype(int))
    knots, first, count = np.unique(ordered[places], return_index=True, return_counts=True)
    # Where many rows share a value, its rank is the middle of theirs.
    ranks = np.array([levels[places[a : a + c]].mean() for a, c in zip(first, count, strict=True)])
    scores = ndtri(ranks)
    last = len(knots) - 1
    # The knots at most 5 % of the rows away from each end, but for the end itself.
    inner = max(1, np.searchsorted(ranks, 0.05)), min(last - 1, np.searchsorted(ranks, 0.95))
    slopes = (
        (scores[inner[0]] - scores[0]) / (knots[inner[0]] - knots[0]),
        (scores[last] - scores[inner[1]]) / (knots[last] - knots[inner[1]]),
    )
    return RankGaussian(knots=tuple(knots), scores=tuple(scores), slopes=slopes, **common)
