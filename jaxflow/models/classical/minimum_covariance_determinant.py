"""Mean and covariance of most rows, however wild the others are.

Of all subsets of h rows, the minimum covariance determinant takes the one whose covariance has the least determinant
(Rousseeuw 1985). It is looked for by FAST-MCD (Rousseeuw and Van Driessen 1999), all starts side by side.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxflow.models.trimming import without_worst

STARTS = 500  # random subsets of dim + 1 rows (Rousseeuw and Van Driessen 1999, section 3.2)
FIRST_STEPS = 2  # concentration steps from each of them (section 3.2)
CARRIED_ON = 10  # starts that are carried on to the end (section 3.2)
TRIED_ROWS = 1500  # rows on which starts are tried (section 3.3)
MOST_STEPS = 100  # concentration steps to the end; about ten are usual
SIDE_BY_SIDE = 1 << 23  # numbers that starts tried at once may have of the rows: 32 MiB
FARTHEST = 1e6  # median absolute deviations; beyond, one is as far out as another
USUAL = 0.975  # share of normal rows that the second estimate is of (section 4)


class _Subset(NamedTuple):
    """Rows that count, and what is estimated from them."""

    weight: Float[Array, "n"]
    mean: Float[Array, "dim"]
    factor: Float[Array, "dim dim"]


def support_rows(n: int, dim: int, support_fraction: float) -> int:
    """h, the number of rows of the subset: the fraction of them, but at least half of n + dim + 1.

    With fewer, the estimate resists fewer outliers, not more (Rousseeuw and Van Driessen 1999, section 2).
    """
    return min(n, max(math.ceil(support_fraction * n), (n + dim + 1) // 2))


def consistency_factor(dim: int, share: float) -> float:
    """Return the factor that makes the covariance of the innermost `share` of normal rows that of all rows.

    share / P(chi^2 with dim + 2 degrees <= q),   P(chi^2 with dim degrees <= q) = share

    Croux and Haesbroeck 1999, section 2; 1 for all rows. In small samples the covariance remains too small (Pison et
    al. 2002), which is not corrected, as it is not in scikit-learn: by 22 % with 50 rows of 5 features, 11 % with 100,
    and 1.5 % with 1000 rows of 10.
    """
    from scipy.stats import chi2  # takes most of a second

    return float(share / chi2.cdf(chi2.ppf(share, dim), dim + 2))


def robust_weight(
    key: PRNGKeyArray,
    x: Float[Array, "n dim"],
    weight: Float[Array, "n"],
    regularization: float,
    *,
    rows: int,
    support_fraction: float,
) -> tuple[Float[Array, "n"], float]:
    """The weights, with zero for outliers: rows far from the minimum covariance determinant estimate.

    A row counts if its squared distance is at most the 97.5 % quantile of chi^2. Mean and covariance of these rows use
    more of normal data than those of the h rows, and resist as many outliers (Rousseeuw and Van Driessen 1999,
    section 4; Croux and Haesbroeck 1999).

    Args:
        key: draws the starts.
        x: rows.
        weight: how much each row counts; with unequal weights, h / n is a share of the weight.
        regularization: as in `estimate_gaussian`.
        rows: number of rows of positive weight, more than dim.
        support_fraction: see `support_rows`.

    Returns:
        The weights, and the factor by which the covariance under them is consistent for normal data.
    """
    dim = x.shape[-1]
    support = support_rows(rows, dim, support_fraction) / rows
    from scipy.stats import chi2

    bound = chi2.ppf(USUAL, dim) * consistency_factor(dim, support)
    kept = _robust_weight(key, x, weight, regularization, 1 - support, bound)
    return kept, consistency_factor(dim, USUAL)


@jax.jit
def _robust_weight(
    key: PRNGKeyArray,
    x: Float[Array, "n dim"],
    weight: Float[Array, "n"],
    regularization: float | Float[Array, ""],
    out: float | Float[Array, ""],
    bound: float | Float[Array, ""],
) -> Float[Array, "n"]:
    """Rows whose squared distance from the subset's estimate, without its consistency factor, is at most `bound`."""
    # A row of weight 0 may hold anything, and 0 * inf would be NaN.
    x = _in_units_of_most_rows(jnp.where(weight[:, None] > 0, x, 0.0), weight)
    row_key, start_key = jax.random.split(key)
    n, dim = x.shape
    tried, tried_weight = x, weight
    if n > TRIED_ROWS:
        chosen = _draw(row_key, weight, TRIED_ROWS)
        # They are drawn by their weights, and so count alike.
        tried, tried_weight = x[chosen], jnp.where(weight[chosen] > 0, 1.0, 0.0).astype(x.dtype)
    concentrate = partial(_concentrate, ridge=regularization, out=out)

    def steps(subset: _Subset) -> _Subset:
        return lax.fori_loop(0, FIRST_STEPS, lambda _, subset: concentrate(tried, tried_weight, subset), subset)

    def begin(key: PRNGKeyArray) -> _Subset:
        drawn = jnp.zeros_like(tried_weight).at[_draw(key, tried_weight, dim + 1)].set(1.0)
        return steps(_of(tried, drawn, regularization))

    begun = lax.map(begin, jax.random.split(start_key, STARTS), batch_size=_side_by_side(tried.size))
    # Where features are so many that hardly a random subset is free of outliers, the sphere around the median leads
    # somewhere (the median ball of Olive 2004).
    ball = steps(_Subset(tried_weight, jnp.zeros(dim, x.dtype), jnp.eye(dim, dtype=x.dtype)))
    begun = jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), begun, ball)
    best = lax.top_k(-_log_dets(begun), CARRIED_ON)[1]
    ended = lax.map(
        lambda index: _to_the_end(tried, tried_weight, jax.tree.map(lambda array: array[index], begun), concentrate),
        best,
    )
    best = jnp.argmin(_log_dets(ended))
    subset = jax.tree.map(lambda array: array[best], ended)
    if n > TRIED_ROWS:
        subset = _to_the_end(x, weight, concentrate(x, weight, subset), concentrate)
    return jnp.where(_squared_distance(x, subset) <= bound, weight, 0.0)


