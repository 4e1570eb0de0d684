"""Rational-quadratic splines as scalar maps."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxflow.bijectors.transformers import Transformer


class Knots(NamedTuple):
    """Where the pieces of a monotone spline meet: K + 1 places, heights and slopes."""

    x: Float[Array, "*shape knots"]
    y: Float[Array, "*shape knots"]
    slope: Float[Array, "*shape knots"]


class RationalQuadratic(Transformer):
    """Monotone rational-quadratic spline on [-bound, bound], the identity outside (Durkan et al. 2019, section 3.1).

    forward, inside bin k, with t = (z - x_k) / w, s = h / w:
        x = y_k + h (s t^2 + d_k t(1-t)) / (s + (d_k + d_{k+1} - 2s) t(1-t))
        log_det: log( s^2 (d_{k+1} t^2 + 2 s t(1-t) + d_k (1-t)^2) / (s + (d_k + d_{k+1} - 2s) t(1-t))^2 )

    The parameters are K bin widths, K bin heights (both through a softmax) and K - 1 slopes at the inner knots (through
    a softplus). The slope at both ends is 1, so the map has a continuous derivative everywhere.

    Args:
        bins: number K of bins.
        bound: half the width of the interval.
        min_bin: smallest width and height of a bin.
        min_slope: smallest slope at a knot.

    Raises:
        ValueError: if an argument is out of range, or `bins` bins of size `min_bin` do not fit.
    """

    def __init__(self, bins: int = 8, bound: float = 5.0, *, min_bin: float = 1e-3, min_slope: float = 1e-3):
        _check(bins, bound, min_bin, min_slope)
        self.num_parameters = 3 * bins - 1
        self.bins = bins
        self.bound = bound
        self.min_bin = min_bin
        self.min_slope = min_slope

    def forward_and_log_det(self, z, parameters):
        """Find the bin by its place; evaluate there."""
        return self._linear_outside(_evaluate, z, parameters)

    def inverse_and_log_det(self, x, parameters):
        """Find the bin by its height; solve the quadratic there."""
        return self._linear_outside(_invert, x, parameters)

    def _linear_outside(self, method, values, parameters):
        # Outside, the arithmetic runs on 0 instead: selecting afterwards would leave NaN gradients.
        inside = jnp.abs(values) < self.bound
        inner, log_det = method(self._knots(parameters), jnp.where(inside, values, 0.0))
        return jnp.where(inside, inner, values), jnp.where(inside, log_det, 0.0)

    def _knots(self, parameters: Float[Array, "*shape parameters"]) -> Knots:
        slopes = _slopes(parameters[..., 2 * self.bins :], self.min_slope)
        ends = jnp.ones_like(parameters[..., :1])
        return Knots(
            _places(parameters[..., : self.bins], self.bound, self.min_bin),
            _places(parameters[..., self.bins : 2 * self.bins], self.bound, self.min_bin),
            jnp.concatenate([ends, slopes, ends], axis=-1),
        )


class CircularRationalQuadratic(Transformer):
    """Rational-quadratic spline of the circle onto itself, for angles (Rezende et al. 2020, section 2.1.2).

    forward: x = (spline(z) + phase) modulo the circle        log_det: as `RationalQuadratic`

    The two ends are one point: they share one trained slope, and the phase turns the whole circle. The parameters are K
    widths, K heights, K slopes and the phase. Angles lie in [-half_circle, half_circle]; elsewhere the density is zero.

    Args:
        bins: number K of bins.
        half_circle: half the circle's length; pi for radians.
        min_bin: smallest width and height of a bin.
        min_slope: smallest slope at a knot.

    Raises:
        ValueError: if an argument is out of range, or `bins` bins of size `min_bin` do not fit.
    """

    def __init__(self, bins: int = 8, half_circle: float = math.pi, *, min_bin: float = 1e-3, min_slope: float = 1e-3):
        _check(bins, half_circle, min_bin, min_slope)
        self.num_parameters = 3 * bins + 1
        self.bins = bins
        self.half_circle = half_circle
        self.min_bin = min_bin
        self.min_slope = min_slope

    def forward_and_log_det(self, z, parameters):
        """Deform, then turn."""
        inside = jnp.abs(z) <= self.half_circle
        turned, log_det = _evaluate(self._knots(parameters), jnp.where(inside, z, 0.0))
        x = self._wrap(turned + parameters[..., -1])
        return jnp.where(inside, x, z), jnp.where(inside, log_det, jnp.inf)

    def inverse_and_log_det(self, x, parameters):
        """Turn back, then undo the deformation."""
        inside = jnp.abs(x) <= self.half_circle
        turned = self._wrap(jnp.where(inside, x, 0.0) - parameters[..., -1])
        z, log_det = _invert(self._knots(parameters), turned)
        return jnp.where(inside, z, x), jnp.where(inside, log_det, -jnp.inf)

    def _wrap(self, angle):
        # An angle inside is returned as it is, to the last digit.
        turns = jnp.floor((angle + self.half_circle) / (2 * self.half_circle))
        return jnp.clip(angle - 2 * self.half_circle * turns, -self.half_circle, self.half_circle)

    def _knots(self, parameters: Float[Array, "*shape parameters"]) -> Knots:
        slopes = _slopes(parameters[..., 2 * self.bins : -1], self.min_slope)
        return Knots(
            _places(parameters[..., : self.bins], self.half_circle, self.min_bin),
            _places(parameters[..., self.bins : 2 * self.bins], self.half_circle, self.min_bin),
            jnp.concatenate([slopes, slopes[..., :1]], axis=-1),
        )


def _check(bins: int, bound: float, min_bin: float, min_slope: float) -> None:
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if bound <= 0:
        raise ValueError(f"the half width of the interval must be positive, got {bound}")
    if not 0 < min_bin < 2 * bound / bins:
        raise ValueError(f"min_bin must be above 0 and below {2 * bound / bins:g}, the mean bin, got {min_bin}")
    if not 0 < min_slope < 1:
        raise ValueError(f"min_slope must be between 0 and 1, got {min_slope}")


def _places(raw: Float[Array, "*shape bins"], bound: float, min_bin: float) -> Float[Array, "*shape knots"]:
    """Ascending places from -bound to bound, evenly spread for zero parameters."""
    bins = raw.shape[-1]
    sizes = min_bin + (2 * bound - bins * min_bin) * jax.nn.softmax(raw, axis=-1)
    inner = jnp.cumsum(sizes[..., :-1], axis=-1) - bound
    # The ends are set, not summed: rounding must not move them.
    end = jnp.full_like(raw[..., :1], bound)
    return jnp.concatenate([-end, inner, end], axis=-1)


def _slopes(raw: Float[Array, "*shape count"], min_slope: float) -> Float[Array, "*shape count"]:
    """Positive slopes, 1 for zero parameters."""
    return min_slope + jax.nn.softplus(raw + math.log(math.expm1(1 - min_slope)))


def _bin(places: Float[Array, "*shape knots"], values: Float[Array, "*shape"], knots: Knots):
    """x_k, y_k, w, h, d_k and d_{k+1} of the bin that each value falls into.

    The bin is picked by multiplying with a one-hot vector: gathering is slow on accelerators.
    """
    above = values[..., None] >= places[..., 1:-1]
    edge = jnp.ones_like(above[..., :1])
    here = jnp.concatenate([edge, above], axis=-1) & ~jnp.concatenate([above, ~edge], axis=-1)

    def pick(quantity):
        return jnp.sum(jnp.where(here, quantity, 0.0), axis=-1)

    x, y, slope = knots
    left, bottom = pick(x[..., :-1]), pick(y[..., :-1])
    return left, bottom, pick(x[..., 1:]) - left, pick(y[..., 1:]) - bottom, pick(slope[..., :-1]), pick(slope[..., 1:])


def _evaluate(knots: Knots, z: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    left, bottom, width, height, before, after = _bin(knots.x, z, knots)
    t = (z - left) / width
    chord = height / width
    denominator = chord + (before + after - 2 * chord) * t * (1 - t)
    x = bottom + height * (chord * t**2 + before * t * (1 - t)) / denominator
    return x, _log_slope(t, chord, before, after, denominator)


def _invert(knots: Knots, x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    left, bottom, width, height, before, after = _bin(knots.y, x, knots)
    chord = height / width
    bend = before + after - 2 * chord
    rise = x - bottom
    # Durkan et al. 2019, equations 25 to 29: the root of a t^2 + b t + c, in the form that does not cancel.
    a, b, c = height * (chord - before) + rise * bend, height * before - rise * bend, -chord * rise
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, jnp.finfo(x.dtype).tiny))
    t = 2 * c / (-b - root)
    denominator = chord + bend * t * (1 - t)
    return left + width * t, -_log_slope(t, chord, before, after, denominator)


def _log_slope(t, chord, before, after, denominator) -> Float[Array, "*shape"]:
    numerator = after * t**2 + 2 * chord * t * (1 - t) + before * (1 - t) ** 2
    return 2 * (jnp.log(chord) - jnp.log(denominator)) + jnp.log(numerator)
