"""Reordering of the features."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import ArrayLike, Int

from jaxflow.bijectors.bijector import Bijector
from jaxflow.networks.buffer import Buffer


class Permutation(Bijector):
    """Reorder the features.

    forward: x[i] = z[order[i]]        log_det: 0

    Between two autoregressive layers it changes which feature is conditioned on which, so that a stack is not
    tied to one factorisation of the joint (Papamakarios et al. 2017, section 3.1).

    Raises:
        ValueError: if `order` is not a permutation of 0..dim-1. A traced order (inside jit or vmap) cannot be looked
            at and is taken on trust.
    """

    def __init__(self, order: Int[ArrayLike, "dim"]):
        if not isinstance(order, jax.core.Tracer):
            given = np.asarray(order)
            if sorted(given.tolist()) != list(range(given.size)):
                raise ValueError(f"order must be a permutation of 0..{given.size - 1}, got {given.tolist()}")
        self.order = Buffer(jnp.asarray(order))
        self.inverse_order = Buffer(jnp.argsort(self.order[...]))

    @classmethod
    def reverse(cls, dim: int) -> "Permutation":
        """The features from the last to the first."""
        return cls(jnp.arange(dim - 1, -1, -1))

    @classmethod
    def random(cls, dim: int, *, rngs: nnx.Rngs) -> "Permutation":
        """The features in an order drawn uniformly."""
        return cls(jax.random.permutation(rngs.params(), dim))

    def forward_and_log_det(self, z, context=None):
        """Reorder."""
        return z[..., self.order[...]], jnp.zeros(z.shape[:-1], z.dtype)

    def inverse_and_log_det(self, x, context=None):
        """Put back."""
        return x[..., self.inverse_order[...]], jnp.zeros(x.shape[:-1], x.dtype)
