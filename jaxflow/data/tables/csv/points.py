"""Points that may stand between thousands: where 312 and 1.234 are in one column, both may be whole amounts."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Float64

from jaxflow.data.tables.csv.numbers import EMPTY, WHOLE

pc: Any = pyarrow.compute  # makes its functions when it is imported, so that no checker of types knows them
_CLOSE = 1e-6  # of a number times 1,000 to a whole one, which it is if it has three decimals


class Points:
    """Columns whose points may be between thousands, by the numbers that a point before fractions makes of them.

    Args:
        places: the columns known to hold such cells; of others round thousands, as 1.000, do not show in the numbers.
    """

    def __init__(self, places: Iterable[int]):
        self._told = False
        self._places = set(places)

    def look(self, values: Float64[np.ndarray, "rows columns"]) -> None:
        """See the next rows of all columns: any other fraction than of three decimals tells what the point is."""
        if self._told:
            return
        fractions = (values != np.rint(values)) & ~np.isnan(values)
        if not fractions.any():
            return
        amounts = np.abs(values[fractions])
        grouped = (amounts >= 1) & (amounts < 1000) & (np.abs(1000 * amounts - np.rint(1000 * amounts)) < _CLOSE)
        self._told = not grouped.all()
        self._places |= set(np.flatnonzero(fractions.any(axis=0)).tolist())

    def doubtful(self) -> list[int]:
        """The places of the columns whose cells have to be looked at."""
        return [] if self._told else sorted(self._places)


def first_in_doubt(column: Iterable[pa.Array]) -> tuple[int, str] | None:
    """The first cell with a point, and its row from 1, in a column of which some cells have one and some have none.

    None if a cell is anything but a whole number in groups of three digits.
    """
    found, plain, rows = None, False, 0
    for part in column:
        cells = pc.utf8_trim_whitespace(part)
        grouped = pc.match_substring(cells, ".")
        filled = cells.filter(pc.invert(pc.is_in(cells, pa.array(sorted(EMPTY), cells.type))))
        if not pc.all(pc.match_substring_regex(filled, f"^(?:{WHOLE})$"), min_count=0).as_py():
            return None
        plain = plain or not pc.all(pc.match_substring(filled, "."), min_count=0).as_py()
        place = pc.index(grouped, True).as_py()
        if found is None and place >= 0:
            found = rows + place + 1, cells[place].as_py()
        rows += len(cells)
    return found if plain else None
