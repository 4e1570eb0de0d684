"""Codes that are made of digits, as 01234 is: two of them would be one number."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from jaxflow.data.columns.cells import MOST_EXACT

_PADDED = re.compile(r"[+-]?0+\d+", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


def some_padded(columns: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """The places of columns in which some whole number begins with a zero."""
    return tuple(place for place, cells in enumerate(columns) if any(_PADDED.fullmatch(cell.strip()) for cell in cells))


def places_of_large(values: Float64[np.ndarray, "rows columns"]) -> list[int]:
    """The places of columns with numbers so large that float64 may round them."""
    if not ((values >= MOST_EXACT).any() or (values <= -MOST_EXACT).any()):
        return []
    return np.flatnonzero((np.abs(values) >= MOST_EXACT).any(axis=0)).tolist()


def first_padded_again(column: Iterable[pa.Array]) -> tuple[int, str, str] | None:
    """The first row, from 1, of a whole number that is written with other zeros above, its text, and the one above."""
    known: dict[str, str] = {}
    rows = 0
    for part in column:
        cells = part.dictionary_encode()
        found = [cell.strip() for cell in cells.dictionary.to_pylist()]
        for place, text in enumerate(found):  # in the order in which they come
            if _WHOLE.fullmatch(text):
                sign = "-" if text[0] == "-" else ""
                other = known.setdefault(sign + (text.lstrip("+-0") or "0"), text)
                if other.lstrip("+-") != text.lstrip("+-"):
                    return rows + cells.indices.to_pylist().index(place) + 1, text, other
        rows += len(part)
    return None


def first_rounded(column: Iterable[pa.Array]) -> tuple[int, str] | None:
    """The first row, from 1, of a whole number that is another one as float64, and its text."""
    rows = 0
    for part in column:
        for row, cell in enumerate(part.to_pylist()):
            text = cell.strip()
            if len(text) > 15 and _WHOLE.fullmatch(text) and len(text) < 300 and int(float(text)) != int(text):
                return rows + row + 1, text
        rows += len(part)
    return None
