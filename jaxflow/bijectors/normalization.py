"""Layers that bring values to zero mean and unit scale."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxflow.bijectors.bijector import Bijector, Direction
from jaxflow.bijectors.elementwise import ElementwiseAffine
from jaxflow.errors import InputError
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.planned import Planned, PlannedArray, within


class ActNorm(Bijector):
    """Scale and shift that start where the first data put them (Kingma and Dhariwal 2018, section 3.1).

    forward: x = z * exp(log_scale) + shift        log_det: sum(log_scale)

    `initialize` sets the two so that the values it is given come out with zero mean and unit variance per feature;
    from then on they are trained like any other parameter. Until then the layer is the identity. Whether it has been
    initialised is part of the state, so a saved layer is not initialised a second time.

    >>> layer = ActNorm(2)
    >>> layer.initialize(jnp.array([[1.0, 2.0], [3.0, 6.0]])).round(3)
    Array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)

    Args:
        dim: number of features.
        floor: the smallest standard deviation that is believed; a constant feature would otherwise divide by zero.
    """

    def __init__(self, dim: int, *, floor: float = 1e-3):
        self.affine = ElementwiseAffine(dim)
        self.initialized = Buffer(jnp.asarray(False))
        self.floor = floor

    @staticmethod
    def planned(dim: int) -> Planned:
        """The arrays of a layer of so many features."""
        yield from within("affine", ElementwiseAffine.planned(dim))
        yield PlannedArray("initialized", (), "bool")

    def forward_and_log_det(self, z, context=None):
        """Scale, then shift."""
        return self.affine.forward_and_log_det(z, context)

    def inverse_and_log_det(self, x, context=None):
        """Undo the shift, then the scale."""
        return self.affine.inverse_and_log_det(x, context)

    def initialize(self, values, context=None, weight=None, *, direction: Direction = "inverse"):
        """Make `values` come out standardised in `direction`, unless that has been done before."""
        mean, variance = _moments(values, weight)
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


class BatchNorm(Bijector):
    """Scale and shift that follow the data all through training (Dinh et al. 2017, section 3.7).

    inverse: z = (x - mean) / sqrt(variance + epsilon) * exp(log_scale) + shift
    log_det of the inverse: sum(log_scale - log(variance + epsilon) / 2)

    In training steps, after `train()`, the inverse takes mean and variance from the batch, each row counted once, and
    gradients pass through both. Otherwise, after `eval()` and at first, both directions use those of the whole training
    set, so that a row's density depends on the row alone: `initialize` computes them, and `fit` calls it after every
    epoch. (An average over the last batches, as other networks keep it, is off as soon as the layers below move, and
    the densities are off with it.) Until then the layer is the identity, up to epsilon.

    >>> layer = BatchNorm(2)
    >>> layer.initialize(jnp.array([[1.0, 2.0], [3.0, 6.0]])).round(3)
    Array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)

    Args:
        dim: number of features.
        epsilon: what is added to the variance; a constant feature would otherwise divide by zero.

    Raises:
        ValueError: if `epsilon` is not positive; on training with a single row, or turned round by `Inverse`: only
            what comes from the data can be normalised.
    """

    follows_data = True

    def __init__(self, dim: int, *, epsilon: float = 1e-5):
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        self.affine = ElementwiseAffine(dim)
        self.mean = Buffer(jnp.zeros(dim, jnp.result_type(float)))
        self.variance = Buffer(jnp.ones(dim, jnp.result_type(float)))
        self.epsilon = epsilon
        self.use_running_average = True  # the name that `train()` and `eval()` look for

    @staticmethod
    def planned(dim: int) -> Planned:
        """The arrays of a layer of so many features."""
        yield from within("affine", ElementwiseAffine.planned(dim))
        for vector in ("mean", "variance"):
            yield PlannedArray(vector, (dim,))

    def forward_and_log_det(self, z, context=None):
        """Undo the trained scale and shift, then restore the mean and the variance of the training set."""
        h, log_det = self.affine.inverse_and_log_det(z, context)
        log_std = self._log_std(self.variance[...])
        return h * jnp.exp(log_std) + self.mean[...], log_det + jnp.sum(log_std)

    def inverse_and_log_det(self, x, context=None):
        """Normalise, then apply the trained scale and shift."""
        mean, variance = self.mean[...], self.variance[...]
        if not self.use_running_average:
            rows = x.reshape(-1, x.shape[-1])
            if len(rows) < 2:
                raise InputError(f"BatchNorm trains on batches of at least 2 rows, got {len(rows)}")
            mean, variance = _moments(rows)
        log_std = self._log_std(variance)
        z, log_det = self.affine.forward_and_log_det((x - mean) * jnp.exp(-log_std), context)
        return z, log_det - jnp.sum(log_std)

    def initialize(self, values, context=None, weight=None, *, direction: Direction = "inverse"):
        """Take mean and variance from these rows."""
        if direction == "forward":
            raise ValueError("BatchNorm normalises what comes from the data and cannot be turned round by Inverse")
        self.mean[...], self.variance[...] = _moments(values, weight)
        return super().initialize(values, context, weight, direction=direction)

    def _log_std(self, variance: Float[Array, "dim"]) -> Float[Array, "dim"]:
        return 0.5 * jnp.log(variance + self.epsilon)


def _moments(
    values: Float[Array, "n dim"], weight: Float[Array, "n"] | None = None
) -> tuple[Float[Array, "dim"], Float[Array, "dim"]]:
    """Mean and variance of each feature."""
    weight = jnp.ones(values.shape[0], values.dtype) if weight is None else weight
    mean = jnp.average(values, axis=0, weights=weight)
    return mean, jnp.average((values - mean) ** 2, axis=0, weights=weight)
