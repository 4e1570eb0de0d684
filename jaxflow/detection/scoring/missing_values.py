"""Scores of rows of which some features are missing: averages over what the model expects there."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.stats import chi, norm

from jaxflow.data.preprocessing.imputation import Imputer, rows_alike
from jaxflow.models.normals import Given, Normals

DRAWS = 64  # guesses for each row
REACH = 2.5  # of the guesses, in standard deviations beyond the radius at which those of a normal density lie
ROWS_AT_ONCE = 1024  # with gaps; each is scored `DRAWS` times
NUMBERS_AT_ONCE = 1 << 24  # of terms of a density for these rows

RowFunction: TypeAlias = Callable[
    [Float[np.ndarray, "m dim"], Float[np.ndarray, "m context_dim"] | None], Float[np.ndarray, "m"]
]


def expected_scores(
    score: RowFunction,
    z: Float[np.ndarray, "n dim"],
    context: Float[np.ndarray, "n context_dim"] | None,
    gaps: Bool[np.ndarray, "n dim"],
    imputer: Imputer,
    snap: Callable[[Float[np.ndarray, "m dim"]], Float[np.ndarray, "m dim"]],
    log_slopes: Callable[[Float[np.ndarray, "m dim"]], Float[np.ndarray, "m dim"]] | None = None,
    *,
    normals: Normals | None = None,
    log_prob: RowFunction | None = None,
) -> Float[np.ndarray, "n"]:
    """The mean of -log p(x) over the missing features, drawn from the model given the others.

    E[-log p(x_present, x_missing) | x_present] = -log p(x_present) + entropy(x_missing | x_present)

    The entropy makes rows compare that lack different features: without it a row would score lower the more it lacks.
    It does not make their spread alike: what is missing adds its mean and no deviation from it, so that the scores of
    normal rows with gaps lie closer together, and a threshold of complete rows flags fewer of them. Of a Gaussian of d
    features, which flags the share a of complete normal rows, rows that lack k are flagged with the probability

    P(chi^2_(d - k) > chi^2_d(1 - a) - k)

    for a = 5 % and d = 4 with 3.7 %, 2.4 % and 1.1 % where 1, 2 and 3 are missing, for d = 20 with 3.4 %, 1.8 % and 0.1
    % for 5, 10 and 18. Where scores are not spread as those of a Gaussian the rate falls less
    (results/missing/summary.md), and where unseen rows score higher than the model expects of its own, as one does that
    has few rows for its parameters, it falls faster. The order of rows that lack the same is kept, but an anomaly has
    to be the farther out the more is missing. To score a single draw in place of the mean would keep the rate and make
    the score of a row a matter of luck.

    Exact for a normal density. Of a weighted sum of such the guesses are draws of its own. Of all others the mean is
    estimated by self-normalised importance sampling (Owen 2013, section 9.2): `guesses` are spread around what a normal
    density of all features expects, given those that are there, and count with the weight p / q. They rest on the same
    fixed random numbers for every row and call, so that a row's score depends on the row and the fit alone.

    Args:
        score: -log p of complete rows; or whatever else is to be averaged, if `log_prob` is given.
        z: rows; what stands at a gap does not count.
        context: their context, complete.
        gaps: where features are missing; at least once in each row.
        imputer: the normal density.
        snap: puts features with probabilities on their grid. Each value then stands for the cell around it, over which
            q is a density, so that the weights stay right but for a constant.
        log_slopes: log dz/dx of each feature, where it differs from value to value and the mean is to be that of
            -log p(x). Those of the missing features are counted here, which are known for guesses alone.
        normals: the density itself, where it is a weighted sum of normal ones.
        log_prob: log p of complete rows, where the score is another function.
    """
    scores = np.empty(len(z))
    density = Normals.of(imputer.mean, imputer.covariance) if normals is None else normals
    at_once = max(1, min(ROWS_AT_ONCE, NUMBERS_AT_ONCE // len(density.means)))
    for alike, missing in rows_alike(gaps):
        for start in range(0, len(alike), at_once):
            rows = alike[start : start + at_once]
            part = None if context is None else context[rows]
            given = density.given(z[rows], missing, part)
            if normals is not None and given.entropy is not None:
                scores[rows] = given.entropy - given.log_prob
                if log_slopes is not None:
                    scores[rows] -= _slopes_alone(log_slopes, z[rows], missing, given).mean(axis=1)
                continue
            noise, log_q, share = guesses(len(missing))
            if normals is not None:
                noise, share = standard_normal(len(missing)), 1 / DRAWS
            filled = np.repeat(z[rows], DRAWS, axis=0)
            filled[:, missing] = given.draws(given.terms(DRAWS), noise).reshape(-1, len(missing))
            filled = snap(filled)
            repeated = None if part is None else np.repeat(part, DRAWS, axis=0)
            found = score(filled, repeated).reshape(len(rows), DRAWS)
            log_p = -found if log_prob is None else log_prob(filled, repeated).reshape(found.shape)
            log_weight = log_p - log_q if normals is None else np.where(np.isfinite(log_p), 0.0, -np.inf)
            best = log_weight.max(axis=1, keepdims=True)
            with np.errstate(invalid="ignore"):
                weight = np.exp(log_weight - best)
                weight /= weight.sum(axis=1, keepdims=True)
                mean = np.sum(np.where(weight > 0, weight * found, 0.0), axis=1)
            if log_slopes is not None:
                units = log_slopes(filled)[:, missing].sum(axis=1).reshape(found.shape)
                # What q expects is known all but exactly; of the guesses only by how much p differs from it is asked.
                mean -= _slopes_alone(log_slopes, z[rows], missing, given).mean(axis=1)
                mean -= np.sum(np.where(weight > 0, weight - share, -share) * units, axis=1)
            # Where no guess has a density the row itself has none.
            scores[rows] = np.where(np.isfinite(best[:, 0]), mean, np.inf)
    return scores


class Guesses(NamedTuple):
    """Numbers for features that are missing, to be made by shift and scale those of a normal density.

    Attributes:
        noise: the numbers.
        log_q: log q of each guess, but for a constant, q being the density that they are spread out by.
        share: the weight of each guess that makes means those of the standard normal density.
    """

    noise: Float64[np.ndarray, "draws missing"]
    log_q: Float64[np.ndarray, "draws"]
    share: Float64[np.ndarray, "draws"]


@lru_cache(maxsize=64)
def guesses(missing: int) -> Guesses:
    """Points around 0 in random directions, at radii of equal distances on both sides of sqrt(missing).

    In many dimensions nearly all of a standard normal density lies within 2 of that radius, however many they are, and
    a guess from a wider one has no weight or all of it. Radii that are not left to chance make a mean over them an
    integral by the midpoint rule: exact to 0.02 nats for -log p where p is the normal density of the guesses, and to
    0.3 where its radius is off by 1. q is the density of points whose radius is uniform, q(e) ~ |e|^(1 - missing).
    Directions come in opposite pairs, in which what is odd cancels.
    """
    centre, half = np.sqrt(missing), DRAWS // 2
    low, high = max(0.0, centre - REACH), centre + REACH
    radius = low + (high - low) * (np.arange(half) + 0.5) / half
    log_q = (1 - missing) * np.log(radius)
    log_share = -0.5 * radius**2 - log_q
    share = np.exp(log_share - log_share.max())
    return Guesses(_pairs(missing, radius), np.repeat(log_q, 2), np.repeat(share / (2 * share.sum()), 2))


@lru_cache(maxsize=64)
def standard_normal(missing: int) -> Float64[np.ndarray, "draws missing"]:
    """Draws from a standard normal density: opposite pairs at the quantiles of the chi distribution.

    All are scaled a little, such that the mean of their squared radii is the number of features.
    """
    half = DRAWS // 2
    radius = chi.ppf((np.random.default_rng(1).permutation(half) + 0.5) / half, missing)
    return _pairs(missing, radius * np.sqrt(missing / np.mean(radius**2)))


def _pairs(missing: int, radius: Float64[np.ndarray, "pairs"]) -> Float64[np.ndarray, "draws missing"]:
    """Points at these radii in random directions, each followed by the one opposite."""
    direction = np.random.default_rng(0).normal(size=(len(radius), missing))
    point = radius[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return np.stack([point, -point], axis=1).reshape(-1, missing)


def _slopes_alone(
    log_slopes: Callable[[Float[np.ndarray, "m dim"]], Float[np.ndarray, "m dim"]],
    z: Float[np.ndarray, "n dim"],
    missing: Int64[np.ndarray, "missing"],
    given: Given,
) -> Float64[np.ndarray, "n draws"]:
    """Sums of the missing features' log-slopes at draws whose mean is that of the density given.

    A slope depends on its own feature alone. So each feature takes the quantiles of its own distribution, all in the
    same order; that they then depend on each other does not count in a sum.
    """
    quantiles = norm.ppf((np.random.default_rng(0).permutation(DRAWS) + 0.5) / DRAWS)
    filled = np.repeat(z, DRAWS, axis=0)
    draws = given.draws_one_by_one(given.terms(DRAWS), quantiles / quantiles.std())
    filled[:, missing] = draws.reshape(-1, len(missing))
    return log_slopes(filled)[:, missing].sum(axis=1).reshape(len(z), DRAWS)
