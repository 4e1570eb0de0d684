"""The multivariate normal density, estimated in closed form."""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from jaxflow.errors import InputError
from jaxflow.models.classical.covariance import estimate_gaussian
from jaxflow.models.classical.minimum_covariance_determinant import robust_weight
from jaxflow.models.model import Density, DirectlyFitted
from jaxflow.models.normals import Normals
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.planned import Planned, PlannedArray

GaussianCovariance = Literal["full", "diagonal", "ledoit_wolf", "robust"]
SUPPORT_FRACTION = 0.75


class Gaussian(Density, DirectlyFitted):
    """A multivariate normal density N(mean, covariance).

    log p(x) = -1/2 |z|^2 - sum_j log L_jj - dim/2 log(2 pi),   L z = x - mean,   L L^T = covariance

    Before the fit it is the standard normal. The fit is by maximum likelihood, with mean and covariance
    averaged under the sample weights (divided by their sum, not by one less); for `covariance="robust"` it is that of
    the rows near the minimum covariance determinant estimate, see `minimum_covariance_determinant.robust_weight`. The
    score, -log p(x), orders rows as their Mahalanobis distance does.

    >>> model = Gaussian(1)
    >>> losses = model.fit_directly(jnp.array([[1.0], [3.0]]), key=jax.random.key(0))
    >>> model.log_prob(jnp.array([2.0])).round(3)
    Array(-0.919, dtype=float32)

    Attributes:
        mean: `(dim,)`.
        factor: the lower Cholesky factor L, `(dim, dim)`; for `covariance="diagonal"` its diagonal, `(dim,)`.

    Args:
        dim: number of features.
        covariance: "full"; "diagonal", which takes the features as independent; "ledoit_wolf", the full covariance
            shrunk towards a multiple of the identity as far as the data ask for it, for few rows or collinear columns;
            or "robust", the full covariance of training data of which up to a quarter, or as `support_fraction` says,
            may be anything.
        regularization: this fraction of the mean variance of the features is added to the diagonal of the covariance.
            It means the same to every feature only if all have about the same scale, so standardise first. 0 is
            plain maximum likelihood. The default moves a variance by a millionth, yet keeps constant and
            collinear columns away from a zero pivot by much more than float32 rounds.
        support_fraction: for "robust", the share of the rows that its subset consists of, from 0.5 to 1; None for 0.75,
            which with fewer than a quarter of outliers is more precise than 0.5 (Croux and Haesbroeck 1999).
    """

    def __init__(
        self,
        dim: int,
        covariance: GaussianCovariance = "full",
        regularization: float = 1e-6,
        support_fraction: float | None = None,
    ):
        self.dim = dim
        self.context_dim = 0
        self.covariance = covariance
        self.regularization = regularization
        self.support_fraction = support_fraction
        self.mean = Buffer(jnp.zeros(dim))
        self.factor = Buffer(jnp.ones(dim) if covariance == "diagonal" else jnp.eye(dim))

    @staticmethod
    def planned(dim: int, covariance: GaussianCovariance) -> Planned:
        """The arrays of a density of so many features."""
        yield PlannedArray("mean", (dim,))
        yield PlannedArray("factor", (dim,) if covariance == "diagonal" else (dim, dim))

    def log_prob(self, x, context=None):
        """Log-density in nats, `(*batch,)`; raises `InputError` if given a context, which it cannot use."""
        x, _ = self.aligned(x, context)
        return gaussian_log_prob(x, self.mean[...], self.factor[...])

    @property
    def term_methods(self):
        """Exact conditional densities by default."""
        return ("conditional", "replacement")

    def sample(self, key, sample_shape=(), context=None):
        """Draws of shape `sample_shape + (dim,)`; raises `InputError` if given a context."""
        sample_shape, _ = self.asked(sample_shape, context)
        mean, factor = self.mean[...], self.factor[...]
        return mean + times_factor(jax.random.normal(key, (*sample_shape, self.dim), mean.dtype), factor)

    def as_normals(self):
        """The density itself, as one term."""
        mean, factor = (np.asarray(array[...], np.float64) for array in (self.mean, self.factor))
        return Normals(np.zeros(1), mean[None], factor[None])

    def fit_directly(self, x, weight=None, context=None, *, key):
        """Estimate mean and covariance, in place, as `DirectlyFitted.fit_directly` says.

        The key draws the starts of a robust fit. The loss has one entry, of a robust fit over the rows that it kept.

        Raises:
            InputError: besides, if the covariance is singular, or a robust one has too few rows or finds most of them
                in a plane.
        """
        x, _ = self.aligned(x, context)
        weight = usable_weight(x, weight)
        form = "full" if self.covariance == "robust" else self.covariance
        mean, factor, pivots = estimate_gaussian(x, weight, self.regularization, covariance=form)
        pivots = np.asarray(pivots)
        if np.isnan(pivots).any():
            refuse_values_not_finite(x, weight)
        self._check_pivots(pivots)
        if self.covariance == "robust":
            mean, factor, weight = self._robust_estimate(key, x, weight)
        # Not an assignment to [...]: the fit has the precision of the data, which need not be the one of the start.
        self.mean.set_value(mean)
        self.factor.set_value(factor)
        kept = np.asarray(weight) > 0
        loss = -np.average(np.asarray(self.log_prob(x))[kept], weights=np.asarray(weight)[kept])
        return jnp.asarray([loss], x.dtype)

    def _robust_estimate(
        self, key: PRNGKeyArray, x: Float[Array, "n dim"], weight: Float[Array, "n"]
    ) -> tuple[Float[Array, "dim"], Float[Array, "dim dim"], Float[Array, "n"]]:
        """Mean and factor, and the weights of the rows they are of."""
        rows = int(np.count_nonzero(np.asarray(weight)))
        if rows <= self.dim:
            raise InputError(
                f"a robust covariance of {self.dim} features was asked for, and there are {rows} training rows: "
                'expected more rows than features, or covariance "ledoit_wolf"'
            )
        fraction = SUPPORT_FRACTION if self.support_fraction is None else self.support_fraction
        kept, factor_of_all = robust_weight(key, x, weight, self.regularization, rows=rows, support_fraction=fraction)
        self._refuse_a_plane(x, weight, kept)
        mean, factor, _ = estimate_gaussian(x, kept, self.regularization, covariance="full")
        return mean, factor * math.sqrt(factor_of_all), kept

    def _refuse_a_plane(self, x: Float[Array, "n dim"], weight: Float[Array, "n"], kept: Float[Array, "n"]) -> None:
        """Rows that lie in a plane have the least determinant of all, and any other row is infinitely far from it."""
        flat = [
            np.asarray(estimate_gaussian(x, some, 0.0, covariance="full")[2]) <= self._tolerance(x.dtype)
            for some in (kept, weight)
        ]
        bad = np.flatnonzero(flat[0] & ~flat[1])
        if bad.size:
            share = float(jnp.sum(kept) / jnp.sum(weight))
            raise InputError(
                f"feature {bad[0]} is constant, or a linear combination of the features before it, in {share:.0%} of "
                'the training rows, to which a robust covariance would shrink: choose covariance "full" or '
                '"ledoit_wolf", or drop the feature'
            )

    def _tolerance(self, dtype: Any) -> float:
        """Householder QR leaves a pivot of about this size where the exact one is zero."""
        return 10 * self.dim * float(jnp.finfo(dtype).eps)

    def _check_pivots(self, pivots: np.ndarray) -> None:
        if np.isnan(pivots).any():
            raise InputError(
                f"the training rows hold values whose squares overflow {pivots.dtype}: standardise them first"
            )
        bad = np.flatnonzero(~(pivots > self._tolerance(pivots.dtype)))
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
    return whitened_log_prob(z, scale)


def whitened_log_prob(z: Float[Array, "*batch dim"], scale: Float[Array, "dim"]) -> Float[Array, "*batch"]:
    """Log-density of N(mean, L L^T) in nats at mean + L z, where `scale` is the diagonal of L."""
    dim = z.shape[-1]
    # So far out that the square would overflow, the score stays where it is and the gradient is 0, not NaN.
    limit = math.sqrt(float(jnp.finfo(z.dtype).max) / dim) / 2
    z = jnp.clip(z, -limit, limit)
    return -0.5 * jnp.sum(z * z, axis=-1) - jnp.sum(jnp.log(scale)) - 0.5 * dim * math.log(2 * math.pi)


def times_factor(z: Float[Array, "*batch dim"], factor: Float[Array, "..."]) -> Float[Array, "*batch dim"]:
    """L z for each row z: standard normal rows become rows of covariance L L^T."""
    return z * factor if factor.ndim == 1 else jnp.matmul(z, factor.T, precision="highest")


def usable_weight(x: Float[Array, "n dim"], weight: Float[Array, "n"] | None) -> Float[Array, "n"]:
    """The weight of each training row, by default 1.

    Raises:
        InputError: if a weight is negative or not finite, or no row counts.
    """
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
