"""The radial layer."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.bijectors.bijector import Bijector
from jaxflow.bijectors.residual_parameters import ResidualParameters, damping
from jaxflow.networks.mlp import for_each_context

MOST_LOG_RADIUS = 5.0


class Radial(Bijector):
    """Draw the points around a centre together, or push them apart.

    forward: x = z + beta / (alpha + r) (z - centre),  r = |z - centre|
    log_det: (dim - 1) log(1 + beta / (alpha + r)) + log(1 + alpha beta / (alpha + r)^2)

    Rezende and Mohamed 2015, equation 14 and appendix A.2. It is invertible where beta >= -alpha, so the parameter is
    the ratio beta / alpha, bounded softly at -0.99, and alpha is the exponential of a softly clamped number. The
    distance r that belongs to R = |x - centre| is the positive root of r^2 + r (alpha + beta - R) = alpha R. beta is
    zero at first, so the layer is the identity, and the centre is random, so that layers differ.

    >>> Radial(3, rngs=nnx.Rngs(0)).forward(jnp.ones((5, 3))).shape
    (5, 3)

    Args:
        dim: number of features.
        conditioner: a network with `num_parameters(dim)` outputs, called as `conditioner(context)`, which are added
            to (centre, log alpha, beta / alpha) before the bounds; None for the same map in every row.
        context_dim: number of context features, 0 exactly when there is no conditioner.
        rngs: source of the initial centre.

    Raises:
        ValueError: if one of `conditioner` and `context_dim` is given without the other.
    """

    def __init__(
        self, dim: int, *, conditioner: Callable[..., Array] | None = None, context_dim: int = 0, rngs: nnx.Rngs
    ):
        self.dim = dim
        start = jnp.concatenate([jax.random.normal(rngs.params(), (dim,)), jnp.zeros(2)])
        self.parameters = ResidualParameters(start, conditioner, context_dim)

    @staticmethod
    def num_parameters(dim: int) -> int:
        """How many outputs a conditioner must have."""
        return dim + 2

    def forward_and_log_det(self, z, context=None):
        """Stretch the way from the centre."""
        z = for_each_context(z, context)
        centre, alpha, ratio = self._parts(context)
        nearness = 1 / (1 + _length(z - centre) / alpha)
        return z + (ratio * nearness)[..., None] * (z - centre), self._log_det(ratio, nearness)

    def inverse_and_log_det(self, x, context=None):
        """Solve the quadratic equation for the distance from the centre, and shrink."""
        x = for_each_context(x, context)
        centre, alpha, ratio = self._parts(context)
        nearness = 1 / (1 + _distance(_length(x - centre) / alpha, ratio))
        stretch = ratio * nearness
        return x - (stretch / (1 + stretch))[..., None] * (x - centre), -self._log_det(ratio, nearness)

    def _log_det(self, ratio: Float[Array, "*#batch"], nearness: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return (self.dim - 1) * jnp.log1p(ratio * nearness) + jnp.log1p(ratio * nearness**2)

    def _parts(self, context) -> tuple[Array, Array, Array]:
        parameters = self.parameters(context)
        raw, ratio = parameters[..., -2], parameters[..., -1]
        alpha = jnp.exp(raw / (1 + jnp.abs(raw) / MOST_LOG_RADIUS))
        return parameters[..., :-2], alpha, ratio * damping(ratio)


def _length(vectors: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
    squared = jnp.sum(vectors**2, axis=-1)
    # The square root has no derivative at zero; every formula here is stationary there.
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)


def _distance(outer: Float[Array, "*batch"], ratio: Float[Array, "*#batch"]) -> Float[Array, "*batch"]:
    """r / alpha for R / alpha = `outer`: of the two forms of the root, the one that subtracts nothing."""
    excess = outer - (1 + ratio)
    total = jnp.abs(excess) + jnp.sqrt(excess**2 + 4 * outer)
    return jnp.where(excess >= 0, total / 2, 2 * outer / total)
