"""The reasons of some rows as a table."""

from collections.abc import Sequence

from jaxflow.detection.attribution import Explanation, Reason
from jaxflow.evaluation.tables import Cell, format_number

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
        (str(row), float(score), "yes" if score > threshold else "no", *(_reason(reason) for reason in reasons))
        for row, score, reasons in zip(rows, explanation.scores, top, strict=True)
    ]
    return ("row", "score", "flagged", *places), lines


def _reason(reason: Reason) -> str:
    low, high = format_number(reason.normal_low), format_number(reason.normal_high)
    return f"{reason.column} = {format_number(reason.value)} (normal {low} to {high})"
