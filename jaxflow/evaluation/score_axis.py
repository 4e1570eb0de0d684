"""An axis on which anomaly scores of any spread stay legible.

The negative log-density of an anomaly may be 50 or 10^12 nats, or infinite, while the normal rows lie within a few nats
of each other. Where the scores are close together the axis is linear. Where they are not it is
u(s) = asinh((s - center) / width): linear around the bulk, logarithmic far from it on both sides (the inverse
hyperbolic sine of Lupton, Gunn and Szalay 1999, equation 3, moved to the bulk). What is still farther away, and what is
infinite, is counted in one bar at the edge.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

# A linear axis may be this many half interquartile ranges long; beyond it the bulk would be a bar or two.
LINEAR_LIMIT = 30.0
# The farthest u shown, about 10^8 widths from the center; the bulk keeps a quarter of the axis.
U_LIMIT = 20.0
OVERFLOW_WIDTH = 0.04
OVERFLOW_GAP = 0.015
TICK_DISTANCE = 0.1


@dataclasses.dataclass(frozen=True)
class ScoreAxis:
    """A monotone map from scores to positions, the stretch of it that is drawn, and its bins.

    Attributes:
        center: score in the middle of the bulk.
        width: half the interquartile range of the bulk, in units of the score.
        linear: whether positions are proportional to scores.
        low: the lowest score drawn in a bin of its own.
        high: the highest.
    """

    center: float
    width: float
    linear: bool
    low: float
    high: float

    def forward(self, scores: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Position of each score, in widths of the bulk from its center."""
        u = (np.asarray(scores, np.float64) - self.center) / self.width
        return np.asarray(u if self.linear else np.arcsinh(u))

    def inverse(self, positions: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Score at each position."""
        u = np.asarray(positions, np.float64)
        return np.asarray(self.center + self.width * (u if self.linear else np.sinh(u)))

    def edges(self, n_bins: int) -> Float[np.ndarray, "{n_bins}+1"]:
        """Edges, in scores, of bins that are equally wide on the axis and that end at `low` and `high` exactly."""
        ends = self.forward(np.asarray([self.low, self.high]))
        edges = self.inverse(np.linspace(ends[0], ends[1], n_bins + 1))
        edges[[0, -1]] = self.low, self.high
        return edges

    def overflow(self, side: int) -> tuple[float, float]:
        """Left and right end, in scores, of the bar beyond the lowest (side = -1) or the highest (+1) score drawn."""
        ends = self.forward(np.asarray([self.low, self.high]))
        near = ends[0 if side < 0 else 1] + side * OVERFLOW_GAP * (ends[1] - ends[0])
        far = near + side * OVERFLOW_WIDTH * (ends[1] - ends[0])
        left, right = self.inverse(np.asarray(sorted((near, far))))
        return float(left), float(right)

    def ticks(self) -> list[float]:
        """Round scores to label: evenly spaced ones in the bulk, powers of ten far from it."""
        if self.linear:
            inner = MaxNLocator(7).tick_values(self.low, self.high)
            return [float(tick) for tick in inner if self.low <= tick <= self.high]
        inner = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(*self.inverse(np.asarray([-1.5, 1.5])))
        powers = 10.0 ** np.arange(-3, 13)
        bulk = max(abs(self.center), self.width)
        outer = [sign * power for power in powers if power > bulk for sign in (1.0, -1.0)]
        length = np.ptp(self.forward(np.asarray([self.low, self.high])))
        kept: list[float] = []
        for tick in [*map(float, inner), *outer]:
            apart = [abs(float(self.forward(np.asarray(tick)) - self.forward(np.asarray(other)))) for other in kept]
            if self.low <= tick <= self.high and min(apart, default=length) >= TICK_DISTANCE * length:
                kept.append(tick)
        return sorted(kept)

    def apply(self, axes: Axes) -> None:
        """Make the x axis of `axes` this one."""
        if self.linear:
            return
        axes.set_xscale("function", functions=(self.forward, self.inverse))
        ticks = self.ticks()
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FixedFormatter([_tick_label(tick) for tick in ticks]))


def score_axis(groups: Sequence[Float[np.ndarray, "_"]], threshold: float) -> ScoreAxis:
    """The axis for groups of scores, of which the first that has a finite score is the bulk.

    Args:
        groups: scores of the normal rows, then of the others; infinite ones are allowed.
        threshold: always inside the stretch that is drawn, if it is finite.
    """
    finite = [group[np.isfinite(group)] for group in groups]
    bulk = next((group for group in finite if group.size), np.zeros(1))
    everything = np.concatenate([*finite, [threshold] if np.isfinite(threshold) else [], bulk[:1]])
    low, high = float(np.min(everything)), float(np.max(everything))
    center, width = float(np.median(bulk)), _half_spread(bulk)
    if width is None or high - low <= LINEAR_LIMIT * width:
        # Scores that are all equal have no spread to go by: show where they are.
        width = width or 0.05 * max(abs(center), 1.0)
        margin = 0.02 * max(high - low, width)
        return ScoreAxis(center, width, True, low - margin, high + margin)
    axis = ScoreAxis(center, width, False, low, high)
    limits = axis.inverse(np.asarray([-U_LIMIT, U_LIMIT]))
    low, high = max(low, float(limits[0])), min(high, float(limits[1]))
    if np.isfinite(threshold):
        reach = np.asarray([axis.forward(np.asarray(threshold)) - 0.3, axis.forward(np.asarray(threshold)) + 0.3])
        low, high = min(low, float(axis.inverse(reach)[0])), max(high, float(axis.inverse(reach)[1]))
    return dataclasses.replace(axis, low=low, high=high)


def _half_spread(bulk: Float[np.ndarray, "n"]) -> float | None:
    """Half the interquartile range, or of a wider range where many scores are equal; None if all of them are."""
    # Narrower than this, neighbouring positions would be the same floating-point score.
    smallest = 1e-9 * abs(float(np.median(bulk)))
    for share in (0.25, 0.05, 0.0):
        spread = float(np.diff(np.quantile(bulk, [share, 1 - share]))[0]) / 2
        if spread > smallest:
            return spread
    return None


def _tick_label(tick: float) -> str:
    if abs(tick) >= 1e4:
        exponent = round(float(np.log10(abs(tick))))
        if np.isclose(abs(tick), 10.0**exponent):
            return f"${'-' if tick < 0 else ''}10^{{{exponent}}}$"
    return f"{tick:.6g}".replace("-", "\N{MINUS SIGN}")
