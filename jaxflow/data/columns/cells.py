"""Arrays, and the cells of arrays of objects, as numbers and texts: one set of rules for whatever is handed in."""

import datetime
import math
import numbers
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float64, Shaped

from jaxflow.data.columns.categories import is_blank, number_text
from jaxflow.errors import InputError

MOST_EXACT = 2**53  # beyond it float64 rounds whole numbers

INSTEAD_OF_TIMES = ": make numbers of it, such as columns of the hour and the weekday (kind circular, period 24 and 7)"


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        values: its numbers, or the places of its texts; NaN where one is missing.
        texts: the texts in ascending order; None in a column of numbers.
        exact: the numbers, where there are whole ones or decimals that float64 rounds.
    """

    values: Float64[np.ndarray, "n"]
    texts: tuple[str, ...] | None = None
    exact: Shaped[np.ndarray, "n"] | None = None


def matrix_of(X: Any) -> Shaped[np.ndarray, "..."]:
    """Return what is no table as an array of numbers, or of objects; its shape is not checked.

    What a mask hides is missing: NaN among numbers, None among objects.

    Raises:
        InputError: if the array cannot hold numbers and texts, or the lists have no common length.
    """
    if scipy.sparse.issparse(X):
        raise InputError(f"X is a sparse matrix of shape {X.shape}, expected a dense one: give X.toarray()")
    if isinstance(X, np.ma.MaskedArray):
        return _unmasked(X)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = X.tolist()
    array = X if isinstance(X, np.ndarray) else _listed(X) if isinstance(X, list | tuple) else _as_array(X)
    kind = array.dtype.kind
    if array.dtype.names is not None:
        fields = ", ".join(array.dtype.names[:5])
        raise InputError(f"X is a structured array of {fields}, expected rows of cells: give pandas.DataFrame(X)")
    if kind in "mM":
        raise InputError(f"X: column x0 holds {array.dtype}, expected numbers or texts{INSTEAD_OF_TIMES}")
    if kind == "c":
        # The three words are scikit-learn's.
        raise InputError(f"Complex data not supported: X holds {array.dtype}, expected real numbers or texts")
    if kind == "S":
        try:
            return np.char.decode(array, "utf-8").astype(object)
        except UnicodeDecodeError:
            raise InputError("X holds bytes that are not UTF-8, expected numbers or texts") from None
    if array.dtype.type is np.void:
        raise InputError(f"X holds {array.dtype}, expected numbers or texts")
    return array.astype(object) if kind in "UT" else array


def column_of(cells: Sequence[Any], name: str) -> Column:
    """Cells that are numbers, texts or None as a column: of numbers, or of texts if there is one.

    Raises:
        InputError: naming the first row, from 1, and the column with a cell that is none of these.
    """
    known = set(map(type, cells))
    if not known <= {float, str, type(None)}:
        cells = [_plain(cell, row, name) for row, cell in enumerate(cells)]
        known = set(map(type, cells))
    if any(issubclass(kind, str) for kind in known):
        return _texts(cells, name)
    values = np.array([np.nan if cell is None else float(cell) for cell in cells], np.float64)
    rounded = not known <= {float, type(None)} and any(map(is_rounded, cells))
    exact = np.array([0 if cell is None else cell for cell in cells], dtype=object) if rounded else None
    return Column(values, None, exact)


def is_rounded(cell: Any) -> bool:
    """Whether a cell is a whole number or a decimal with digits that float64 does not hold."""
    if isinstance(cell, Decimal):
        return Decimal(repr(float(cell))) != cell
    return type(cell) is int and abs(cell) > MOST_EXACT


def is_gap(cell: Any) -> bool:
    """Whether a cell is missing, in any of the ways in which Python, numpy and pandas write that."""
    pandas = sys.modules.get("pandas")
    if cell is None or cell is np.ma.masked or (pandas is not None and (cell is pandas.NA or cell is pandas.NaT)):
        return True
    if isinstance(cell, np.datetime64 | np.timedelta64):
        return bool(np.isnat(cell))
    if isinstance(cell, Decimal):
        return cell.is_nan()
    return isinstance(cell, float | np.floating) and bool(cell != cell)


def require_encodable(text: str, where: str) -> None:
    """Refuse a text with half of a surrogate pair, which no file can hold.

    Raises:
        InputError: `where` followed by the text.
    """
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{where} {text!r:.60}, which UTF-8 cannot hold, expected whole characters") from None


def _unmasked(X: np.ma.MaskedArray) -> Shaped[np.ndarray, "..."]:
    mask = np.ma.getmaskarray(X)
    array = matrix_of(X.data)
    if not mask.any():
        return array
    # What lies under a mask may be of any kind, so that it must not be looked at.
    if array.dtype.kind in "fiub" and (array.dtype.kind == "f" or array.dtype.itemsize < 8):
        return np.where(mask, np.nan, array)
    array = array.astype(object)
    array[mask] = None
    return array


def _listed(X: Any) -> Shaped[np.ndarray, "..."]:
    """Lists of cells, each as it is: numpy would make texts of numbers beside texts."""
    try:
        array = np.array(X, dtype=object)
    except ValueError:  # rows of several lengths, in which there are arrays
        array = np.empty(len(X), dtype=object)
    if array.ndim == 1 and len(array):
        widths = [len(row) if isinstance(row, list | tuple | np.ndarray) else None for row in X]
        if len(set(widths)) > 1:
            row = next(row for row, width in enumerate(widths) if width != widths[0])
            found, expected = ("no cells" if width is None else f"{width} cells" for width in (widths[row], widths[0]))
            raise InputError(f"X: row {row + 1} has {found} and row 1 has {expected}, expected the same number")
        raise InputError(f"X is a list of {type(X[0]).__name__}, expected a list of rows, each of them a list of cells")
    return array


def _as_array(X: Any) -> Shaped[np.ndarray, "..."]:
    try:
        array = np.asarray(X)
    except (TypeError, ValueError) as error:
        raise InputError(f"X cannot be read as an array: {str(error).splitlines()[0]:.200}") from None
    if array.dtype == object and array.ndim < 2:
        raise InputError(f"X is a {type(X).__name__}, expected a table or an array of rows and columns")
    return array


def _plain(cell: Any, row: int, name: str) -> Any:
    """A cell as a text, an int, a float, a Decimal or None."""
    if isinstance(cell, str):
        return cell
    if is_gap(cell):
        return None
    if isinstance(cell, Decimal) and not (cell.is_finite() and math.isinf(float(cell))):
        return cell if cell.is_finite() else float(cell)
    times = datetime.date | datetime.time | datetime.timedelta | np.datetime64 | np.timedelta64
    if isinstance(cell, times) or not isinstance(cell, numbers.Real | np.bool_ | Decimal):
        hint = INSTEAD_OF_TIMES if isinstance(cell, times) else ""
        raise InputError(f"X: row {row + 1}, column {name} is {cell!r:.60}, expected a number or a text{hint}")
    try:
        number = float(cell)
    except OverflowError:
        number = math.inf
    if math.isinf(number) and isinstance(cell, numbers.Rational | Decimal):
        raise InputError(f"X: row {row + 1}, column {name} is a number beyond 1e308, expected a finite number")
    return int(cell) if isinstance(cell, np.bool_ | numbers.Integral) else number


def _texts(cells: Sequence[Any], name: str) -> Column:
    written = []
    for row, cell in enumerate(cells):
        if is_blank(cell):
            written.append(None)
        elif isinstance(cell, str):
            require_encodable(cell, f"X: row {row + 1}, column {name} is")
            written.append(cell)
        else:
            written.append(number_text(cell))
    texts = tuple(sorted({text for text in written if text is not None}))
    place = {text: float(number) for number, text in enumerate(texts)} | {None: np.nan}
    return Column(np.array([place[text] for text in written], np.float64), texts)
