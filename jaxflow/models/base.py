"""Base distributions: what a flow maps to the data.

A base is a module that holds its parameters and builds the distrax distribution from them on the fly. A distribution
stored in a module would hide its parameters from the optimiser.
"""

from abc import abstractmethod

import distrax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Base(nnx.Module):
    """A distribution over latents of `dim` features."""

    dim: int

    @abstractmethod
    def distribution(self, context: Float[Array, "*batch context_dim"] | None = None) -> distrax.Distribution:
        """The distrax distribution, with one event dimension of size `dim`."""


class StandardNormal(Base):
    """Independent standard normals, N(0, I).

    Args:
        dim: number of features.
    """

    def __init__(self, dim: int):
        self.dim = dim

    def distribution(self, context=None):
        """N(0, I), whatever the context."""
        dtype = jnp.result_type(float)
        normal = distrax.Normal(jnp.zeros(self.dim, dtype), jnp.ones(self.dim, dtype))
        return distrax.Independent(normal, reinterpreted_batch_ndims=1)
