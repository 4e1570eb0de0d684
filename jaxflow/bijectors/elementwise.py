"""Maps that act on each feature by itself, with the same formula for every row."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from jaxflow.bijectors.bijector import Bijector
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.mlp import for_each_context
from jaxflow.networks.planned import Planned, PlannedArray


class Identity(Bijector):
    """Leave every feature as it is.

    forward: x = z        log_det: 0

    As the map of a `Flow` it leaves the base distribution, to which rows can then be compared.

    >>> Identity().forward_and_log_det(jnp.array([1.0, 2.0]))
    (Array([1., 2.], dtype=float32), Array(0., dtype=float32))
    """

    def forward_and_log_det(self, z, context=None):
        """z."""
        z = for_each_context(z, context)
        return z, jnp.zeros(z.shape[:-1], z.dtype)

    def inverse_and_log_det(self, x, context=None):
        """x."""
        return self.forward_and_log_det(x, context)


class Scale(Bijector):
    """Multiply every feature by a given number, which is not trained.

    forward: x = z * scale        log_det: sum(log |scale|)

    For known units; `ElementwiseAffine` learns its numbers, and `ActNorm` takes them from the data.

    >>> Scale(2.0).forward(jnp.ones(2))
    Array([2., 2.], dtype=float32)

    Args:
        scale: one number for all features, or one for each.

    Raises:
        ValueError: if a number is 0 or not finite. Traced numbers (inside jit or vmap) are taken on trust.
    """

    def __init__(self, scale: Float[ArrayLike, "*dim"]):
        if not isinstance(scale, Tracer) and not np.all(np.isfinite(scale) & (np.asarray(scale) != 0)):
            raise ValueError(f"scale must be finite and not 0, got {np.asarray(scale).tolist()}")
        self.scale = Buffer(jnp.asarray(scale, jnp.result_type(float)))

    def forward_and_log_det(self, z, context=None):
        """Multiply."""
        return z * self._as(z), self._log_det(z)

    def inverse_and_log_det(self, x, context=None):
        """Divide."""
        return x / self._as(x), -self._log_det(x)

    def _as(self, values: Float[Array, "*batch dim"]) -> Float[Array, "*dim"]:
        return self.scale[...].astype(values.dtype)

    def _log_det(self, values: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
        logs = jnp.broadcast_to(jnp.log(jnp.abs(self._as(values))), values.shape[-1:])
        return jnp.broadcast_to(jnp.sum(logs), values.shape[:-1])


class Loc(Bijector):
    """Move every feature by a given number, which is not trained.

    forward: x = z + loc        log_det: 0

    The transformer `Shift` takes its number from a conditioner instead.

    >>> Loc(jnp.array([1.0, -1.0])).forward(jnp.zeros(2))
    Array([ 1., -1.], dtype=float32)

    Args:
        loc: one number for all features, or one for each.

    Raises:
        ValueError: if a number is not finite. Traced numbers (inside jit or vmap) are taken on trust.
    """

    def __init__(self, loc: Float[ArrayLike, "*dim"]):
        if not isinstance(loc, Tracer) and not np.all(np.isfinite(loc)):
            raise ValueError(f"loc must be finite, got {np.asarray(loc).tolist()}")
        self.loc = Buffer(jnp.asarray(loc, jnp.result_type(float)))

    def forward_and_log_det(self, z, context=None):
        """Add."""
        return z + self.loc[...].astype(z.dtype), jnp.zeros(z.shape[:-1], z.dtype)

    def inverse_and_log_det(self, x, context=None):
        """Subtract."""
        return x - self.loc[...].astype(x.dtype), jnp.zeros(x.shape[:-1], x.dtype)


class ElementwiseAffine(Bijector):
    """Scale and shift every feature by trained constants.

    forward: x = z * exp(log_scale) + shift        log_det: sum(log_scale)

    >>> ElementwiseAffine(2).forward_and_log_det(jnp.ones((3, 2)))[1]
    Array([0., 0., 0.], dtype=float32)

    Args:
        dim: number of features.
    """

    def __init__(self, dim: int):
        self.shift = nnx.Param(jnp.zeros(dim))
        self.log_scale = nnx.Param(jnp.zeros(dim))

    @staticmethod
    def planned(dim: int) -> Planned:
        """The arrays of a layer of so many features."""
        for vector in ("shift", "log_scale"):
            yield PlannedArray(vector, (dim,))

    def forward_and_log_det(self, z, context=None):
        """Scale, then shift."""
        x = z * jnp.exp(self.log_scale[...]) + self.shift[...]
        return x, jnp.broadcast_to(jnp.sum(self.log_scale[...]), z.shape[:-1])

    def inverse_and_log_det(self, x, context=None):
        """Undo the shift, then the scale."""
        z = (x - self.shift[...]) * jnp.exp(-self.log_scale[...])
        return z, jnp.broadcast_to(-jnp.sum(self.log_scale[...]), x.shape[:-1])


class Sigmoid(Bijector):
    """Map every feature from the real line into (0, 1).

    forward: x = 1 / (1 + exp(-z))        log_det: sum(log sigmoid(z) + log sigmoid(-z))

    The inverse exists for 0 < x < 1; elsewhere its log-determinant is -inf.

    >>> Sigmoid().forward(jnp.array([0.0]))
    Array([0.5], dtype=float32)
    """

    def forward_and_log_det(self, z, context=None):
        """The logistic function."""
        return _squash(z)

    def inverse_and_log_det(self, x, context=None):
        """log x - log(1 - x)."""
        z, log_det, inside = _unsquash(x)
        return z, jnp.where(inside, log_det, -jnp.inf)


class Logit(Bijector):
    """Map every feature from (0, 1) onto the real line: `Sigmoid` the other way round.

    forward: x = log z - log(1 - z)        log_det: -sum(log z + log(1 - z))

    For latents that live in the unit cube. Outside it the forward log-determinant is +inf.

    >>> Logit().forward(jnp.array([0.5]))
    Array([0.], dtype=float32)
    """

    def forward_and_log_det(self, z, context=None):
        """log z - log(1 - z)."""
        x, log_det, inside = _unsquash(z)
        return x, jnp.where(inside, log_det, jnp.inf)

    def inverse_and_log_det(self, x, context=None):
        """The logistic function."""
        return _squash(x)


class Softplus(Bijector):
    """Map every feature from the real line onto (0, inf).

    forward: x = log(1 + exp(z))        log_det: sum(log sigmoid(z))

    The inverse exists for x > 0; elsewhere its log-determinant is -inf.

    >>> Softplus().inverse_and_log_det(jnp.array([-1.0]))[1]
    Array(-inf, dtype=float32)
    """

    def forward_and_log_det(self, z, context=None):
        """log(1 + exp(z))."""
        return jax.nn.softplus(z), jnp.sum(jax.nn.log_sigmoid(z), axis=-1)

    def inverse_and_log_det(self, x, context=None):
        """x + log(1 - exp(-x))."""
        positive = x > 0
        safe = jnp.where(positive, x, 1.0)
        log_ratio = jnp.log(-jnp.expm1(-safe))
        return safe + log_ratio, jnp.where(jnp.all(positive, axis=-1), -jnp.sum(log_ratio, axis=-1), -jnp.inf)


class Exp(Bijector):
    """Map every feature from the real line onto (0, inf).

    forward: x = exp(z)        log_det: sum(z)

    The inverse, the logarithm, exists for x > 0; elsewhere its log-determinant is -inf. Beyond what the float type
    holds (|z| of 87 in float32) x stays at its ends.

    >>> Exp().inverse_and_log_det(jnp.array([1.0, -1.0]))
    (Array([0., 0.], dtype=float32), Array(-inf, dtype=float32))
    """

    def forward_and_log_det(self, z, context=None):
        """exp(z)."""
        limits = jnp.finfo(z.dtype)
        low, high = float(np.log(limits.tiny)), float(np.log(limits.max)) - 1.0
        return jnp.exp(jnp.clip(z, low, high)), jnp.sum(z, axis=-1)

    def inverse_and_log_det(self, x, context=None):
        """log x."""
        positive = x > 0
        z = jnp.log(jnp.where(positive, x, 1.0))
        return z, jnp.where(jnp.all(positive, axis=-1), -jnp.sum(z, axis=-1), -jnp.inf)


class Tanh(Bijector):
    """Map every feature from the real line into (-1, 1).

    forward: x = tanh(z)        log_det: sum(log(1 - x^2)) = 2 sum(log 2 - |z| - log(1 + exp(-2 |z|)))

    The inverse exists for |x| < 1; elsewhere its log-determinant is -inf.

    >>> Tanh().inverse_and_log_det(jnp.array([0.0, 2.0]))[1]
    Array(-inf, dtype=float32)
    """

    def forward_and_log_det(self, z, context=None):
        """tanh(z)."""
        # In |z|, of which the terms cancel nowhere.
        size = jnp.abs(z)
        return jnp.tanh(z), 2 * jnp.sum(math.log(2) - size - jnp.log1p(jnp.exp(-2 * size)), axis=-1)

    def inverse_and_log_det(self, x, context=None):
        """(log(1 + x) - log(1 - x)) / 2."""
        inside = jnp.abs(x) < 1
        safe = jnp.where(inside, x, 0.0)
        log_above, log_below = jnp.log1p(safe), jnp.log1p(-safe)
        log_det = -jnp.sum(log_above + log_below, axis=-1)
        return (log_above - log_below) / 2, jnp.where(jnp.all(inside, axis=-1), log_det, -jnp.inf)


def _squash(z: Float[Array, "*batch dim"]) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch"]]:
    return jax.nn.sigmoid(z), jnp.sum(jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z), axis=-1)


def _unsquash(x: Float[Array, "*batch dim"]):
    # Outside the unit interval the arithmetic runs on 1/2 instead: selecting afterwards would leave NaN gradients.
    inside = (x > 0) & (x < 1)
    safe = jnp.where(inside, x, 0.5)
    log_x, log_rest = jnp.log(safe), jnp.log1p(-safe)
    return log_x - log_rest, -jnp.sum(log_x + log_rest, axis=-1), jnp.all(inside, axis=-1)
