"""Reordering of the features."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import ArrayLike, Int

from jaxflow.bijectors.bijector import Bijector
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.planned import Planned, PlannedArray


class Permutation(Bijector):
    """Reorder the features.

    forward: x[i] = z[order[i]]        log_det: 0

    Between two autoregressive layers it changes which feature is conditioned on which, so that a stack is not
    tied to one factorisation of the joint (Papamakarios et al. 2017, section 3.1).

    >>> Permutation(jnp.array([2, 0, 1])).forward(jnp.array([10.0, 20.0, 30.0]))
    Array([30., 10., 20.], dtype=float32)

    Raises:
        ValueError: if `order` is not a permutation of 0..dim-1. A traced order (inside jit or vmap) cannot be looked
            at and is taken on trust.
    """

    def __init__(self, order: Int[ArrayLike, "dim"]):
        if not isinstance(order, Tracer):
            given = np.asarray(order)
            if sorted(given.tolist()) != list(range(given.size)):
                raise ValueError(f"order must be a permutation of 0..{given.size - 1}, got {given.tolist()}")
        self.order = Buffer(jnp.asarray(order))
        self.inverse_order = Buffer(jnp.argsort(self.order[...]))

    @staticmethod
    def planned(dim: int) -> Planned:
        """The arrays of an order of so many features."""
        for order in ("order", "inverse_order"):
            yield PlannedArray(order, (dim,), "int")

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


class Reverse(Bijector):
    """The features from the last to the first.

    forward: x[i] = z[dim - 1 - i]        log_det: 0

    What the original masked autoregressive flow does between two layers (Papamakarios et al. 2017, section 3.1). The
    order being known when the program is compiled, it costs nothing, while a `Permutation` gathers.

    >>> Reverse().forward(jnp.array([10.0, 20.0, 30.0]))
    Array([30., 20., 10.], dtype=float32)
    """

    def forward_and_log_det(self, z, context=None):
        """Reverse."""
        return z[..., ::-1], jnp.zeros(z.shape[:-1], z.dtype)

    def inverse_and_log_det(self, x, context=None):
        """Reverse back."""
        return x[..., ::-1], jnp.zeros(x.shape[:-1], x.dtype)
