"""Layers side by side, each on features of its own."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx

from jaxflow.bijectors.bijector import Bijector, Direction
from jaxflow.networks.mlp import for_each_context


class Concatenate(Bijector):
    """Layers side by side: the first acts on the first features, the second on those that follow, and so on.

    forward: x = (f_1(z[:d_1]), f_2(z[d_1 : d_1 + d_2]), ...)        log_det: the sum of the layers' log-determinants

    So a flow can have a range of its own for each feature, as (0, 1) for shares and the positive numbers for amounts.
    A context is given to every layer.

    >>> Concatenate([Exp(), Identity()], [1, 2]).forward(jnp.zeros(3))
    Array([1., 0., 0.], dtype=float32)

    Args:
        layers: one for each part.
        dims: number of features of each part.

    Raises:
        ValueError: if there are no layers, not as many layers as numbers, or a number is below 1.
    """

    def __init__(self, layers: Sequence[Bijector], dims: Sequence[int]):
        dims = tuple(dims)
        if not layers or len(layers) != len(dims):
            raise ValueError(f"expected one layer at least and its number of features, got {len(layers)}, {dims}")
        if min(dims) < 1:
            raise ValueError(f"dims must be positive, got {dims}")
        self.layers = nnx.List(layers)
        self.dims = dims

    def forward_and_log_det(self, z, context=None):
        """Apply each layer to its part."""
        return self._side_by_side("forward_and_log_det", z, context)

    def inverse_and_log_det(self, x, context=None):
        """Undo each layer on its part."""
        return self._side_by_side("inverse_and_log_det", x, context)

    def initialize(self, values, context=None, weight=None, *, direction: Direction = "inverse"):
        """Initialise each layer with its part of the values."""
        parts = zip(self.layers, self._parts(values), strict=True)
        mapped = [layer.initialize(part, context, weight, direction=direction) for layer, part in parts]
        return jnp.concatenate(mapped, axis=-1)

    def _side_by_side(self, method: str, values, context):
        values = for_each_context(values, context)
        parts = zip(self.layers, self._parts(values), strict=True)
        mapped, log_dets = zip(*[getattr(layer, method)(part, context) for layer, part in parts], strict=True)
        return jnp.concatenate(mapped, axis=-1), sum(log_dets[1:], start=log_dets[0])

    def _parts(self, values):
        ends = [sum(self.dims[: count + 1]) for count in range(len(self.dims))]
        if values.shape[-1] != ends[-1]:
            raise ValueError(f"expected {ends[-1]} features for parts of {self.dims}, got {values.shape[-1]}")
        return jnp.split(values, ends[:-1], axis=-1)
