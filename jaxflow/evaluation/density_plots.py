"""A two-dimensional density as a map, with the rows that were scored and what was flagged."""

from collections.abc import Callable, Sequence
from typing import SupportsFloat

import matplotlib
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int, Shaped
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from jaxflow.errors import InputError
from jaxflow.evaluation.figure_style import ANOMALY_COLOR, THRESHOLD_COLOR, add_legend, new_axes, styled
from jaxflow.evaluation.metrics import checked_labels
from jaxflow.evaluation.tables import format_number

GRID_POINTS = 200
MARKS_AT_FULL_SIZE = 40  # marked rows up to which marks keep their size
MOST_POINTS = 300  # rows without a mark that are drawn of a kind: more would hide the density
# In nats below the highest log-density on the grid: lower values share one colour, or the map would show nothing else.
DEPTH = 12.0
N_LEVELS = 13
FEWEST_WHOLE = 3  # nats from the lowest to the highest level from which the scale has whole numbers
# A window is made for the bulk of the rows when all of them would need one this many times as long.
WINDOW_LIMIT = 10.0
NORMAL_POINT_COLOR = "#333333"
FLAGGED_COLOR = "#000000"
# The lighter part of the colour map, so that dark points stand out everywhere.
DENSITY_COLORS = ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.0, 0.6, 256)))


@styled
def plot_density_2d(
    log_density: Callable[[np.ndarray], ArrayLike],
    x: Float[ArrayLike, "n features"],
    labels: Shaped[ArrayLike, "n_labels"] | None,
    flagged: Shaped[ArrayLike, "n_flagged"],
    threshold_log_density: SupportsFloat | None = None,
    *,
    feature_names: Sequence[str] = ("feature 1", "feature 2"),
) -> Figure:
    """Filled contours of a log-density around the data, with the rows and the contour of the threshold.

    Normal rows are dots, anomalies triangles. Mistakes alone are marked: a false alarm by a ring, an anomaly that was
    missed by a square. Without labels rings mark the rows that were flagged. All marked rows are drawn, and of the
    others at most 300 of a kind, which the legend says.

    Args:
        log_density: maps (m, 2) to (m,), in nats; -inf is legal.
        x: the rows, of two features.
        labels: 0 (normal) or 1 (anomaly); None if the truth is not known.
        flagged: whether each row was flagged.
        threshold_log_density: rows of a lower log-density are flagged; its contour is drawn.
        feature_names: of the two axes, with units.

    Raises:
        InputError: when `x` is not finite or not of two features, the lengths differ, a label is neither 0 nor 1,
            `flagged` is not boolean, or the log-density is NaN somewhere on the grid or infinite at its maximum there.
    """
    points = np.asarray(x)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise InputError(f"x has shape {points.shape}: expected at least one row of two features")
    if not np.all(np.isfinite(points)):
        raise InputError(f"x has {np.sum(~np.isfinite(points))} cells that are not finite: expected numbers")
    truth = None if labels is None else checked_labels(labels)
    rings = np.asarray(flagged)
    if rings.dtype != bool:
        # A detector's +1 and -1 would both count as true.
        raise InputError(f"flagged is of type {rings.dtype}: expected booleans")
    if len(feature_names) != 2:
        raise InputError(f"feature_names = {list(feature_names)}: expected two names")
    for name, values in (("labels", truth), ("flagged", rings)):
        if values is not None and values.shape != points.shape[:1]:
            raise InputError(f"{name} has shape {values.shape} for {len(points)} rows: expected one a row")

    lows, highs = _window(points)
    axes_values = [np.linspace(low, high, GRID_POINTS) for low, high in zip(lows, highs, strict=True)]
    height = _log_density_on_grid(log_density, axes_values, points.dtype)
    lowest, highest = float(np.min(height)), float(np.max(height))
    if not np.isfinite(highest):
        raise InputError(
            f"the highest log-density around the data is {highest}: expected a number to draw contours from"
        )
    threshold = None if threshold_log_density is None else float(threshold_log_density)
    notes = []
    outside = int(np.sum(np.any((points < lows) | (points > highs), axis=1)))
    if outside:
        notes.append(f"{outside:,} row{'s lie' if outside > 1 else ' lies'} outside the window")
    if threshold is not None and not lowest < threshold < highest:
        notes.append(f"the threshold ({format_number(threshold)} nats) lies outside the densities shown")
        threshold = None

    title = "Log-density and flagged rows" if truth is None else "Log-density, threshold and mistakes"
    figure, axes = new_axes(title, feature_names[0], feature_names[1], notes)
    bottom = max(lowest, highest - DEPTH if threshold is None else min(highest - DEPTH, threshold - 2.0))
    # Among huge numbers a difference of 1 would be lost.
    gap = max(1.0, 1e-6 * abs(highest))
    levels = np.linspace(bottom if bottom < highest - 1e-6 * gap else highest - gap, highest, N_LEVELS)
    # Without the clip a region of density 0 would have neither a colour nor a contour around it.
    clipped = np.clip(height, levels[0] - gap, None)
    extend = "min" if lowest < levels[0] else "neither"
    filled = axes.contourf(*axes_values, clipped, levels=levels, cmap=DENSITY_COLORS, extend=extend)
    bar = figure.colorbar(filled, ax=axes, label="log-density (nats)")
    ticks = MaxNLocator(6, integer=bool(np.ptp(levels) >= FEWEST_WHOLE)).tick_values(levels[0], levels[-1])
    bar.set_ticks(ticks[(ticks >= levels[0]) & (ticks <= levels[-1])])  # others would be drawn at the ends
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda level, _: f"{level:.3g}".replace("-", "\N{MINUS SIGN}")))
    handles = _draw_points(axes, points, truth, rings)
    if threshold is not None:
        axes.contour(*axes_values, clipped, levels=[threshold], colors=THRESHOLD_COLOR, linestyles="--", linewidths=1.2)
        label = f"threshold ({format_number(threshold)} nats)"
        handles.append(Line2D([], [], color=THRESHOLD_COLOR, linestyle="--", linewidth=1.2, label=label))
    axes.set_xlim(lows[0], highs[0])
    axes.set_ylim(lows[1], highs[1])
    add_legend(figure, handles, columns=2)
    return figure


