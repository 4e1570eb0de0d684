"""Numbers as people and programs write them into CSV files: with a decimal point or comma, in groups of thousands."""

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from pyarrow import csv

from jaxflow.data.categories import as_number

Decimal: TypeAlias = Literal[".", ","]

EMPTY = frozenset(csv.ConvertOptions().null_values)
"""What a cell may hold to count as empty in a column of numbers."""

_GROUPED = {
    ".": re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", re.ASCII),
    ",": re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?", re.ASCII),
}

_DIGITS = r"(\d{1,3}([.,' \u2019\u00a0\u202f]\d{3})+([.,]\d*)?|\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?"
_MONEY = r"([$€£¥₹₽₩₺₴₿¢]|[A-Z]{0,2}\$|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|BRL|zł|kr)"
_UNIT = (
    r"(%|‰|°|°C|°F|[munkMGT]?Hz|[munk]?sec|[munμµ]s|[munkMGT]V|[munkM]A|[mkMG]W|[kMG]?Wh|[kMh]?Pa|m?bar|psi|kg|mg|[munkc]m"
    r"|ml|[KkMGT]i?B|min|rpm|ppm|dB)"
)
_DRESSED = re.compile(
    rf"\(?\s*[+-]?\s*{_MONEY}?\s*[+-]?\s*{_DIGITS}\s*({_MONEY}|{_UNIT})?\s*\)?|'\s*[+-]?{_DIGITS}\s*'", re.ASCII
)


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


def is_ambiguous(text: str) -> bool:
    """Whether a cell is one number with a decimal comma and another with a comma between thousands."""
    return cell_number(text, ".") is not None and "," in text and cell_number(text, ",") is not None


def is_dressed_number(text: str) -> bool:
    """Whether a cell is a number with something about it that a reader of numbers does not take: $12.5, 12 %, 1 234."""
    return _DRESSED.fullmatch(text.strip()) is not None


def decimal_of(columns: Sequence[Sequence[str]]) -> tuple[Decimal, bool]:
    """What stands before the fraction of numbers, and whether that is sure.

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
