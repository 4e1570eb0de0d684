"""Leaving out the rows that fit worst: the step that all trimmed estimators share."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def without_worst(
    losses: Float[Array, "n"], weight: Float[Array, "n"], share: float | Float[Array, ""]
) -> Float[Array, "n"]:
    """The weights, with zero for the rows of the highest losses.

    Whole rows are left out, the worst first, as long as they have together at most `share` of all weight; of equal
    losses the first rows. With equal weights these are floor(share * n) rows.

    Args:
        losses: of each row; NaN counts as worse than any number.
        weight: non-negative; rows of weight zero are no part of the share.
        share: at least 0 and less than 1.
    """
    rank = jnp.argsort(jnp.where(jnp.isnan(losses), jnp.inf, losses), descending=True, stable=True)
    # A share such as 0.3, rounded down, would otherwise keep a row too many.
    allowed = share * jnp.sum(weight) * (1 + 2 * jnp.finfo(weight.dtype).eps)
    worst = jnp.cumsum(weight[rank]) <= allowed
    return jnp.where(jnp.zeros(worst.shape, bool).at[rank].set(worst), 0.0, weight)
