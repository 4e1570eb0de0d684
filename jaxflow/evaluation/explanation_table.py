"""The reasons of some rows, and what would have to change in them, as tables."""

from collections.abc import Sequence

import numpy as np

from jaxflow.detection.explain.counterfactual import Counterfactual
from jaxflow.detection.explain.explanation import Explanation
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


def counterfactual_table(found: Counterfactual, rows: Sequence[int]) -> tuple[tuple[str, ...], list[tuple[Cell, ...]]]:
    """Header and rows of a table of what would have to change for each row to pass, what changes most first.

    Args:
        found: of flagged rows.
        rows: what each is called: its number, counted from 1.
    """
    top = found.top(REASONS)
    places = ("most", "second", "third")[: max(map(len, top), default=0)]
    lines: list[tuple[Cell, ...]] = []
    for row, score, changes, total in zip(rows, found.scores, top, np.sum(found.changed, axis=1), strict=True):
        cells = [*map(str, changes), *[""] * (len(places) - len(changes))]
        lines.append((str(row), float(score), *cells, str(total - len(changes))))
    return ("row", "score then", *places, "further columns"), lines
