"""Rational-quadratic splines as scalar maps."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxflow.bijectors.transformers import Transformer


class Spline(NamedTuple):
    """A monotone spline of K bins from [-bound, bound] onto itself.

    Attributes:
        widths: of the bins.
        heights: of the bins.
        slopes: at the K - 1 inner knots, as parameters.
        end: the slope at both ends, as a parameter.
        bound: half the width of the interval.
        min_slope: smallest slope at a knot.
    """

    widths: Float[Array, "*shape bins"]
    heights: Float[Array, "*shape bins"]
    slopes: Float[Array, "*shape inner"]
    end: Float[Array, "*shape"] | float
    bound: float
    min_slope: float


class Bin(NamedTuple):
    """The bin that a value falls into: its lower left corner, its size, and the slopes before and after it."""

    left: Float[Array, "*shape"]
    bottom: Float[Array, "*shape"]
    width: Float[Array, "*shape"]
    height: Float[Array, "*shape"]
    before: Float[Array, "*shape"]
    after: Float[Array, "*shape"]


class RationalQuadraticSpline(Transformer):
    """Monotone rational-quadratic spline on [-bound, bound], the identity outside (Durkan et al. 2019, section 3.1).

    forward, inside bin k, with t = (z - x_k) / w, s = h / w:
        x = y_k + h (s t^2 + d_k t(1-t)) / (s + (d_k + d_{k+1} - 2s) t(1-t))
        log_det: log( s^2 (d_{k+1} t^2 + 2 s t(1-t) + d_k (1-t)^2) / (s + (d_k + d_{k+1} - 2s) t(1-t))^2 )

    The parameters are K bin widths, K bin heights (both through a softmax) and K - 1 slopes at the inner knots (through
    a softplus). The slope at both ends is 1, so the map has a continuous derivative everywhere.

    >>> spline = RationalQuadraticSpline(bins=4)
    >>> spline.forward_and_log_det(jnp.array(1.0), jnp.zeros(spline.num_parameters))[0].round(3)
    Array(1., dtype=float32)

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
        inner, log_det = method(self._spline(parameters), jnp.where(inside, values, 0.0))
        return jnp.where(inside, inner, values), jnp.where(inside, log_det, 0.0)

    def _spline(self, parameters: Float[Array, "*shape parameters"]) -> Spline:
        widths, heights, slopes = jnp.split(parameters, (self.bins, 2 * self.bins), axis=-1)
        return Spline(
            _sizes(widths, self.bound, self.min_bin),
            _sizes(heights, self.bound, self.min_bin),
            slopes,
            0.0,  # the parameter of slope 1
            self.bound,
            self.min_slope,
        )


