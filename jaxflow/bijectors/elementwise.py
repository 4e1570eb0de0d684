"""Maps that act on each feature by itself, with the same formula for every row."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.bijectors.bijector import Bijector
from jaxflow.networks.planned import Planned, PlannedArray


class ElementwiseAffine(Bijector):
    """Scale and shift every feature by trained constants.

    forward: x = z * exp(log_scale) + shift        log_det: sum(log_scale)

    Args:
        dim: number of features.
    """

    def __init__(self, dim: int):
        self.shift = nnx.Param(jnp.zeros(dim))
        self.log_scale = nnx.Param(jnp.zeros(dim))

    @staticmethod
    def planned(dim: int) -> Planned:
        """The arrays of a layer of so many features."""
        for vector in ("shift", "log_scale"):
            yield PlannedArray(vector, (dim,))

    def forward_and_log_det(self, z, context=None):
        """Scale, then shift."""
        x = z * jnp.exp(self.log_scale[...]) + self.shift[...]
        return x, jnp.broadcast_to(jnp.sum(self.log_scale[...]), z.shape[:-1])

    def inverse_and_log_det(self, x, context=None):
        """Undo the shift, then the scale."""
        z = (x - self.shift[...]) * jnp.exp(-self.log_scale[...])
        return z, jnp.broadcast_to(-jnp.sum(self.log_scale[...]), x.shape[:-1])


class Sigmoid(Bijector):
    """Map every feature from the real line into (0, 1).

    forward: x = 1 / (1 + exp(-z))        log_det: sum(log sigmoid(z) + log sigmoid(-z))

    The inverse exists for 0 < x < 1; elsewhere its log-determinant is -inf.
    """

    def forward_and_log_det(self, z, context=None):
        """The logistic function."""
        return _squash(z)

    def inverse_and_log_det(self, x, context=None):
        """log x - log(1 - x)."""
        z, log_det, inside = _unsquash(x)
        return z, jnp.where(inside, log_det, -jnp.inf)


class Logit(Bijector):
    """Map every feature from (0, 1) onto the real line: `Sigmoid` the other way round.

    forward: x = log z - log(1 - z)        log_det: -sum(log z + log(1 - z))

    For latents that live in the unit cube. Outside it the forward log-determinant is +inf.
    """

    def forward_and_log_det(self, z, context=None):
        """log z - log(1 - z)."""
        x, log_det, inside = _unsquash(z)
        return x, jnp.where(inside, log_det, jnp.inf)

    def inverse_and_log_det(self, x, context=None):
        """The logistic function."""
        return _squash(x)


class Softplus(Bijector):
    """Map every feature from the real line onto (0, inf).

    forward: x = log(1 + exp(z))        log_det: sum(log sigmoid(z))

    The inverse exists for x > 0; elsewhere its log-determinant is -inf.
    """

    def forward_and_log_det(self, z, context=None):
        """log(1 + exp(z))."""
        return jax.nn.softplus(z), jnp.sum(jax.nn.log_sigmoid(z), axis=-1)

    def inverse_and_log_det(self, x, context=None):
        """x + log(1 - exp(-x))."""
        positive = x > 0
        safe = jnp.where(positive, x, 1.0)
        log_ratio = jnp.log(-jnp.expm1(-safe))
        return safe + log_ratio, jnp.where(jnp.all(positive, axis=-1), -jnp.sum(log_ratio, axis=-1), -jnp.inf)


def _squash(z: Float[Array, "*batch dim"]) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch"]]:
    return jax.nn.sigmoid(z), jnp.sum(jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z), axis=-1)


def _unsquash(x: Float[Array, "*batch dim"]):
    # Outside the unit interval the arithmetic runs on 1/2 instead: selecting afterwards would leave NaN gradients.
    inside = (x > 0) & (x < 1)
    safe = jnp.where(inside, x, 0.5)
    log_x, log_rest = jnp.log(safe), jnp.log1p(-safe)
    return log_x - log_rest, -jnp.sum(log_x + log_rest, axis=-1), jnp.all(inside, axis=-1)