def _window(points: Float[np.ndarray, "n 2"]) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """The lower and upper corner of what is drawn: all rows with a margin, or the bulk if some lie far away."""
    low, high = points.min(axis=0), points.max(axis=0)
    inner = np.quantile(points, [0.02, 0.98], axis=0)
    far = (high - low) > WINDOW_LIMIT * (inner[1] - inner[0])
    far &= inner[1] > inner[0]
    spread = inner[1] - inner[0]
    low = np.where(far, np.maximum(low, inner[0] - spread), low)
    high = np.where(far, np.minimum(high, inner[1] + spread), high)
    # A constant feature still needs an axis of some length.
    margin = np.where(high > low, 0.08 * (high - low), 1.0)
    return low - margin, high + margin


def _log_density_on_grid(
    log_density: Callable[[np.ndarray], ArrayLike], axes_values: list[Float[np.ndarray, "_"]], dtype: np.dtype
) -> Float[np.ndarray, "rows columns"]:
    grid = np.stack(np.meshgrid(*axes_values), axis=-1)
    cells = grid.reshape(-1, 2).astype(dtype)
    flat = np.asarray(log_density(cells), np.float64)
    if flat.shape != (len(cells),):
        raise InputError(f"log_density gave shape {flat.shape} for {len(cells)} points: expected one number a point")
    n_missing = int(np.sum(np.isnan(flat)))
    if n_missing:
        raise InputError(f"log_density is NaN at {n_missing} of {len(cells)} points: expected numbers or -inf")
    return flat.reshape(grid.shape[:2])


def _draw_points(
    axes: Axes,
    points: Float[np.ndarray, "n 2"],
    truth: Int[np.ndarray, "n"] | None,
    flagged: Bool[np.ndarray, "n"],
) -> list:
    """Scatter the rows and return their legend entries."""
    if truth is None:
        kinds = [("row", np.ones(len(points), bool), "o", NORMAL_POINT_COLOR, 10)]
        marks = [("flagged", flagged, "o")]
    else:
        kinds = [
            ("normal", truth == 0, "o", NORMAL_POINT_COLOR, 10),
            ("anomaly", truth == 1, "^", ANOMALY_COLOR, 24),
        ]
        marks = [("false alarm", flagged & (truth == 0), "o"), ("missed", ~flagged & (truth == 1), "s")]
    marked = np.any([chosen for _, chosen, _ in marks], axis=0)
    # Hundreds of marks at full size would hide the density and each other.
    shrink = min(1.0, max(0.35, (MARKS_AT_FULL_SIZE / max(np.sum(marked), 1)) ** 0.5))
    handles: list = []
    for name, chosen, marker, color, size in kinds:
        drawn, count = _thinned(chosen, marked), np.sum(chosen)
        part = f"{count:,}" if np.sum(drawn) == count else f"{np.sum(drawn):,} of {count:,}"
        handles.append(
            axes.scatter(
                *points[drawn].T,
                s=size * max(shrink, 0.6),
                marker=marker,
                facecolor=color,
                edgecolor="white",
                linewidth=0.4,
                zorder=3,
                label=f"{name} ({part})",
            )
        )
    for name, chosen, marker in marks:
        handles.append(
            axes.scatter(
                *points[chosen].T,
                s=60 * shrink,
                marker=marker,
                facecolor="none",
                edgecolor=FLAGGED_COLOR,
                linewidth=1.0,
                zorder=4,
                label=f"{name} ({np.sum(chosen):,})",
            )
        )
    return handles


def _thinned(chosen: Bool[np.ndarray, "n"], marked: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Which of the chosen rows are drawn: all that have a mark, and of the others at most `MOST_POINTS`, evenly."""
    plain = np.flatnonzero(chosen & ~marked)
    drawn = chosen & marked
    drawn[plain[:: max(1, -(-len(plain) // MOST_POINTS))]] = True
    return drawn
