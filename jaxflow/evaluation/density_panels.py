"""Several two-dimensional densities side by side with the data they were learned from."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxflow.errors import InputError
from jaxflow.evaluation.figure_style import FIGURE_DPI, styled

GRID_POINTS = 300
SHOWN_POINTS = 4000
# Densities above this quantile of the grid share one colour: a few thin ridges would otherwise darken all the rest.
BRIGHTEST = 0.995
PANEL_INCHES = 2.4


@styled
def plot_density_panels(
    x: Float[ArrayLike, "n 2"],
    log_densities: Mapping[str, Callable[[np.ndarray], ArrayLike]],
    *,
    title: str,
    feature_names: Sequence[str] = ("feature 1", "feature 2"),
) -> Figure:
    """The rows, and beside them a map of each density, all in one window and on one scale.

    Args:
        x: rows of two features.
        log_densities: for each panel its heading and a function from (m, 2) to (m,), in nats.
        title: of the whole figure.
        feature_names: of the two axes, with units.

    Raises:
        InputError: if `x` is not finite or not of two features, there is no density, or one is NaN somewhere.
    """
    points = np.asarray(x)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.all(np.isfinite(points)):
        raise InputError(f"x has shape {points.shape}: expected at least one finite row of two features")
    if not log_densities:
        raise InputError("there is no density to draw")
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.08 * np.where(high > low, high - low, 1.0)
    low, high = low - margin, high + margin
    ticks = [np.linspace(start, end, GRID_POINTS) for start, end in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*ticks), axis=-1)
    maps = {}
    for name, log_density in log_densities.items():
        values = np.exp(np.asarray(log_density(grid.reshape(-1, 2)), np.float64))
        if np.isnan(values).any():
            raise InputError(f"the density {name} is NaN at {np.isnan(values).sum()} of {values.size} points")
        maps[name] = values.reshape(grid.shape[:2])

    panels = 1 + len(maps)
    size = (PANEL_INCHES * panels + 0.7, PANEL_INCHES + 0.75)
    figure = Figure(figsize=size, dpi=FIGURE_DPI, layout="constrained")
    all_axes = np.atleast_1d(figure.subplots(1, panels, sharex=True, sharey=True))
    figure.suptitle(title, fontsize=11)
    shown = points[:SHOWN_POINTS]
    all_axes[0].scatter(*shown.T, s=1.0, color="#333333", linewidth=0, rasterized=True)
    all_axes[0].set_title(f"data ({len(shown):,} rows)", fontsize=10)
    brightest = max(np.quantile(values, BRIGHTEST) for values in maps.values())
    images = []
    for axes, (name, values) in zip(all_axes[1:], maps.items(), strict=True):
        image = axes.imshow(
            values,
            extent=(low[0], high[0], low[1], high[1]),
            origin="lower",
            cmap=matplotlib.colormaps["Blues"],
            vmin=0.0,
            vmax=brightest,
            interpolation="nearest",
        )
        images.append(image)
        axes.set_title(name, fontsize=10)
    for axes in all_axes:
        axes.set_aspect("equal")
        axes.set_xlabel(feature_names[0])
    all_axes[0].set_ylabel(feature_names[1])
    figure.colorbar(images[-1], ax=list(all_axes), label="density", extend="max", shrink=0.85, pad=0.01)
    return figure
