"""Student's t-distribution, which distrax lacks."""

import distrax
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float


class StudentTDistribution(distrax.Distribution):
    """Student's t-distribution with location 0 and scale 1.

    log p(x) = -(v + 1)/2 log(1 + x^2 / v) - 1/2 log(pi v) + log Gamma((v + 1)/2) - log Gamma(v/2)

    Args:
        degrees_of_freedom: v, positive; its shape is that of the batch.
    """

    def __init__(self, degrees_of_freedom: Float[Array, "*batch"]):
        super().__init__()
        self.degrees_of_freedom = degrees_of_freedom

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The distribution is of one number."""
        return ()

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the degrees of freedom."""
        return self.degrees_of_freedom.shape

    def log_prob(self, value: Float[Array, "*#shape"]) -> Float[Array, "*#shape"]:
        """Log-density in nats."""
        v = self.degrees_of_freedom
        return -0.5 * (v + 1) * jnp.log1p(value**2 / v) - 0.5 * jnp.log(jnp.pi * v) + _log_gamma_step(0.5 * v)

    def _sample_n(self, key: Array, n: int) -> Array:
        """`n` draws for each entry of the batch, differentiable in the degrees of freedom."""
        v = self.degrees_of_freedom
        return jax.random.t(key, v, (n, *v.shape), v.dtype)


def _log_gamma_step(b: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """log Gamma(b + 1/2) - log Gamma(b), to the last digits.

    The two logarithms grow like b log b and their difference like log b, so that in float32 nothing would be left of
    it where b is large. There it is Stirling's series; its first term left out is 4e-3 / b^11.
    """
    large = jnp.maximum(b, 10.0)
    series = jnp.polyval(jnp.asarray([-31 / 18432, 17 / 14336, -1 / 640, 1 / 192, -1 / 8], b.dtype), large**-2)
    return jnp.where(b < 10, gammaln(b + 0.5) - gammaln(b), 0.5 * jnp.log(large) + series / large)
