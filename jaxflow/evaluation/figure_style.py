"""The look of every figure, in one place: size, fonts, colours, and how a figure reaches the disk.

Figures are plain `matplotlib.figure.Figure` objects: pyplot, which keeps every figure alive and may ask for a display,
is never involved. The colours are those of Okabe and Ito (2008), "Color Universal Design", told apart under the common
forms of colour blindness; what differs in colour also differs in line style, hatching or marker.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure

from jaxflow.atomic_write import replacing
from jaxflow.errors import InputError

NORMAL_COLOR = "#0072B2"
ANOMALY_COLOR = "#D55E00"
THRESHOLD_COLOR = "#000000"
REFERENCE_COLOR = "#767676"
CURVE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CURVE_LINE_STYLES = ("-", "--", "-.", ":")

FIGURE_INCHES = (6.0, 4.0)
FIGURE_DPI = 150
LEGEND_LINE_INCHES = 0.19
SMALL_FONT = 9.0
TITLE_FONT = 11.0

# A decorator: the figure is made under this style, and the style of whoever asked for it stays untouched.
styled = matplotlib.rc_context(
    {
        "font.family": "sans-serif",
        "font.size": SMALL_FONT,
        "axes.titlesize": TITLE_FONT,
        "axes.labelsize": 10.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.labelsize": SMALL_FONT,
        "ytick.labelsize": SMALL_FONT,
        "legend.fontsize": SMALL_FONT,
        "legend.title_fontsize": SMALL_FONT,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "hatch.linewidth": 0.8,
    }
)


def new_axes(title: str, x_label: str, y_label: str, notes: Sequence[str] = ()) -> tuple[Figure, Axes]:
    """An empty figure with one pair of labelled axes; each note is a line of small print under the title."""
    figure = Figure(figsize=FIGURE_INCHES, dpi=FIGURE_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, pad=8 + 12 * len(notes))
    if notes:
        axes.annotate(
            "\n".join(notes),
            (0.5, 1),
            (0, 5),
            "axes fraction",
            "offset points",
            ha="center",
            va="bottom",
            color="#444444",
        )
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    # Ticks are made when the figure is drawn, which is after the style has gone.
    axes.tick_params(labelsize=SMALL_FONT)
    return figure, axes


def add_legend(
    figure: Figure, handles: Sequence[Artist | Container] | None = None, columns: int = 2, title: str | None = None
) -> None:
    """A legend below the axes, where it never covers data; a long one makes the figure taller."""
    if handles is None:
        handles = figure.axes[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=title)
    lines = -(-len(handles) // columns) + (title is not None)
    figure.set_figheight(FIGURE_INCHES[1] + LEGEND_LINE_INCHES * max(lines - 2, 0))


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, replacing the file as a whole.

    The file holds no date and no program's name, so the same figure gives the same bytes.

    Raises:
        InputError: when the name does not end in `.png`, or the operating system refuses to write there.
    """
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path} does not end in .png: figures are written as PNG only")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi="figure", metadata={"Software": None})
