"""Scores of different densities on one scale: how rare they are among those of held-out normal rows."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

QUANTILES = 512  # in which the scores of held-out rows are kept
# Share of held-out rows beyond which their scores are taken to fall off as a generalised Pareto distribution.
TAIL = 0.1
SHAPE = 0.7  # of that distribution: heavier than an exponential tail, as few held-out rows cannot vouch for a light one


def score_tail(
    scores: Float[Array, "n"], counted: Bool[Array, "n"] | None = None
) -> tuple[Float[Array, "quantiles"], Float[Array, ""]]:
    """Quantiles of the scores of held-out rows, and the mean by which those beyond the tail's start exceed it.

    Scores that are no finite numbers count as the largest finite one; of rows that are not `counted` they are left out.
    """
    counted = jnp.ones(scores.shape, bool) if counted is None else counted
    finite = jnp.isfinite(scores) & counted
    largest = jnp.max(jnp.where(finite, scores, -jnp.inf))
    scores = jnp.where(finite, scores, jnp.where(jnp.isfinite(largest), largest, 0.0))
    among = jnp.where(counted, scores, jnp.nan)
    quantiles = jnp.nanquantile(among, (jnp.arange(QUANTILES) + 0.5) / QUANTILES)
    start = jnp.nanquantile(among, 1 - TAIL)
    beyond = among > start
    excess = jnp.sum(jnp.where(beyond, scores - start, 0)) / jnp.maximum(jnp.sum(beyond), 1)
    return quantiles, jnp.maximum(excess, jnp.finfo(scores.dtype).eps * jnp.maximum(jnp.abs(start), 1e-3))


def negative_log_tail(
    scores: Float[Array, "*batch"],
    quantiles: Float[Array, "quantiles"],
    excess: Float[Array, ""],
    shape: float = SHAPE,
) -> Float[Array, "*batch"]:
    """-log of the share of held-out rows that score as high.

    Beyond the start t of the tail it is -log P = -log TAIL + log(1 + shape (score - t) / scale) / shape, that of a
    generalised Pareto distribution (Pickands 1975; Siffer et al. 2017, eq. 1), whose mean excess, that of the held-out
    rows, is scale / (1 - shape); for shape 0 that of an exponential one. So the order of extreme rows is kept, and a
    row's number depends on the row and the held-out rows alone. Of several densities none shouts the others down
    because its scores grow as a square where theirs do not.
    """
    levels = (jnp.arange(QUANTILES) + 0.5) / QUANTILES
    start = jnp.interp(1 - TAIL, levels, quantiles)
    within = -jnp.log1p(-jnp.minimum(jnp.interp(scores, quantiles, levels), 1 - TAIL))
    beyond = jnp.maximum(scores - start, 0) / excess
    return within + (jnp.log1p(shape / (1 - shape) * beyond) / shape if shape else beyond)
