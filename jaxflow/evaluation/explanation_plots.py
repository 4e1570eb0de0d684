"""Figures of a decision's reasons."""

import math

import numpy as np
from matplotlib.figure import Figure

from jaxflow.detection.explain.explanation import Explanation
from jaxflow.errors import InputError
from jaxflow.evaluation.figure_style import ANOMALY_COLOR, FIGURE_INCHES, REFERENCE_COLOR, add_legend, new_axes, styled
from jaxflow.evaluation.tables import format_number

MOST_BARS = 10
BAR_INCHES = 0.36  # a bar with its two lines of text
RARE = 0.01  # share of normal rows, drawn as a line
LONGEST_NAME = 20


@styled
def plot_reasons(explanation: Explanation, row: int, *, title: str = "What the score comes from") -> Figure:
    """A bar for each of the columns that carry most of a row's score, by their calibrated terms.

    A bar is as long as -log of the share of normal rows whose term is as high, see `TermScale`. Beside it stand the
    value of the row and the range of the middle 98 % of normal rows. Terms that are infinite, and values never seen,
    are drawn to the edge, hatched, and said to be so.

    Args:
        explanation: of this row and perhaps others.
        row: its number in the explanation, from 0.
        title: of the figure.

    Raises:
        InputError: if there is no such row.
    """
    if not 0 <= row < len(explanation.scores):
        raise InputError(f"row = {row}: expected 0 to {len(explanation.scores) - 1}")
    reasons = explanation.top(MOST_BARS)[row]
    terms = np.array([reason.calibrated for reason in reasons])
    infinite = np.isinf(terms) | np.array([reason.never_seen for reason in reasons])
    rare = -math.log(RARE)
    longest = max(rare, *terms[~infinite]) if (~infinite).any() else rare
    notes = [f"score {format_number(float(explanation.scores[row]))}"]
    left_out = len(explanation.columns) - len(reasons)
    if left_out:
        notes.append(f"{left_out} columns that carry less are left out")
    if infinite.any():
        notes.append(f"hatched: {np.sum(infinite)} beyond all that is seen")
    figure, axes = new_axes(title, "rarity of the term, -log(share)", "column", notes)
    for place, (term, endless) in enumerate(zip(terms, infinite, strict=True)):
        length = 1.15 * longest if endless else term
        hatch = "////" if endless else ""
        axes.barh(place, length, 0.6, facecolor=(ANOMALY_COLOR, 0.4), edgecolor=ANOMALY_COLOR, hatch=hatch)
    line = axes.axvline(
        rare, color=REFERENCE_COLOR, linestyle="--", label=f"at most about {RARE:.0%} of normal rows reach this"
    )
    labels = [f"{_shortened(reason.column)} = {_shortened(reason.shown)}\n{reason.usual}" for reason in reasons]
    axes.set_yticks(range(len(reasons)), labels)
    axes.set_ylim(len(reasons) - 0.4, -0.6)
    axes.set_xlim(0, 1.15 * longest)
    add_legend(figure, [line])
    figure.set_figheight(FIGURE_INCHES[1] + BAR_INCHES * max(len(reasons) - 6, 0))
    return figure


def _shortened(name: str) -> str:
    # Names often begin alike, or end alike.
    return name if len(name) <= LONGEST_NAME else f"{name[:9]}...{name[12 - LONGEST_NAME :]}"
