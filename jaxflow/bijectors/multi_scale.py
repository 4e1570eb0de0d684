"""Layers that let go of features on the way to the latents."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx

from jaxflow.bijectors.bijector import Bijector, Direction
from jaxflow.networks.mlp import for_each_context


class MultiScale(Bijector):
    """Blocks of layers, each on fewer features than the one before it (Dinh et al. 2017, section 3.6).

    inverse: h = x; for each block: h = block^-1(h), then all but the first `dims[k+1]` features of h are latents
    log_det: the sum of the blocks' log-determinants

    In high dimension most of the arithmetic then goes to the features that need it: half of them leave after the first
    block, half of the rest after the second, and so on. The latents lie in the order in which the forward needs them,
    those of the last block first. The first block is the one nearest to the data; it decides, by a permutation or a
    linear map of its own, which features are left for the others.

    >>> MultiScale([Scale(2.0), Scale(3.0)], [2, 1]).inverse(jnp.array([12.0, 2.0]))
    Array([2., 1.], dtype=float32)

    Args:
        blocks: layers, from the data to the latents; the k-th acts on `dims[k]` features.
        dims: number of features of each block, descending; the first is that of the data.

    Raises:
        ValueError: if there are no blocks, not as many blocks as numbers, or the numbers do not descend.
    """

    def __init__(self, blocks: Sequence[Bijector], dims: Sequence[int]):
        dims = tuple(dims)
        if not blocks or len(blocks) != len(dims):
            raise ValueError(
                f"expected at least one block and a number of features for each, got {len(blocks)}, {dims}"
            )
        if list(dims) != sorted(set(dims), reverse=True) or dims[-1] < 1:
            raise ValueError(f"dims must descend and stay positive, got {dims}")
        self.blocks = nnx.List(blocks)
        self.dims = dims

    def forward_and_log_det(self, z, context=None):
        """Take in latents, block after block."""
        z = for_each_context(z, context)
        total = jnp.zeros(z.shape[:-1], z.dtype)
        h = z[..., :0]
        for block, dim in zip(reversed(self.blocks), reversed(self.dims), strict=True):
            h, log_det = block.forward_and_log_det(self._joined(h, z, dim), context)
            total += log_det
        return h, total

    def inverse_and_log_det(self, x, context=None):
        """Let go of latents, block after block."""
        x = for_each_context(x, context)
        total = jnp.zeros(x.shape[:-1], x.dtype)
        h, done = x, []
        for block, left in zip(self.blocks, (*self.dims[1:], 0), strict=True):
            h, log_det = block.inverse_and_log_det(h, context)
            total += log_det
            done.append(h[..., left:])
            h = h[..., :left]
        return jnp.concatenate(done[::-1], axis=-1), total

    def initialize(self, values, context=None, weight=None, *, direction: Direction = "inverse"):
        """Initialise each block with what the blocks before it, in `direction`, leave for it."""
        if direction == "forward":
            h = values[..., :0]
            for block, dim in zip(reversed(self.blocks), reversed(self.dims), strict=True):
                h = block.initialize(self._joined(h, values, dim), context, weight, direction=direction)
            return h
        h, done = values, []
        for block, left in zip(self.blocks, (*self.dims[1:], 0), strict=True):
            h = block.initialize(h, context, weight, direction=direction)
            done.append(h[..., left:])
            h = h[..., :left]
        return jnp.concatenate(done[::-1], axis=-1)

    @staticmethod
    def _joined(h, latents, dim: int):
        """Return the input of a block: the features of the block before it, and the latents that come next."""
        return jnp.concatenate([h, latents[..., h.shape[-1] : dim]], axis=-1)
