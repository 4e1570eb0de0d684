"""The reasons of some rows as a table."""

from collections.abc import Sequence

from jaxflow.detection.attribution import Explanation
from jaxflow.evaluation.tables import Cell

REASONS = 3


def explanation_table(
    explanation: Explanation, rows: Sequence[int], threshold: float
) -> tuple[tuple[str, ...], list[tuple[Cell, ...]]]:
    """Header and rows of a table of each row's score and the columns that carry most of it.

    Args:
        explanation: of the rows.
        rows: what each is called: its number, counted from 1.
        threshold: rows with scores above it are flagged.
    """
    top = explanation.top(REASONS)
    places = ("first reason", "second", "third")[: len(explanation.columns)]
    lines: list[tuple[Cell, ...]] = [
        (str(row), float(score), "yes" if score > threshold else "no", *map(str, reasons))
        for row, score, reasons in zip(rows, explanation.scores, top, strict=True)
    ]
    return ("row", "score", "flagged", *places), lines
