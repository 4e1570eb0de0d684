"""Mean and covariance of rows by maximum likelihood, as pure functions."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

CovarianceForm = Literal["full", "diagonal", "ledoit_wolf"]


@partial(jax.jit, static_argnames="covariance")
def estimate_gaussian(
    x: Float[Array, "n dim"],
    weight: Float[Array, "n"],
    regularization: float | Float[Array, ""],
    *,
    covariance: CovarianceForm,
) -> tuple[Float[Array, "dim"], Float[Array, "..."], Float[Array, "dim"]]:
    """Mean and Cholesky factor by maximum likelihood; a pure function of the data.

    The factor is R^T of a QR decomposition of the centred rows, each times the root of its weight: the covariance,
    whose condition number is that of the rows squared, is never formed, and float32 goes twice as far.

    Args:
        x: rows.
        weight: non-negative, not all zero.
        regularization: fraction of the mean variance that is added to the diagonal of the covariance.
        covariance: its form.

    Returns:
        The mean; the factor, `(dim, dim)`, or `(dim,)` for "diagonal"; and for each feature the pivot: the standard
        deviation that it has left, given the features before it, as a fraction of its own. A pivot is 0, up to
        rounding, where the covariance is singular.
    """
    centred, mean, weight = centre(x, weight)
    dim = x.shape[-1]
    variance = jnp.matmul(weight, centred * centred, precision="highest")
    mean_variance = jnp.mean(variance)
    ridge = regularization * mean_variance
    if covariance == "diagonal":
        factor = jnp.sqrt(variance + ridge)
        return mean, factor, factor / jnp.where(factor > 0, factor, 1.0)
    rows = jnp.sqrt(weight)[:, None] * centred
    if covariance == "ledoit_wolf":
        shrinkage = ledoit_wolf_shrinkage(centred, weight)
        rows = jnp.sqrt(1 - shrinkage) * rows
        ridge = ridge + shrinkage * mean_variance
    # dim more rows, sqrt(ridge) I, add ridge I to what rows^T rows is.
    upper = jnp.linalg.qr(jnp.concatenate([rows, jnp.sqrt(ridge) * jnp.eye(dim, dtype=x.dtype)]), mode="r")
    # QR leaves the sign of each row open; a Cholesky factor has a positive diagonal.
    factor = (upper * jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0)[:, None]).T
    norm = jnp.linalg.norm(factor, axis=-1)
    return mean, factor, jnp.diagonal(factor) / jnp.where(norm > 0, norm, 1.0)


def ledoit_wolf_shrinkage(centred: Float[Array, "n dim"], weight: Float[Array, "n"]) -> Float[Array, ""]:
    """How far to shrink the covariance S towards the identity times its mean variance m; between 0 and 1.

    shrinkage = min(b^2, d^2) / d^2,   d^2 = |S - m I|^2,   b^2 = sum_k w_k^2 |x_k x_k^T - S|^2

    Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", lemmas 3.2 to 3.4;
    |.| is the Frobenius norm. b^2 estimates the variance of S = sum_k w_k x_k x_k^T; in the paper every w_k is 1/n.
    With unequal weights, rows are independent draws of which some count more, so that few heavy rows shrink as
    few rows do; only ratios between weights matter, and a weight of 2 is not the same as two equal rows.

    Args:
        centred: rows minus their weighted mean; those of weight 0 must be finite.
        weight: non-negative, of sum 1.
    """
    dim = centred.shape[-1]
    # The answer does not depend on the unit, but in an unlucky one the fourth powers overflow or vanish.
    largest = jnp.max(jnp.abs(centred))
    centred = centred / jnp.where(largest > 0, largest, 1.0)
    s = jnp.matmul((weight[:, None] * centred).T, centred, precision="highest")
    spread = jnp.sum((s - jnp.trace(s) / dim * jnp.eye(dim, dtype=s.dtype)) ** 2)
    squares = jnp.sum(centred * centred, axis=-1)
    along = jnp.sum(jnp.matmul(centred, s, precision="highest") * centred, axis=-1)
    noise = jnp.sum(weight**2 * (squares**2 - 2 * along + jnp.sum(s * s)))
    return jnp.where(spread > 0, jnp.clip(noise, 0, spread) / jnp.where(spread > 0, spread, 1.0), 0.0)


def centre(
    x: Float[Array, "n dim"], weight: Float[Array, "n"]
) -> tuple[Float[Array, "n dim"], Float[Array, "dim"], Float[Array, "n"]]:
    """The rows minus their weighted mean, zero where the weight is; the mean; and the weights divided by their sum."""
    weight = weight / jnp.sum(weight)
    # Measured from a row that counts, a constant column is exactly 0, and a large offset costs no digits.
    origin = x[jnp.argmax(weight)]
    # A row of weight 0 may hold anything, and 0 * inf would be NaN.
    x = jnp.where(weight[:, None] > 0, x - origin, 0.0)
    mean = jnp.matmul(weight, x, precision="highest")
    return x - mean, origin + mean, weight
