"""The inverse of an increasing map that has no formula for it."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.bijectors.bijector import Bijector
from jaxflow.bijectors.root import solve_increasing
from jaxflow.networks.mlp import for_each_context

START = 8.0  # within which most latents lie, the bracket that is tried first


class NumericalInverse(Bijector):
    """Give a layer, which acts on each feature by itself and increases, the inverse that it has no formula for.

    forward: x = f(z), that of the layer        log_det: that of the layer
    inverse: the z at which f(z) = x, by Newton's method in a bracket that is halved where Newton leaves it

    The bracket is doubled until it holds the root, which is found to the last few digits of the float type.
    Derivatives of the inverse come from the implicit function theorem, dz = (dx - df) / f'(z), and never from the
    iteration. An x that f does not reach has the infinite log-determinant of a density of zero.

    A layer whose formula runs the other way is turned round first and after: `Inverse(NumericalInverse(...))`.

    >>> NumericalInverse(Exp()).inverse(jnp.array([1.0, 2.0])).round(3)
    Array([0.   , 0.693], dtype=float32)

    Args:
        layer: one whose `forward_and_log_det` acts on each feature by itself and increases; its inverse is not asked.
    """

    def __init__(self, layer: Bijector):
        self.layer = layer

    def forward_and_log_det(self, z, context=None):
        """Apply the layer."""
        return self.layer.forward_and_log_det(z, context)

    def inverse_and_log_det(self, x, context=None):
        """Solve for z."""
        x = for_each_context(x, context)
        graph, state = nnx.split(self.layer)

        def value_and_slope(z: Array, parameters: Any) -> tuple[Array, Array]:
            state, context = parameters
            return jax.jvp(lambda z: nnx.merge(graph, state).forward(z, context), (z,), (jnp.ones_like(z),))

        # A bracket has no derivatives, and loops none in reverse mode.
        wanted, *fixed = jax.lax.stop_gradient((x, state, context))
        low = _reaching(lambda z: value_and_slope(z, fixed)[0] <= wanted, -jnp.full_like(x, START))
        high = _reaching(lambda z: value_and_slope(z, fixed)[0] >= wanted, jnp.full_like(x, START))
        reached = (value_and_slope(low, fixed)[0] <= wanted) & (value_and_slope(high, fixed)[0] >= wanted)
        # The arithmetic of a row that is not reached runs on one that is.
        target = jnp.where(reached, x, value_and_slope(jnp.zeros_like(x), (state, context))[0])
        z = solve_increasing(value_and_slope, target, (state, context), low, high)
        log_det = -self.layer.forward_and_log_det(z, context)[1]
        return z, jnp.where(jnp.all(reached, axis=-1), log_det, -jnp.inf)


def _reaching(reached: Any, start: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Double a bound, each number by itself, until it is far enough out or nears the end of the float type."""
    end = float(jnp.finfo(start.dtype).max) / 4

    def unfinished(bound):
        return jnp.any(~reached(bound) & (jnp.abs(bound) < end))

    def advance(bound):
        return jnp.where(reached(bound) | (jnp.abs(bound) >= end), bound, 2 * bound)

    return jax.lax.while_loop(unfinished, advance, start)
