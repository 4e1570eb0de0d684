"""Scalar maps whose parameters come from a conditioner."""

from abc import abstractmethod

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Transformer(nnx.Module):
    """A monotone scalar map with `num_parameters` parameters, applied to each feature by itself.

    Zero parameters mean the identity. The log-derivative returned is per feature: the layer that uses the transformer
    sums it.
    """

    num_parameters: int

    @abstractmethod
    def forward_and_log_det(
        self, z: Float[Array, "*shape"], parameters: Float[Array, "*shape num_parameters"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """x = f(z; parameters) and log dx/dz, elementwise."""

    @abstractmethod
    def inverse_and_log_det(
        self, x: Float[Array, "*shape"], parameters: Float[Array, "*shape num_parameters"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """z = f^-1(x; parameters) and log dz/dx, elementwise."""


class Affine(Transformer):
    """Shift and positive scale.

    forward: x = z * exp(s) + t        log_det: s,        (t, r) = parameters,  s = r / (1 + |r| / max_log_scale)

    The log-scale is clamped softly: s has slope 1 in r at zero and stays below `max_log_scale` in size, so that no
    parameter the conditioner may return overflows and the gradient never vanishes entirely.

    Args:
        max_log_scale: bound on |s|.
    """

    def __init__(self, max_log_scale: float = 5.0):
        if max_log_scale <= 0:
            raise ValueError(f"max_log_scale must be positive, got {max_log_scale}")
        self.num_parameters = 2
        self.max_log_scale = max_log_scale

    def forward_and_log_det(self, z, parameters):
        """Scale, then shift."""
        shift, log_scale = self._shift_and_log_scale(parameters)
        return z * jnp.exp(log_scale) + shift, log_scale

    def inverse_and_log_det(self, x, parameters):
        """Undo the shift, then the scale."""
        shift, log_scale = self._shift_and_log_scale(parameters)
        return (x - shift) * jnp.exp(-log_scale), -log_scale

    def _shift_and_log_scale(self, parameters):
        raw = parameters[..., 1]
        return parameters[..., 0], raw / (1 + jnp.abs(raw) / self.max_log_scale)
