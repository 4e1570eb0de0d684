"""The figures of `adbench_study.py`: means with intervals, critical differences, contamination."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from adbench.comparison import FLOW, JAXFLOW, METRICS, OTHERS, PUBLISHED, Comparison, Contaminated, Method
from adbench.statistics import cliques, critical_difference, interval, ranks, resampled_means
from jaxflow.evaluation.figure_style import (
    ANOMALY_COLOR,
    CURVE_COLORS,
    CURVE_LINE_STYLES,
    FIGURE_DPI,
    NORMAL_COLOR,
    REFERENCE_COLOR,
    SMALL_FONT,
    styled,
)

DRAWN = ("roc_auc", "pr_auc")
WIDTH = 8.0  # inches, of which a README shows all
ROW = 0.23  # inches for a line of text
GREEN = CURVE_COLORS[2]
# Colour and marker by where figures come from; the default stands out.
LOOKS = {
    "default": (ANOMALY_COLOR, "D", "jaxflow, default"),
    JAXFLOW: (NORMAL_COLOR, "o", "jaxflow, other detectors"),
    OTHERS: (GREEN, "s", "others, run here"),
    PUBLISHED: (REFERENCE_COLOR, "^", "published"),
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
PUBLISHED_FLOW = "PlanarFlow"


@styled
def plot_means(comparison: Comparison) -> Figure:
    """Mean ROC-AUC and PR-AUC of each method as points with their 95 % intervals, the highest ROC-AUC on top."""
    order = np.argsort(-comparison.values["roc_auc"].mean(axis=0), kind="stable")
    comparison = comparison.of([comparison.methods[index] for index in order])
    count, sets = len(comparison.methods), len(comparison.sets)
    figure = Figure(figsize=(WIDTH, ROW * count + 1.5), dpi=FIGURE_DPI, layout="constrained")
    panels = figure.subplots(1, len(DRAWN), sharey=True)
    figure.suptitle(f"Mean over {sets} data sets of ADBench, learned from normal rows", fontsize=11)
    places = np.arange(count)
    for axes, metric in zip(panels, DRAWN, strict=True):
        values = comparison.values[metric]
        means, (low, high) = values.mean(axis=0), interval(resampled_means(values))
        axes.axvline(means[_default(comparison)], color=ANOMALY_COLOR, linewidth=0.8, linestyle=":")
        for place, method, mean, least, most in zip(places, comparison.methods, means, low, high, strict=True):
            color, marker, _ = LOOKS[_look(method)]
            axes.plot([least, most], [place, place], color=color, linewidth=1.2, alpha=0.6)
            axes.plot(mean, place, color=color, marker=marker, markersize=5.5)
        axes.set_xlabel(f"{METRICS[metric]} (%)")
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=SMALL_FONT)
    panels[0].set_yticks(places, [_name(method) for method in comparison.methods])
    panels[0].set_ylim(count - 0.4, -0.6)
    for text, method in zip(panels[0].get_yticklabels(), comparison.methods, strict=True):
        _write(text, method)
    _legend(figure, comparison)
    return figure


@styled
def plot_critical_difference(comparison: Comparison) -> Figure:
    """Mean ranks on an axis, names beside it, and a bar under those that the Nemenyi test does not tell apart.

    One panel a metric. Ranks are those among the methods given (Demšar 2006, figure 1).
    """
    count, sets = len(comparison.methods), len(comparison.sets)
    difference = critical_difference(count, sets)
    found = {metric: ranks(comparison.values[metric]).mean(axis=0) for metric in DRAWN}
    bars = {metric: cliques(means, difference) for metric, means in found.items()}
    rows = [len(bars[metric]) * 0.6 + (count + 1) // 2 + 3.8 for metric in DRAWN]
    figure = Figure(figsize=(WIDTH, ROW * sum(rows) + 0.4), dpi=FIGURE_DPI, layout="constrained")
    panels = figure.subplots(len(DRAWN), 1, height_ratios=rows)
    for axes, metric, height in zip(panels, DRAWN, rows, strict=True):
        axes.set_title(f"Mean rank by {METRICS[metric]}, {count} methods on {sets} data sets; left is better")
        _draw_ranks(axes, comparison.methods, found[metric], bars[metric], difference, height)
    _legend(figure, comparison)
    return figure


def _draw_ranks(
    axes: Axes,
    methods: tuple[Method, ...],
    means: Float[np.ndarray, "methods"],
    bars: list[tuple[float, float]],
    difference: float,
    height: float,
) -> None:
    """One panel; a unit downwards is a line of text."""
    first, last = float(np.floor(means.min())), float(np.ceil(means.max()))
    if last - first < difference:
        first, last = 1.0, float(len(means))  # where the bar for the difference has room
    span = last - first
    axes.set_axis_off()
    # Names take three tenths of the width on either side.
    axes.set_xlim(first - 0.75 * span, last + 0.75 * span)
    axes.set_ylim(height - 2.4, -2.4)
    axes.plot([first, last], [0, 0], color="black", linewidth=1.2)
    step = max(1, int(np.ceil(span / 10)))
    for tick in np.arange(first, last + 0.5, step):
        axes.plot([tick, tick], [0, -0.25], color="black", linewidth=1.2)
        axes.text(tick, -0.35, f"{tick:g}", ha="center", va="bottom", fontsize=SMALL_FONT)
    start = first
    axes.plot([start, start + difference], [-1.75, -1.75], color="black", linewidth=1.8, marker="|", markersize=6)
    axes.text(start - 0.02 * span, -1.75, f"CD = {difference:.2f}", ha="right", va="center", fontsize=SMALL_FONT)
    for index, (low, high) in enumerate(bars):
        place = 0.5 + 0.6 * index
        axes.plot([low - 0.008 * span, high + 0.008 * span], [place, place], color="black", linewidth=3.2)
    order = np.argsort(means, kind="stable")
    half = (len(order) + 1) // 2
    below = 1.2 + 0.6 * len(bars)
    sides = ((order[:half], first - 0.04 * span, "right"), (order[half:][::-1], last + 0.04 * span, "left"))
    for side, edge, align in sides:
        for row, index in enumerate(side):
            color = LOOKS[_look(methods[index])][0]
            place, rank = below + row, float(means[index])
            axes.plot([rank, rank, edge], [0, place, place], color=color, linewidth=0.9)
            parts = (_name(methods[index]), f"{rank:.1f}")
            shown = "  ".join(parts if align == "right" else parts[::-1])
            text = axes.text(edge + (-0.01 if align == "right" else 0.01) * span, place, shown, ha=align, va="center")
            text.set_fontsize(SMALL_FONT)
            _write(text, methods[index])


@styled
def plot_contamination(found: Contaminated) -> Figure:
    """Mean ROC-AUC and PR-AUC against the share of anomalies among the training rows, a line a detector."""
    figure = Figure(figsize=(WIDTH, 4.0 + ROW * ((len(found.methods) + 2) // 3)), dpi=FIGURE_DPI, layout="constrained")
    panels = figure.subplots(1, len(DRAWN))
    figure.suptitle(f"Anomalies among the rows learned from, means over {len(found.sets)} data sets", fontsize=11)
    for axes, metric in zip(panels, DRAWN, strict=True):
        for index, (method, means) in enumerate(zip(found.methods, found.values[metric].mean(axis=0), strict=True)):
            axes.plot(
                found.rates,
                means,
                label=method.label,
                color=CURVE_COLORS[index % len(CURVE_COLORS)],
                linestyle=CURVE_LINE_STYLES[index % len(CURVE_LINE_STYLES)],
                marker=MARKERS[index % len(MARKERS)],
                markersize=4.5,
            )
        axes.set_xticks(found.rates)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("anomalies among the training rows")
        axes.set_ylabel(f"{METRICS[metric]} (%)")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.tick_params(labelsize=SMALL_FONT)
    figure.legend(handles=panels[0].get_legend_handles_labels()[0], loc="outside lower center", ncols=3)
    return figure


def _default(comparison: Comparison) -> int:
    return [_look(method) for method in comparison.methods].index("default")


def _look(method: Method) -> str:
    return "default" if method.name == FLOW and method.source == JAXFLOW else method.source


def _name(method: Method) -> str:
    if method.source == PUBLISHED and method.name == PUBLISHED_FLOW:
        return f"normalizing flow ({PUBLISHED_FLOW})"
    return method.label


def _write(text, method: Method) -> None:
    """A name in the colour of where its figures come from."""
    text.set_color(LOOKS[_look(method)][0] if method.source != PUBLISHED else "#444444")
    if _look(method) == "default":
        text.set_fontweight("bold")


def _legend(figure: Figure, comparison: Comparison) -> None:
    looks = [look for look in LOOKS if look in {_look(method) for method in comparison.methods}]
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5.5, linewidth=1.2, label=label)
        for color, marker, label in (LOOKS[look] for look in looks)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
