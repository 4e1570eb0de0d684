"""Realised false-positive rates by rule, as a figure."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from calibration.tables import MODELS, RATES, RULES, Shares
from jaxflow.evaluation.figure_style import CURVE_COLORS, FIGURE_DPI, SMALL_FONT, styled

NONE = 2e-5  # where sets of which nothing was flagged are drawn, left of all shares
TICKS = {NONE: "0", 1e-4: "0.01 %", 1e-3: "0.1 %", 1e-2: "1 %", 1e-1: "10 %", 1.0: "100 %"}
MARKERS = ("o", "^")
SPREAD = 0.13  # of the points of one row, up and down


@styled
def plot_realised_rates(shares: Shares) -> Figure:
    """One panel a rate, in it a row for each rule and model with a point for each data set.

    Args:
        shares: what `calibration_tables.pooled` returns.
    """
    figure = Figure(figsize=(11.0, 4.4), dpi=FIGURE_DPI, layout="constrained")
    panels = figure.subplots(1, len(RATES), sharey=True)
    figure.suptitle("Share of unseen normal rows flagged, by threshold rule; a point is a data set, a bar the median")
    for axes, rate in zip(panels, RATES, strict=True):
        axes.axvspan(rate / 1.5, rate * 1.5, color="#dddddd", linewidth=0)
        axes.axvline(rate, color="black", linewidth=1.0, linestyle="--")
        for row, rule in enumerate(RULES):
            for index, model in enumerate(MODELS):
                place = row + 0.4 * (index - 0.5)
                values = np.array([shares[model, rule, rate][name] for name in sorted(shares[model, rule, rate])])
                # Points side by side as they come by name: nothing random in a figure.
                offsets = SPREAD * np.resize([-1.0, 0.0, 1.0, -0.5, 0.5], values.size)
                drawn = np.maximum(values, NONE)
                axes.plot(
                    drawn, place + offsets, linestyle="none", marker=MARKERS[index], markersize=4.0, alpha=0.65,
                    color=CURVE_COLORS[index], markeredgewidth=0, label=model if row == 0 else None,
                )  # fmt: skip
                median = max(float(np.median(values)), NONE)
                axes.plot([median, median], [place - 0.19, place + 0.19], color="black", linewidth=2.2)
        axes.set_xscale("log")
        axes.set_xlim(NONE / 1.6, 1.3)
        axes.xaxis.set_major_locator(FixedLocator(list(TICKS)))
        axes.xaxis.set_major_formatter(FixedFormatter(list(TICKS.values())))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(f"{100 * rate:g} % asked for")
        axes.set_xlabel("realised")
        axes.tick_params(labelsize=SMALL_FONT)
    panels[0].set_yticks(range(len(RULES)), RULES)
    panels[0].set_ylim(len(RULES) - 0.5, -0.5)
    handles = panels[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(MODELS) + 1)
    return figure
