"""Layers for code that speaks distrax."""

from typing import Any

import distrax
import jax.numpy as jnp
from jaxtyping import Array

from jaxflow.bijectors.bijector import Bijector


class AsDistrax(distrax.Bijector):
    """A bijector of this package as one of distrax, its context fixed.

    Args:
        bijector: the layer.
        context: one row of context, or one for each row that it is called with; None for none.
    """

    def __init__(self, bijector: Bijector, context: Array | None):
        super().__init__(event_ndims_in=1)
        self._bijector = bijector
        self._context = context

    def forward_and_log_det(self, x: Any):
        """Map latent to data."""
        return self._bijector.forward_and_log_det(x, self._fitting(x))

    def inverse_and_log_det(self, y: Any):
        """Map data to latent."""
        return self._bijector.inverse_and_log_det(y, self._fitting(y))

    def _fitting(self, values: Array) -> Array | None:
        """The context, repeated for the leading axes of `values`."""
        if self._context is None:
            return None
        return jnp.broadcast_to(self._context, (*values.shape[:-1], self._context.shape[-1]))
