"""The planar layer."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.bijectors.bijector import Bijector
from jaxflow.bijectors.residual_parameters import ResidualParameters, damping
from jaxflow.bijectors.root import solve_increasing
from jaxflow.networks.mlp import for_each_context


class Planar(Bijector):
    """Move every point along one direction, by an amount that depends on its position along another.

    forward: x = z + u' tanh(w.z + b)        log_det: log(1 + w.u' (1 - tanh^2(w.z + b)))

    Rezende and Mohamed 2015, section 4.1. It is invertible where w.u' > -1. The paper's appendix A.1 adds a multiple
    of w to u; here u' is u made shorter where w.u is negative, which reaches the same maps, leaves zero at zero and
    never divides by |w|. The inverse finds a = w.z, the root of the increasing function a + w.u' tanh(a + b) = w.x.
    u is zero at first, so the layer is the identity, and w is random, so u has a gradient.

    >>> Planar(3, rngs=nnx.Rngs(0)).forward(jnp.ones((5, 3))).shape
    (5, 3)

    Args:
        dim: number of features.
        conditioner: a network with `num_parameters(dim)` outputs, called as `conditioner(context)`, which are added
            to (w, u, b); None for the same map in every row.
        context_dim: number of context features, 0 exactly when there is no conditioner.
        rngs: source of the initial w.

    Raises:
        ValueError: if one of `conditioner` and `context_dim` is given without the other.
    """

    def __init__(
        self, dim: int, *, conditioner: Callable[..., Array] | None = None, context_dim: int = 0, rngs: nnx.Rngs
    ):
        self.dim = dim
        w = jax.random.normal(rngs.params(), (dim,)) / jnp.sqrt(dim)
        start = jnp.concatenate([w, jnp.zeros(dim + 1)])
        self.parameters = ResidualParameters(start, conditioner, context_dim)

    @staticmethod
    def num_parameters(dim: int) -> int:
        """How many outputs a conditioner must have."""
        return 2 * dim + 1

    def forward_and_log_det(self, z, context=None):
        """Add what tanh makes of the position along w."""
        z = for_each_context(z, context)
        w, u, b, product = self._parts(context)
        h = jnp.tanh(jnp.sum(w * z, axis=-1) + b)
        return z + u * h[..., None], jnp.log1p(product * (1 - h**2))

    def inverse_and_log_det(self, x, context=None):
        """Find the position along w, and subtract."""
        x = for_each_context(x, context)
        w, u, b, product = self._parts(context)
        position = jnp.sum(w * x, axis=-1)
        # tanh is at most 1 in size; the 1 more leaves room for rounding.
        reach = jnp.abs(product) + 1
        position = solve_increasing(_shifted, position, (product, b), position - reach, position + reach)
        h = jnp.tanh(position + b)
        return x - u * h[..., None], -jnp.log1p(product * (1 - h**2))

    def _parts(self, context) -> tuple[Array, Array, Array, Float[Array, "*batch"]]:
        w, u, b = jnp.split(self.parameters(context), [self.dim, 2 * self.dim], axis=-1)
        product = jnp.sum(w * u, axis=-1)
        factor = damping(product)
        return w, u * factor[..., None], b[..., 0], product * factor


def _shifted(position, parameters):
    product, b = parameters
    h = jnp.tanh(position + b)
    return position + product * h, 1 + product * (1 - h**2)
