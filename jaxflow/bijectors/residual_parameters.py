"""Base of layers that add something to z: parameters that a context may shift, and the bound on their steepness."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.networks.mlp import check_context

# A layer may contract by a hundred at most in one direction; float32 keeps enough digits for the way back.
LOWEST_PRODUCT = -0.99


class ResidualParameters(nnx.Module):
    """The flat parameter vector of a layer, for each row: `values + conditioner(context)`.

    Without a conditioner all rows have the same parameters, and a context, which other layers of a chain may want, is
    ignored.

    Args:
        start: the initial values.
        conditioner: a network called as `conditioner(context)` that returns as many offsets. Its last layer must start
            at zero for the layer to start as `start` says.
        context_dim: number of context features; 0 exactly when there is no conditioner.

    Raises:
        ValueError: if one of `conditioner` and `context_dim` is given without the other.
    """

    def __init__(
        self, start: Float[Array, "count"], conditioner: Callable[..., Array] | None = None, context_dim: int = 0
    ):
        if (conditioner is not None) != (context_dim > 0):
            expected = "0 without a conditioner" if conditioner is None else "positive with a conditioner"
            raise ValueError(f"context_dim must be {expected}, got {context_dim}")
        self.values = nnx.Param(start)
        self.conditioner = conditioner
        self.context_dim = context_dim

    def __call__(self, context: Float[Array, "*batch context_dim"] | None) -> Float[Array, "*rows count"]:
        """The parameters: one vector, or one for each row of the context."""
        values = self.values[...]
        if self.conditioner is None:
            return values
        check_context(context, self.context_dim)
        assert context is not None
        offsets = self.conditioner(context.astype(values.dtype))
        if offsets.shape[-1] != values.size:
            raise ValueError(f"the layer takes {values.size} parameters, the conditioner gives {offsets.shape[-1]}")
        return values + offsets


def damping(product: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The factor, 1 for positive products and smooth, that keeps `product * factor` above `LOWEST_PRODUCT`."""
    return 1 / jnp.sqrt(1 + (jnp.minimum(product, 0.0) / LOWEST_PRODUCT) ** 2)
