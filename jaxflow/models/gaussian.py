"""The multivariate normal density, estimated in closed form."""

import math
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field

from jaxflow.errors import InputError
from jaxflow.models.model import Density, DirectlyFitted, ModelSpec
from jaxflow.networks.buffer import Buffer

GaussianCovariance = Literal["full", "diagonal", "ledoit_wolf"]


class Gaussian(Density, DirectlyFitted):
    """A multivariate normal density N(mean, covariance).

    log p(x) = -1/2 |z|^2 - sum_j log L_jj - dim/2 log(2 pi),   L z = x - mean,   L L^T = covariance

    Before the fit it is the standard normal. The fit is by maximum likelihood, with mean and covariance
    averaged under the sample weights (divided by their sum, not by one less). The score, -log p(x), orders rows as
    their Mahalanobis distance does.

    Attributes:
        mean: `(dim,)`.
        factor: the lower Cholesky factor L, `(dim, dim)`; for `covariance="diagonal"` its diagonal, `(dim,)`.

    Args:
        dim: number of features.
        covariance: "full"; "diagonal", which takes the features as independent; or "ledoit_wolf", the full covariance
            shrunk towards a multiple of the identity as far as the data ask for it, for few rows or collinear columns.
        regularization: this fraction of the mean variance of the features is added to the diagonal of the covariance.
            It means the same to every feature only if all have about the same scale, so standardise first. 0 is
            plain maximum likelihood. The default moves a variance by a millionth, yet keeps constant and
            collinear columns away from a zero pivot by much more than float32 rounds.
    """

    def __init__(self, dim: int, covariance: GaussianCovariance = "full", regularization: float = 1e-6):
        self.dim = dim
        self.context_dim = 0
        self.covariance = covariance
        self.regularization = regularization
        self.mean = Buffer(jnp.zeros(dim))
        self.factor = Buffer(jnp.ones(dim) if covariance == "diagonal" else jnp.eye(dim))

    def log_prob(self, x, context=None):
        """Log-density in nats, `(*batch,)`; raises `InputError` if given a context, which it cannot use."""
        refuse_context(self, context)
        return gaussian_log_prob(x, self.mean[...], self.factor[...])

    def sample(self, key, sample_shape=(), context=None):
        """Draws of shape `sample_shape + (dim,)`; raises `InputError` if given a context."""
        refuse_context(self, context)
        mean, factor = self.mean[...], self.factor[...]
        return mean + times_factor(jax.random.normal(key, (*sample_shape, self.dim), mean.dtype), factor)

    def fit_directly(
        self,
        x: Float[Array, "n dim"],
        weight: Float[Array, "n"] | None = None,
        context: Float[Array, "n context_dim"] | None = None,
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, "iterations"]:
        """Estimate mean and covariance, in place.

        Args:
            x: training rows.
            weight: how much each row counts; only ratios between weights matter, and a row of weight 0 is ignored.
            context: must be None.
            key: unused.

        Returns:
            The training loss, `(1,)`: the mean negative log-density in nats.

        Raises:
            InputError: if there is a context, a row or weight cannot be used, or the covariance is singular. A failed
                fit leaves the model as it was.
        """
        refuse_context(self, context)
        weight = usable_weight(self, x, weight)
        mean, factor, pivots = estimate_gaussian(x, weight, self.regularization, covariance=self.covariance)
        pivots = np.asarray(pivots)
        if np.isnan(pivots).any():
            refuse_values_not_finite(x, weight)
        self._check_pivots(pivots)
        # Not an assignment to [...]: the fit has the precision of the data, which need not be the one of the start.
        self.mean.set_value(mean)
        self.factor.set_value(factor)
        kept = np.asarray(weight) > 0
        loss = -np.average(np.asarray(self.log_prob(x))[kept], weights=np.asarray(weight)[kept])
        return jnp.asarray([loss], x.dtype)

    def _check_pivots(self, pivots: np.ndarray) -> None:
        if np.isnan(pivots).any():
            raise InputError(
                f"the training rows hold values whose squares overflow {pivots.dtype}: standardise them first"
            )
        # Householder QR leaves an error of about this size where the exact pivot is zero.
        tolerance = 10 * self.dim * np.finfo(pivots.dtype).eps
        bad = np.flatnonzero(~(pivots > tolerance))
        if not bad.size:
            return
        if not pivots.any():
            raise InputError("the training rows are all the same, so a Gaussian has no covariance to estimate")
        linear = "" if self.covariance == "diagonal" else " or a linear combination of the features before it"
        remedy = ', or choose covariance "ledoit_wolf"' if self.covariance == "full" else ""
        raise InputError(
            f"feature {bad[0]} of the training rows is constant{linear}, so the covariance is singular: raise "
            f"regularization, which is {self.regularization:g} (1e-6 is usual){remedy}, or drop the feature"
        )


