"""Layers that only the properties need: one with a kink, one without an inverse, one that cannot learn."""

import jax.numpy as jnp
from flax import nnx

from jaxflow.bijectors import Bijector, Transformer
from jaxflow.bijectors.transformers import soft_clamp


class TwoSlopes(Transformer):
    """Stretch what is below zero by one factor and what is above by another."""

    def __init__(self):
        self.num_parameters = 2

    def forward_and_log_det(self, z, parameters):
        log_slope = soft_clamp(jnp.where(z < 0, parameters[..., 0], parameters[..., 1]), 3.0)
        return z * jnp.exp(log_slope), log_slope

    def inverse_and_log_det(self, x, parameters):
        log_slope = soft_clamp(jnp.where(x < 0, parameters[..., 0], parameters[..., 1]), 3.0)
        return x * jnp.exp(-log_slope), -log_slope


class Bent(Bijector):
    """x = z + exp(a) arctan(z) + b in each feature, whose inverse has no formula."""

    def __init__(self, dim: int):
        self.a = nnx.Param(jnp.zeros(dim))
        self.b = nnx.Param(jnp.zeros(dim))

    def forward_and_log_det(self, z, context=None):
        bend = jnp.exp(self.a[...])
        slope = 1 + bend / (1 + z**2)
        return z + bend * jnp.arctan(z) + self.b[...], jnp.sum(jnp.log(slope), axis=-1)

    def inverse_and_log_det(self, x, context=None):
        raise NotImplementedError


class ReflectedCoupling(Bijector):
    """Reflect the last features at vectors that a network makes of the first; at vectors of length zero by nothing."""

    def __init__(self, kept: int, network: nnx.Module):
        self.kept = kept
        self.network = network

    def forward_and_log_det(self, z, context=None):
        return self._reflected(z, context, 1)

    def inverse_and_log_det(self, x, context=None):
        return self._reflected(x, context, -1)

    def _reflected(self, rows, context, order):
        kept, moved = rows[..., : self.kept], rows[..., self.kept :]
        vectors = self.network(kept, context).reshape(*rows.shape[:-1], 2, moved.shape[-1])
        for vector in jnp.moveaxis(vectors, -2, 0)[::order]:
            square = jnp.sum(vector**2, axis=-1, keepdims=True)
            reflected = moved - 2 * vector * jnp.sum(vector * moved, axis=-1, keepdims=True) / jnp.maximum(square, 1e-6)
            moved = jnp.where(square > 1e-6, reflected, moved)
        return jnp.concatenate([kept, moved], axis=-1), jnp.zeros(rows.shape[:-1], rows.dtype)
