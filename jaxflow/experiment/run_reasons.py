"""Why the most anomalous rows of a run are that: a table and a figure for its report."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxflow.detection.explainer import explain_rows
from jaxflow.evaluation.explanation_plots import plot_reasons
from jaxflow.evaluation.explanation_table import explanation_table
from jaxflow.evaluation.tables import Cell
from jaxflow.experiment.run import Run

TableEntry = tuple[str, Sequence[str], Sequence[Sequence[Cell]]]
DrawnFigure = tuple[str, str, str, Figure]

EXPLAINED = 10
HEADING = "The most anomalous test rows"
CAPTION = (
    "What each column carries of the score of the most anomalous row that is flagged, as rare as its term is among "
    "normal rows; below each name the range of the middle 98 % of these."
)


def run_reasons(run: Run) -> tuple[Sequence[TableEntry], Sequence[DrawnFigure]]:
    """The table of the most anomalous test rows with their reasons, and the figure of the first if it is flagged.

    Returns:
        Tables as `write_report` takes them; and for each figure its heading, name, caption and itself. Both are empty
        for a detector that was saved before detectors kept normal rows to compare with.
    """
    detector = run.detector
    if getattr(detector, "normal_rows_", None) is None:
        return [], []
    rows = np.argsort(-run.scores, kind="stable")[:EXPLAINED]
    explanation = explain_rows(detector, run.x[rows])
    tables = [(HEADING, *explanation_table(explanation, (rows + 1).tolist(), detector.threshold_))]
    if run.scores[rows[0]] <= detector.threshold_:
        return tables, []
    figure = plot_reasons(explanation, 0, title=f"Why test row {rows[0] + 1:,} is flagged")
    return tables, [("Reasons", "reasons", CAPTION, figure)]
