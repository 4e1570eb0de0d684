"""The normal density whose mean is a linear function of a context."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxflow.models.classical.gaussian import Gaussian, GaussianCovariance, refuse_values_not_finite, usable_weight
from jaxflow.models.model import Density, DirectlyFitted
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.planned import Planned, PlannedArray, within


class LinearGaussian(Density, DirectlyFitted):
    """N(slopes^T c + intercept, covariance): what a linear regression on the context leaves over is normal.

    log p(x | c) = log N(x - slopes^T c - intercept; 0, covariance)

    The conditional of a joint normal density (Bishop 2006, equations 2.81 and 2.82), fitted as such: slopes and
    intercept by weighted least squares, which is maximum likelihood, and the covariance from what is left over.

    >>> LinearGaussian(2, 1).log_prob(jnp.zeros((5, 2)), jnp.ones((5, 1))).shape
    (5,)

    Args:
        dim: number of features.
        context_dim: number of context features.
        covariance, regularization, support_fraction: of what is left over, as in `Gaussian`.

    Attributes:
        slopes: `(context_dim, dim)`.
        residual: the density of what is left over; its mean is the intercept.
    """

    def __init__(
        self,
        dim: int,
        context_dim: int,
        covariance: GaussianCovariance = "full",
        regularization: float = 1e-6,
        support_fraction: float | None = None,
    ):
        self.dim = dim
        self.context_dim = context_dim
        self.slopes = Buffer(jnp.zeros((context_dim, dim)))
        self.residual = Gaussian(dim, covariance, regularization, support_fraction)

    @staticmethod
    def planned(dim: int, context_dim: int, covariance: GaussianCovariance) -> Planned:
        """The arrays of a density of these sizes."""
        yield PlannedArray("slopes", (context_dim, dim))
        yield from within("residual", Gaussian.planned(dim, covariance))

    def log_prob(self, x, context=None):
        """Log-density in nats; raises `InputError` if the context is missing or of another width."""
        return self.residual.log_prob(self.without_context(*self.aligned(x, context)))

    def without_context(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None
    ) -> Float[Array, "*batch dim"]:
        """Return the residuals of the regression on the context; raises `InputError` as `log_prob` does."""
        x, context = self.aligned(x, context)
        return x - self._shift(context)

    @property
    def term_methods(self):
        """Exact conditional densities by default."""
        return ("conditional", "replacement")

    def as_conditional(self, x, context=None):
        """The density of the residuals, and the residuals."""
        return self.residual, self.without_context(x, context)

    def sample(self, key, sample_shape=(), context=None):
        """Draws of shape `sample_shape + context.shape[:-1] + (dim,)`."""
        sample_shape, context = self.asked(sample_shape, context)
        shift = self._shift(context)
        return shift + self.residual.sample(key, (*sample_shape, *shift.shape[:-1]))

    def as_normals(self):
        """The density itself, as one term whose mean has slopes on the context."""
        return replace(self.residual.as_normals(), slopes=np.asarray(self.slopes[...], np.float64))

    def fit_directly(self, x, weight=None, context=None, *, key):
        """Estimate slopes, intercept and covariance, in place, as `DirectlyFitted.fit_directly` says.

        Raises:
            InputError: besides, as `Gaussian.fit_directly` does.
        """
        x, context = self.aligned(x, context)
        assert context is not None
        weight = usable_weight(x, weight)
        slopes = _slopes(x, weight, context)
        if not np.isfinite(np.asarray(slopes)).all():
            refuse_values_not_finite(x, weight)
            refuse_values_not_finite(context, weight)
        loss = self.residual.fit_directly(x - jnp.matmul(context, slopes, precision="highest"), weight, key=key)
        self.slopes.set_value(slopes)
        return loss

    def _shift(self, context: Any) -> Float[Array, "*batch dim"]:
        return jnp.matmul(context, self.slopes[...], precision="highest")


@jax.jit
def _slopes(
    x: Float[Array, "n dim"], weight: Float[Array, "n"], context: Float[Array, "n context_dim"]
) -> Float[Array, "context_dim dim"]:
    """Weighted least squares of centred rows on centred contexts; the smallest slopes where several do as well."""
    counted, share = (weight > 0)[:, None], (weight / jnp.sum(weight))[:, None]
    x, context = jnp.where(counted, x, 0.0), jnp.where(counted, context, 0.0)
    root = jnp.sqrt(share)
    centred = root * (context - jnp.sum(share * context, axis=0))
    return jnp.linalg.lstsq(centred, root * (x - jnp.sum(share * x, axis=0)))[0]
