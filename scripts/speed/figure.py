"""Figure of what a draw costs by number of features."""

import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, NullFormatter, ScalarFormatter

from jaxflow.evaluation.figure_style import (
    CURVE_COLORS,
    CURVE_LINE_STYLES,
    REFERENCE_COLOR,
    add_legend,
    new_axes,
    styled,
)
from speed.tables import Shape, Timing
from speed.work import FLOWS, SAMPLE_ROWS


@styled
def plot_cost_of_draws(timings: Sequence[Timing], shape: Shape) -> Figure:
    """Microseconds a draw against the number of features, one line a library, on logarithmic axes.

    Lines join the medians, bars go from the fastest to the slowest round. Beside them stands what would grow in
    proportion to the features, from jaxflow's first point on.

    Args:
        timings: those of the task `sample`, at two numbers of features or more.
        shape: of the flow.
    """
    hidden = "-".join(map(str, shape.hidden))
    figure, axes = new_axes(
        "Cost of a draw by number of features",
        "features",
        f"time a draw (µs), {SAMPLE_ROWS:,} draws at once",
        [FLOWS[shape.flow], f"{shape.layers} layers, hidden layers {hidden}"],
    )
    timings = sorted(timings, key=lambda timing: timing.dim)
    dims = [timing.dim for timing in timings]
    for index, name in enumerate(timings[0].rates):
        costs = [[1e6 / rate for rate in timing.rates[name]] for timing in timings]
        middle = [statistics.median(cost) for cost in costs]
        spread = [
            [center - min(cost) for center, cost in zip(middle, costs, strict=True)],
            [max(cost) - center for center, cost in zip(middle, costs, strict=True)],
        ]
        style = CURVE_LINE_STYLES[index % len(CURVE_LINE_STYLES)]
        axes.errorbar(
            dims, middle, spread, label=name, color=CURVE_COLORS[index], linestyle=style, marker="o", capsize=3
        )
        if index == 0:
            proportional = [middle[0] * dim / dims[0] for dim in dims]
            axes.plot(
                dims,
                proportional,
                color=REFERENCE_COLOR,
                linestyle=":",
                linewidth=1.2,
                label="proportional to features",
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(dims)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.5)))
    add_legend(figure, axes.get_legend_handles_labels()[0], columns=3)
    return figure
