"""Numbers as people and programs write them into CSV files: with a decimal point or comma, in groups of thousands."""

import contextlib
import datetime
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from pyarrow import csv

from jaxflow.data.columns.categories import as_number

Decimal: TypeAlias = Literal[".", ","]

EMPTY = frozenset(csv.ConvertOptions().null_values)
"""What a cell may hold to count as empty in a column of numbers."""

FEWEST_GROUPED = 5  # cells with one point, three digits behind each, that may be thousands

_GROUPED = {
    ".": re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", re.ASCII),
    ",": re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?", re.ASCII),
}
WHOLE = r"[+-]?(0|[1-9]\d{0,2}(\.\d{3})*)"
"""A whole number, with points between its thousands."""

_GROUPED_WHOLE = re.compile(WHOLE, re.ASCII)


def cell_number(text: str, decimal: Decimal) -> float | None:
    """The finite number that a cell is, where `decimal` stands before its fraction, or None.

    The other of point and comma may divide the digits before the fraction into groups of three.
    """
    text = text.strip()
    if decimal == "." and "," not in text:
        return as_number(text)
    if _GROUPED[decimal].fullmatch(text):
        text = text.replace("," if decimal == "." else ".", "")
    elif (decimal == ".") or "." in text:
        return None
    return as_number(text.replace(",", "."))


def is_time(text: str) -> bool:
    """Whether a cell is a date, a time or both, written as ISO 8601 has it."""
    for kind in (datetime.datetime, datetime.time):
        with contextlib.suppress(ValueError):
            kind.fromisoformat(text.strip())
            return True
    return False


def is_ambiguous(text: str) -> bool:
    """Whether a cell is one number with a decimal comma and another with a comma between thousands."""
    return cell_number(text, ".") is not None and "," in text and cell_number(text, ",") is not None


def maybe_thousands(columns: Sequence[Sequence[str]]) -> tuple[int, str] | None:
    """The first column whose points may all stand between thousands, though they may stand before fractions as well.

    So it is if all of its cells, five at least, are whole numbers in groups of three digits with a point, such as
    51.358. Whether other cells show what a point is, `decimal_of` says.

    Returns:
        Its place and a cell of it.
    """
    for place, column in enumerate(columns):
        filled = [cell.strip() for cell in column if cell.strip() not in EMPTY]
        if len(filled) >= FEWEST_GROUPED and all("." in cell and _GROUPED_WHOLE.fullmatch(cell) for cell in filled):
            return place, filled[0]
    return None


def some_grouped(columns: Sequence[Sequence[str]]) -> list[int]:
    """The places of columns of whole numbers of which some, but not all, are in groups of three digits by points."""
    found = []
    for place, column in enumerate(columns):
        filled = [cell.strip() for cell in column if cell.strip() not in EMPTY]
        points = sum("." in cell for cell in filled)
        if 0 < points < len(filled) and all(map(_GROUPED_WHOLE.fullmatch, filled)):
            found.append(place)
    return found


def decimal_of(columns: Sequence[Sequence[str]]) -> tuple[Decimal, bool]:
    """Return the mark before the fraction of numbers, and whether that is sure.

    Args:
        columns: the cells of each column, which may hold other things than numbers.

    Returns:
        A comma if some cells are numbers only with one, and none is a number only with a point. Not sure if no cell is
        a number with one of the two only.
    """
    if not any("," in cell or cell.count(".") > 1 for cells in columns for cell in cells):
        shown = (cell for cells in columns for cell in cells if "." in cell)
        return ".", any(cell_number(cell, ".") is not None and cell_number(cell, ",") is None for cell in shown)
    points = commas = 0
    for cells in columns:
        filled = [cell for cell in cells if cell.strip() not in EMPTY]
        read = [(cell_number(cell, ".") is not None, cell_number(cell, ",") is not None) for cell in filled]
        if all(point or comma for point, comma in read):
            points += sum(point and not comma for point, comma in read)
            commas += sum(comma and not point for point, comma in read)
    return ("," if commas and not points else "."), bool(points or commas)
