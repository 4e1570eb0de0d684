"""Many equal layers, compiled as one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxflow.bijectors.bijector import Bijector, Direction
from jaxflow.networks.mlp import for_each_context
from jaxflow.networks.stacking import stacked

# Below this depth a Python loop over the layers runs faster than a scan and still compiles quickly.
UNROLL_BELOW = 8


class Stack(Bijector):
    """Equal layers one after the other, their parameters stacked along a first axis.

    forward: x = layer[depth-1](... layer[1](layer[0](z)))        log_det: the sum of the layers' log-determinants

    It is a `Chain` of layers that differ in their numbers only. The program holds one layer and a loop, so the time to
    compile does not grow with the depth. The layers may hold permutations, masks and statistics of their own: buffers
    are stacked like parameters.

    >>> Stack(lambda rngs: ElementwiseAffine(2), 3, rngs=nnx.Rngs(0)).forward(jnp.ones(2))
    Array([1., 1.], dtype=float32)

    Args:
        make: builds one layer; called once, under vmap, so it may not look at what it draws from its `rngs`.
        depth: number of layers.
        unroll_below: with fewer layers than this the loop is unrolled.
        rngs: source of the layers' keys.

    Raises:
        ValueError: if `depth` is below 1.
    """

    def __init__(
        self, make: Callable[[nnx.Rngs], Bijector], depth: int, *, unroll_below: int = UNROLL_BELOW, rngs: nnx.Rngs
    ):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.layer: Any = stacked(make, depth, rngs.params())
        # What treats vectors and matrices differently, such as weight decay, must not count the axis of the layers.
        for variable in jax.tree.leaves(nnx.state(self.layer), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)):
            variable.set_metadata(stacked=variable.get_metadata().get("stacked", 0) + 1)
        self.depth = depth
        self.unroll = depth < unroll_below

    def forward_and_log_det(self, z, context=None):
        """Apply the layers from the first to the last."""
        return self._through(z, "forward_and_log_det", context)

    def inverse_and_log_det(self, x, context=None):
        """Undo the layers from the last to the first."""
        return self._through(x, "inverse_and_log_det", context)

    def initialize(self, values, context=None, weight=None, *, direction: Direction = "inverse"):
        """Initialise each layer with what the layers before it, in `direction`, make of the values."""
        graph, state = nnx.split(self.layer)

        def advance(values, state):
            layer = nnx.merge(graph, state)
            values = layer.initialize(values, context, weight, direction=direction)
            return values, nnx.state(layer)

        values, state = jax.lax.scan(advance, values, state, reverse=direction == "inverse")
        nnx.update(self.layer, state)
        return values

    def _through(self, values, method: str, context):
        graph, state = nnx.split(self.layer)

        def advance(carry, state):
            values, total = carry
            layer = nnx.merge(graph, state)
            values, log_det = getattr(layer, method)(values, context)
            return (values, total + log_det), nnx.state(layer, nnx.RngState) if dropping else None

        dropping = any(
            isinstance(module, nnx.Dropout) and not module.deterministic for _, module in nnx.iter_modules(self.layer)
        )
        values = for_each_context(values, context)
        carry = (values, jnp.zeros(values.shape[:-1], values.dtype))
        backwards = method == "inverse_and_log_det"
        (values, total), counts = jax.lax.scan(
            advance, carry, state, reverse=backwards, unroll=self.depth if self.unroll else 1
        )
        if dropping:  # or the next call would drop the same units again
            nnx.update(self.layer, counts)
        return values, total