class CircularRationalQuadratic(Transformer):
    """Rational-quadratic spline of the circle onto itself, for angles (Rezende et al. 2020, section 2.1.2).

    forward: x = (spline(z) + phase) modulo the circle        log_det: as `RationalQuadraticSpline`

    The two ends are one point: they share one trained slope, and the phase turns the whole circle. The parameters are K
    widths, K heights, K slopes and the phase. Angles lie in [-half_circle, half_circle]; elsewhere the density is zero.
    Of the two names of one point, the two ends, a conditioner sees the one that it is given: use one of them only.

    >>> turn = CircularRationalQuadratic(bins=4)
    >>> turn.forward_and_log_det(jnp.array(1.0), jnp.zeros(turn.num_parameters))[0].round(3)
    Array(1., dtype=float32)

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
        turned, log_det = _evaluate(self._spline(parameters), jnp.where(inside, z, 0.0))
        x = self._wrap(turned + parameters[..., -1])
        return jnp.where(inside, x, z), jnp.where(inside, log_det, jnp.inf)

    def inverse_and_log_det(self, x, parameters):
        """Turn back, then undo the deformation."""
        inside = jnp.abs(x) <= self.half_circle
        turned = self._wrap(jnp.where(inside, x, 0.0) - parameters[..., -1])
        z, log_det = _invert(self._spline(parameters), turned)
        return jnp.where(inside, z, x), jnp.where(inside, log_det, -jnp.inf)

    def _wrap(self, angle):
        # An angle inside is returned as it is, to the last digit.
        turns = jnp.floor((angle + self.half_circle) / (2 * self.half_circle))
        return jnp.clip(angle - 2 * self.half_circle * turns, -self.half_circle, self.half_circle)

    def _spline(self, parameters: Float[Array, "*shape parameters"]) -> Spline:
        widths, heights, slopes = jnp.split(parameters[..., :-1], (self.bins, 2 * self.bins), axis=-1)
        return Spline(
            _sizes(widths, self.half_circle, self.min_bin),
            _sizes(heights, self.half_circle, self.min_bin),
            slopes[..., 1:],
            slopes[..., 0],
            self.half_circle,
            self.min_slope,
        )


def _check(bins: int, bound: float, min_bin: float, min_slope: float) -> None:
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if not 0 < bound < math.inf:
        raise ValueError(f"the half width of the interval must be positive and finite, got {bound}")
    if not 0 < min_bin < 2 * bound / bins:
        raise ValueError(f"min_bin must be above 0 and below {2 * bound / bins:g}, the mean bin, got {min_bin}")
    if not 0 < min_slope < 1:
        raise ValueError(f"min_slope must be between 0 and 1, got {min_slope}")


def _sizes(raw: Float[Array, "*shape bins"], bound: float, min_bin: float) -> Float[Array, "*shape bins"]:
    """Sizes that add up to 2 bound, equal ones for zero parameters."""
    return min_bin + (2 * bound - raw.shape[-1] * min_bin) * jax.nn.softmax(raw, axis=-1)


def _find(spline: Spline, sizes: Float[Array, "*shape bins"], values: Float[Array, "*shape"]) -> Bin:
    """The bin that each value falls into, where `sizes` are the widths or the heights.

    All that depends on the parameters is a sum over masked bins. Gathering is slow on accelerators; and the gradient
    of cumulative sums and of padded arrays costs more than that of a mask.
    """
    bins = sizes.shape[-1]
    inner_knots = jnp.cumsum(jax.lax.stop_gradient(sizes[..., :-1]), axis=-1) - spline.bound
    index = jnp.sum(values[..., None] >= inner_knots, axis=-1)
    lower = jnp.arange(bins) < index[..., None]

    def below(sizes):
        return jnp.sum(jnp.where(lower, sizes, 0.0), axis=-1) - spline.bound

    def at(quantity, index):
        here = jnp.arange(quantity.shape[-1]) == index[..., None]
        return jnp.sum(jnp.where(here, quantity, 0.0), axis=-1)

    def slope(knot):
        # A knot that is not an inner one is found nowhere, and so has the parameter 0 until `end` is added.
        raw = at(spline.slopes, knot) + jnp.where((knot < 0) | (knot == bins - 1), spline.end, 0.0)
        return spline.min_slope + jax.nn.softplus(raw + math.log(math.expm1(1 - spline.min_slope)))

    widths, heights = spline.widths, spline.heights
    return Bin(below(widths), below(heights), at(widths, index), at(heights, index), slope(index - 1), slope(index))


def _evaluate(spline: Spline, z: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    left, bottom, width, height, before, after = _find(spline, spline.widths, z)
    t = _kept_within((z - left) / width, 1.0)
    chord = height / width
    denominator = chord + (before + after - 2 * chord) * t * (1 - t)
    x = bottom + height * (chord * t**2 + before * t * (1 - t)) / denominator
    return x, _log_slope(t, chord, before, after, denominator)


def _invert(spline: Spline, x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    left, bottom, width, height, before, after = _find(spline, spline.heights, x)
    chord = height / width
    bend = before + after - 2 * chord
    rise = _kept_within(x - bottom, height)
    # Durkan et al. 2019, equations 25 to 29: the root of a t^2 + b t + c, in the form that does not cancel. They give
    # the one for b >= 0; where b < 0, a is positive, since the parabola rises from c < 0 to a + b + c >= 0 at t = 1.
    a, b, c = height * (chord - before) + rise * bend, height * before - rise * bend, -chord * rise
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, jnp.finfo(x.dtype).tiny))
    falls = b < 0
    t = jnp.where(falls, root - b, 2 * c) / jnp.where(falls, 2 * a, -b - root)
    t = _kept_within(t, 1.0)
    denominator = chord + bend * t * (1 - t)
    return left + width * t, -_log_slope(t, chord, before, after, denominator)


def _kept_within(value: Float[Array, "*shape"], end: Float[Array, "*shape"] | float) -> Float[Array, "*shape"]:
    """A value that rounding may have put a little below 0 or above the end of its bin; its gradient is left alone.

    The edges of bins are sums, so a value next to a knot may seem to lie in the neighbouring bin, where the slope of
    this one may be negative.
    """
    return value + jax.lax.stop_gradient(jnp.clip(value, 0.0, end) - value)


def _log_slope(t, chord, before, after, denominator) -> Float[Array, "*shape"]:
    numerator = after * t**2 + 2 * chord * t * (1 - t) + before * (1 - t) ** 2
    return 2 * (jnp.log(chord) - jnp.log(denominator)) + jnp.log(numerator)