class GaussianSpec(ModelSpec):
    """Hyperparameters of `Gaussian`."""

    kind: Literal["gaussian"] = "gaussian"
    covariance: GaussianCovariance = Field(default="full", description="form of the covariance matrix")
    regularization: float = Field(
        default=1e-6, ge=0, le=1, description="fraction of the mean variance that is added to the diagonal; 0 = none"
    )

    context_dim: int = Field(
        default=0, ge=0, description="number of context features, on which the mean depends linearly; 0 for none"
    )

    def build(self, dim: int, *, rngs: nnx.Rngs) -> Density:
        """A standard normal density over `dim` features, ready to be fitted."""
        if not self.context_dim:
            return Gaussian(dim, self.covariance, self.regularization)
        from jaxflow.models.linear_gaussian import LinearGaussian  # it is made of a Gaussian, so it imports this module

        return LinearGaussian(dim, self.context_dim, self.covariance, self.regularization)


@jax.jit
def gaussian_log_prob(
    x: Float[Array, "*batch dim"], mean: Float[Array, "dim"], factor: Float[Array, "..."]
) -> Float[Array, "*batch"]:
    """Log-density of N(mean, L L^T) in nats.

    Args:
        x: rows.
        mean: mean.
        factor: L, lower triangular, `(dim, dim)`; or its diagonal, `(dim,)`, if it has nothing else.
    """
    dim = mean.shape[-1]
    if factor.ndim == 1:
        z = (x - mean) / factor
        scale = factor
    else:
        columns = (x - mean).reshape(-1, dim).T
        z = solve_triangular(factor, columns, lower=True).T.reshape(x.shape)
        scale = jnp.diagonal(factor)
    # So far out that the square would overflow, the score stays where it is and the gradient is 0, not NaN.
    limit = math.sqrt(float(jnp.finfo(z.dtype).max) / dim) / 2
    z = jnp.clip(z, -limit, limit)
    return -0.5 * jnp.sum(z * z, axis=-1) - jnp.sum(jnp.log(scale)) - 0.5 * dim * math.log(2 * math.pi)


def times_factor(z: Float[Array, "*batch dim"], factor: Float[Array, "..."]) -> Float[Array, "*batch dim"]:
    """L z for each row z: standard normal rows become rows of covariance L L^T."""
    return z * factor if factor.ndim == 1 else jnp.matmul(z, factor.T, precision="highest")


@partial(jax.jit, static_argnames="covariance")
def estimate_gaussian(
    x: Float[Array, "n dim"],
    weight: Float[Array, "n"],
    regularization: float | Float[Array, ""],
    *,
    covariance: GaussianCovariance,
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
    centred, mean, weight = _centre(x, weight)
    dim = x.shape[-1]
    variance = weight @ (centred * centred)
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


def refuse_context(model: Density, context: Array | None) -> None:
    """Raise `InputError` if an unconditional model is given a context."""
    if context is not None:
        raise InputError(
            f"{type(model).__name__} is unconditional, but a context of shape {context.shape} was given: leave it out"
        )


def usable_weight(model: Density, x: Float[Array, "n dim"], weight: Float[Array, "n"] | None) -> Float[Array, "n"]:
    """The weight of each training row, by default 1.

    Raises:
        InputError: if the number of features is wrong, a weight is negative or not finite, or no row counts.
    """
    if x.shape[-1] != model.dim:
        raise InputError(f"the training rows have {x.shape[-1]} features: expected {model.dim}")
    host = np.ones(x.shape[0]) if weight is None else np.asarray(weight)
    bad = np.flatnonzero(~(np.isfinite(host) & (host >= 0)))
    if bad.size:
        raise InputError(f"the weight of training row {bad[0]} is {host[bad[0]]}: expected a number of at least 0")
    if not host.any():
        raise InputError(f"none of {x.shape[0]} training rows has a positive weight: expected at least one")
    return jnp.asarray(host, x.dtype)


def refuse_values_not_finite(x: Float[Array, "n dim"], weight: Float[Array, "n"]) -> None:
    """Raise `InputError` if a row that counts holds a value that is not finite.

    It looks at every value on the host, so ask only after an estimate has come out as NaN.
    """
    host = np.asarray(x)
    bad = np.argwhere(~np.isfinite(host) & (np.asarray(weight)[:, None] > 0))
    if bad.size:
        row, feature = bad[0]
        raise InputError(f"feature {feature} of training row {row} is {host[row, feature]}: expected a finite number")


def _centre(
    x: Float[Array, "n dim"], weight: Float[Array, "n"]
) -> tuple[Float[Array, "n dim"], Float[Array, "dim"], Float[Array, "n"]]:
    weight = weight / jnp.sum(weight)
    # Measured from a row that counts, a constant column is exactly 0, and a large offset costs no digits.
    origin = x[jnp.argmax(weight)]
    # A row of weight 0 may hold anything, and 0 * inf would be NaN.
    x = jnp.where(weight[:, None] > 0, x - origin, 0.0)
    mean = jnp.matmul(weight, x, precision="highest")
    return x - mean, origin + mean, weight
