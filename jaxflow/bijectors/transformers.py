"""Scalar maps whose parameters come from a conditioner."""

import math
from abc import abstractmethod

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Transformer(nnx.Module):
    """A monotone scalar map with `num_parameters` parameters, applied to each feature by itself.

    Zero parameters mean the identity. The log-derivative returned is per feature: the layer that uses the transformer
    sums it.

    >>> spline = RationalQuadraticSpline(bins=4)
    >>> isinstance(spline, Transformer), spline.num_parameters
    (True, 11)
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

    >>> Affine().forward_and_log_det(jnp.array(2.0), jnp.array([1.0, 0.0]))
    (Array(3., dtype=float32), Array(0., dtype=float32))

    Args:
        max_log_scale: bound on |s|.
    """

    def __init__(self, max_log_scale: float = 5.0):
        if not 0 < max_log_scale < math.inf:
            raise ValueError(f"max_log_scale must be positive and finite, got {max_log_scale}")
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
        return parameters[..., 0], soft_clamp(parameters[..., 1], self.max_log_scale)


class Shift(Transformer):
    """Shift alone, which preserves volume (Dinh et al. 2015, NICE, section 3.2).

    forward: x = z + t        log_det: 0,        (t,) = parameters

    >>> Shift().forward_and_log_det(jnp.array(2.0), jnp.array([1.0]))
    (Array(3., dtype=float32), Array(0., dtype=float32, weak_type=True))
    """

    def __init__(self):
        self.num_parameters = 1

    def forward_and_log_det(self, z, parameters):
        """Shift."""
        return z + parameters[..., 0], jnp.zeros_like(z)

    def inverse_and_log_det(self, x, parameters):
        """Shift back."""
        return x - parameters[..., 0], jnp.zeros_like(x)


class SinhArcsinh(Transformer):
    """Skewness and weight of the tails (Jones and Pewsey 2009, section 2).

    forward: x = sinh(u),  u = exp(t) arcsinh(z) + e        log_det: t + log cosh(u) - log(1 + z^2) / 2

    (e, t) are the parameters, softly clamped. A normal z gets heavier tails for t > 0, lighter ones for t < 0, and
    leans to the side of the sign of e. Far out x grows like |z|^exp(t).

    >>> SinhArcsinh().forward_and_log_det(jnp.array(1.0), jnp.array([0.0, 1.0]))[0].round(1)
    Array(2., dtype=float32)

    Args:
        max_skew: bound on |e|.
        max_log_tail: bound on |t|. At 1, float32 holds the image of any |z| below 1e12.
    """

    def __init__(self, max_skew: float = 5.0, max_log_tail: float = 1.0):
        for name, bound in (("max_skew", max_skew), ("max_log_tail", max_log_tail)):
            if bound <= 0:
                raise ValueError(f"{name} must be positive, got {bound}")
        self.num_parameters = 2
        self.max_skew = max_skew
        self.max_log_tail = max_log_tail

    def forward_and_log_det(self, z, parameters):
        """Stretch and move on the scale of arcsinh."""
        skew, log_tail = self._skew_and_log_tail(parameters)
        before = jnp.arcsinh(z)
        after = jnp.exp(log_tail) * before + skew
        return jnp.sinh(after), log_tail + _log_cosh(after) - _log_cosh(before)

    def inverse_and_log_det(self, x, parameters):
        """Move and stretch back."""
        skew, log_tail = self._skew_and_log_tail(parameters)
        after = jnp.arcsinh(x)
        before = jnp.exp(-log_tail) * (after - skew)
        return jnp.sinh(before), -log_tail + _log_cosh(before) - _log_cosh(after)

    def _skew_and_log_tail(self, parameters):
        return soft_clamp(parameters[..., 0], self.max_skew), soft_clamp(parameters[..., 1], self.max_log_tail)


def soft_clamp(raw: Float[Array, "*shape"], bound: float) -> Float[Array, "*shape"]:
    """A value of size below `bound`, with slope 1 at zero and a slope everywhere."""
    return raw / (1 + jnp.abs(raw) / bound)


def _log_cosh(u: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.abs(u) + jnp.log1p(jnp.exp(-2 * jnp.abs(u))) - math.log(2)
