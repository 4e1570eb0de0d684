"""Why the most anomalous rows of a run are that, and what would have to change: tables and a figure for its report."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from matplotlib.figure import Figure

from jaxflow.detection.explain.counterfactual import counterfactual_rows
from jaxflow.detection.explain.explainer import explain_rows
from jaxflow.errors import InputError
from jaxflow.evaluation.explanation_plots import plot_reasons
from jaxflow.evaluation.explanation_table import counterfactual_table, explanation_table
from jaxflow.evaluation.tables import Cell
from jaxflow.experiment.run import Run

TableEntry = tuple[str, Sequence[str], Sequence[Sequence[Cell]]]
DrawnFigure = tuple[str, str, str, Figure]

EXPLAINED = 10  # rows; what would have to change takes some ten scores of each, and three for each column
HEADING = "The most anomalous rows"
CHANGES = "What would have to change for those that are flagged to pass"
CAPTION = (
    "What each column carries of the score of the most anomalous row that is flagged, as rare as its term is among "
    "normal rows; below each name the range of the middle 98 % of these."
)


def run_reasons(run: Run, method: str = "auto") -> tuple[Sequence[TableEntry], Sequence[DrawnFigure]]:
    """The most anomalous test rows with their reasons and, where flagged, the nearest normal point as tables.

    Rows are named by their numbers in the user's data, from 1. The figure is of the first if it is flagged.

    Args:
        run: what happened.
        method: where the reasons come from, see `Detector.explain`.

    Returns:
        Tables as `write_report` takes them; and for each figure its heading, name, caption and itself. Both are empty
        for a detector that was saved before detectors kept normal rows to compare with.
    """
    detector = run.detector
    if getattr(detector, "normal_rows_", None) is None:
        return [], []
    rows = np.argsort(-run.scores, kind="stable")[:EXPLAINED]
    numbers = np.arange(1, len(run.scores) + 1) if run.numbers is None else run.numbers
    explanation = explain_rows(detector, run.x[rows], method=method)
    tables = [(HEADING, *explanation_table(explanation, numbers[rows].tolist(), detector.threshold_))]
    flagged = rows[run.scores[rows] > detector.threshold_]
    if not flagged.size:
        return tables, []
    with suppress(InputError):  # no stored normal row passes, so there is none to be like
        found = counterfactual_rows(detector, run.x[flagged])
        tables.append((CHANGES, *counterfactual_table(found, numbers[flagged].tolist())))
    figure = plot_reasons(explanation, 0, title=f"Why row {numbers[rows[0]]:,} is flagged")
    return tables, [("Reasons", "reasons", CAPTION, figure)]