def _in_units_of_most_rows(x: Float[Array, "n dim"], weight: Float[Array, "n"]) -> Float[Array, "n dim"]:
    """Rows from their median, in units of the median absolute deviation of each feature.

    The minimum covariance determinant does not depend on it, but in these units float32 tells the inner rows apart,
    however far the outer ones are.
    """
    counted = weight[:, None] > 0
    x = x - jnp.nanmedian(jnp.where(counted, x, jnp.nan), axis=0)
    spread = jnp.nanmedian(jnp.where(counted, jnp.abs(x), jnp.nan), axis=0)
    # The median is zero where most values are equal.
    spread = jnp.where(spread > 0, spread, jnp.nanmean(jnp.where(counted, jnp.abs(x), jnp.nan), axis=0))
    return jnp.clip(x / jnp.where(spread > 0, spread, 1.0), -FARTHEST, FARTHEST)


def _draw(key: PRNGKeyArray, weight: Float[Array, "n"], count: int) -> Int[Array, "count"]:
    """Rows drawn one after the other in proportion to their weight; those without weight last."""
    return lax.top_k(jnp.log(weight) + jax.random.gumbel(key, weight.shape, weight.dtype), count)[1]


def _side_by_side(size: int) -> int:
    """How many starts are tried at once; a CPU has no use for many small products at once."""
    return 1 if jax.default_backend() == "cpu" else max(1, SIDE_BY_SIDE // size)


def _of(x: Float[Array, "n dim"], weight: Float[Array, "n"], ridge: float | Float[Array, ""]) -> _Subset:
    """The estimate from rows of these weights.

    Only which rows are inner ones is asked here, so that the covariance itself is accurate enough; what rounding does
    to its smallest eigenvalues is kept away from zero.
    """
    share = weight / jnp.sum(weight)
    mean = jnp.matmul(share, x, precision="highest")
    centred = x - mean
    covariance = jnp.matmul((share[:, None] * centred).T, centred, precision="highest")
    dim = x.shape[-1]
    ridge = jnp.maximum(ridge, 10 * dim * jnp.finfo(x.dtype).eps) * jnp.trace(covariance) / dim
    return _Subset(weight, mean, jnp.linalg.cholesky(covariance + ridge * jnp.eye(dim, dtype=x.dtype)))


def _concentrate(
    x: Float[Array, "n dim"],
    weight: Float[Array, "n"],
    subset: _Subset,
    *,
    ridge: float | Float[Array, ""],
    out: float | Float[Array, ""],
) -> _Subset:
    """The estimate from the rows nearest to the one before, whose determinant is never greater.

    Rousseeuw and Van Driessen 1999, theorem 1.
    """
    return _of(x, without_worst(_squared_distance(x, subset), weight, out), ridge)


def _to_the_end(
    x: Float[Array, "n dim"], weight: Float[Array, "n"], subset: _Subset, concentrate: Callable[..., _Subset]
) -> _Subset:
    """Concentration steps until they take the same rows again."""

    def unfinished(state):
        step, before, subset = state
        return (step < MOST_STEPS) & jnp.any(before != subset.weight)

    def advance(state):
        step, _, subset = state
        return step + 1, subset.weight, concentrate(x, weight, subset)

    first = (jnp.zeros((), int), jnp.full_like(subset.weight, -1.0), subset)
    return lax.while_loop(unfinished, advance, first)[2]


def _squared_distance(x: Float[Array, "n dim"], subset: _Subset) -> Float[Array, "n"]:
    # LAPACK's threads would take longer to meet over a few hundred rows than the product with the inverse takes.
    inverse = solve_triangular(subset.factor, jnp.eye(x.shape[-1], dtype=x.dtype), lower=True)
    z = jnp.matmul(x - subset.mean, inverse.T, precision="highest")
    return jnp.sum(z * z, axis=-1)


def _log_dets(subsets: _Subset) -> Float[Array, "subsets"]:
    """Half the logarithm of the determinant of each; +inf where there is none."""
    log_dets = jnp.sum(jnp.log(jnp.diagonal(subsets.factor, axis1=-2, axis2=-1)), axis=-1)
    return jnp.where(jnp.isnan(log_dets), jnp.inf, log_dets)
