"""Layers that bring values to zero mean and unit scale."""

import jax.numpy as jnp

from jaxflow.bijectors.bijector import Bijector, Direction
from jaxflow.bijectors.elementwise import ElementwiseAffine
from jaxflow.networks.buffer import Buffer


class ActNorm(Bijector):
    """Scale and shift that start where the first data put them (Kingma and Dhariwal 2018, section 3.1).

    forward: x = z * exp(log_scale) + shift        log_det: sum(log_scale)

    `initialize` sets the two so that the values it is given come out with zero mean and unit variance per feature;
    from then on they are trained like any other parameter. Until then the layer is the identity. Whether it has been
    initialised is part of the state, so a saved layer is not initialised a second time.

    Args:
        dim: number of features.
        floor: the smallest standard deviation that is believed; a constant feature would otherwise divide by zero.
    """

    def __init__(self, dim: int, *, floor: float = 1e-3):
        self.affine = ElementwiseAffine(dim)
        self.initialized = Buffer(jnp.asarray(False))
        self.floor = floor

    def forward_and_log_det(self, z, context=None):
        """Scale, then shift."""
        return self.affine.forward_and_log_det(z, context)

    def inverse_and_log_det(self, x, context=None):
        """Undo the shift, then the scale."""
        return self.affine.inverse_and_log_det(x, context)

    def initialize(self, values, context=None, weight=None, *, direction: Direction = "inverse"):
        """Make `values` come out standardised in `direction`, unless that has been done before."""
        weight = jnp.ones(values.shape[0], values.dtype) if weight is None else weight
        mean = jnp.average(values, axis=0, weights=weight)
        variance = jnp.average((values - mean) ** 2, axis=0, weights=weight)
        log_std = 0.5 * jnp.log(jnp.maximum(variance, self.floor**2))
        if direction == "inverse":
            shift, log_scale = mean, log_std
        else:
            shift, log_scale = -mean * jnp.exp(-log_std), -log_std
        done = self.initialized[...]
        self.affine.shift[...] = jnp.where(done, self.affine.shift[...], shift)
        self.affine.log_scale[...] = jnp.where(done, self.affine.log_scale[...], log_scale)
        self.initialized[...] = jnp.ones_like(done)
        return super().initialize(values, context, weight, direction=direction)
