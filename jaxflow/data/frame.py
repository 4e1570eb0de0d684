"""Rows of numbers and texts, from wherever they come, as one matrix."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Shaped

from jaxflow.data.dataset import require_distinct
from jaxflow.errors import InputError


@dataclass(frozen=True, eq=False)
class Frame:
    """Named columns as one matrix of float64.

    Attributes:
        x: one row an observation. A column of texts holds the places of its texts in `categories`; NaN stands for a
            value that is missing.
        names: the columns, all different.
        categories: the texts of each column of texts, all different.
    """

    x: Float64[np.ndarray, "n columns"]
    names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> "Frame":
        """Some of the rows: a slice, a mask or their numbers."""
        return Frame(self.x[rows], self.names, self.categories)

    def pick(self, names: Sequence[str]) -> "Frame":
        """Some of the columns, in this order."""
        if tuple(names) == self.names:
            return self
        places = {name: place for place, name in enumerate(self.names)}
        x = self.x[:, [places[name] for name in names]]
        return Frame(x, tuple(names), {name: self.categories[name] for name in names if name in self.categories})

    def renamed(self, names: Sequence[str]) -> "Frame":
        """The same columns under other names."""
        new = dict(zip(self.names, names, strict=True))
        return Frame(self.x, tuple(names), {new[name]: texts for name, texts in self.categories.items()})

    def text(self, row: int, column: str) -> str:
        """One cell as a reader would write it; empty where it is missing."""
        value = self.x[row, self.names.index(column)]
        if np.isnan(value):
            return ""
        return self.categories[column][int(value)] if column in self.categories else f"{value:.6g}"


def is_table(X: Any) -> bool:
    """Whether this is a table with column names and types: of pandas, polars, pyarrow or what speaks Arrow's tongue."""
    return isinstance(X, Frame | pa.Table | pa.RecordBatch) or hasattr(X, "__arrow_c_stream__") or _is_lazy(X)


def as_frame(X: Any, names: Sequence[str] | None = None) -> Frame:
    """Rows as a `Frame`.

    Args:
        X: a `Frame`, a table of pandas, polars or pyarrow, or an array (n, columns) of numbers, or of objects that are
            numbers, texts or None.
        names: the columns of an array; x0, x1, ... by default.

    Raises:
        InputError: if a column holds neither numbers nor texts, or two have one name.
    """
    if isinstance(X, Frame):
        return X
    if is_table(X):
        return _from_arrow(arrow_table(X))
    array = np.asarray(X)
    if array.ndim != 2:
        raise InputError(f"X has shape {array.shape}, expected (rows, columns)")
    names = tuple(f"x{index}" for index in range(array.shape[1])) if names is None else tuple(names)
    if array.dtype.kind in "fiub":
        return Frame(array.astype(np.float64), names)
    columns = [_values(_from_objects(array[:, place], name), name) for place, name in enumerate(names)]
    return _joined(columns, names, len(array))


def number_text(value: Any) -> str:
    """A number that stands for a category, as text: 3 and 3.0 are the same."""
    return str(int(value)) if math.isfinite(value) and float(value).is_integer() else repr(float(value))


def category_text(cell: Any) -> str:
    """The category of a cell: its text without blanks around it; 3, 3.0, "3" and " 3.0" are all "3"."""
    if not isinstance(cell, str):
        return number_text(cell)
    number = as_number(cell.strip())
    return cell.strip() if number is None else number_text(number)


_TRUTHS = (("1", "true", "True", "TRUE"), ("0", "false", "False", "FALSE"))


def places_by_text(texts: Sequence[str]) -> dict[str, float]:
    """The place of each category by its `category_text`.

    True and false are written in several ways, and tables of some kinds have 1 and 0 for them: each way stands for the
    category that is written in another, unless there are several of these, or other numbers beside.
    """
    places = {category_text(text): float(place) for place, text in enumerate(texts)}
    if all(as_number(text) in (None, 0.0, 1.0) for text in places):
        for ways in _TRUTHS:
            known = [places[way] for way in ways if way in places]
            if len(known) == 1:
                places |= dict.fromkeys(ways, known[0])
    return places


def is_blank(cell: Any) -> bool:
    """Whether a cell of texts is missing: null, or blank, which is how CSV files write null."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def as_number(text: str) -> float | None:
    """The finite number that a text is, or None; Python's 1_000 and digits of other scripts are none."""
    if "_" in text or not text.isascii():
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def as_text(array: Any) -> Any:
    """An Arrow column of texts, of categories, or of numbers that stand for some."""
    if is_text(array.type) or pa.types.is_null(array.type):
        return array
    if not is_number(array.type):
        return pc.cast(array, pa.large_string())
    values = pc.cast(array, pa.float64(), safe=False).to_pylist()
    return pa.array([None if value is None else number_text(value) for value in values], pa.large_string())


def coded(array: Any) -> tuple[Float64[np.ndarray, "n"], tuple[str, ...]]:
    """The texts of an Arrow column in ascending order, and for each cell its place among them.

    NaN where it is null or blank.
    """
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    found = [str(cell) for cell in encoded.dictionary.to_pylist()]
    texts = tuple(sorted({cell for cell in found if not is_blank(cell)}))
    place = {cell: float(number) for number, cell in enumerate(texts)}
    # Last the place of null, which has no index.
    table = np.array([place.get(cell, np.nan) for cell in found] + [np.nan])
    return table[np.asarray(pc.fill_null(encoded.indices, len(found)).to_numpy(zero_copy_only=False))], texts


def arrow_table(X: Any) -> pa.Table:
    """A table of pandas, polars or pyarrow as one of Arrow, without what pandas adds for the index of its rows.

    Raises:
        InputError: if it cannot be read as a table, or its rows are yet to be computed.
    """
    if _is_lazy(X):
        raise InputError("X is a LazyFrame, whose rows are yet to be computed, expected a table: give X.collect()")
    if is_pandas(X):
        # Column by column: of a whole frame Arrow would make columns of the index too, and it refuses mixed cells.
        columns = [_from_series(X.iloc[:, place], str(name)) for place, name in enumerate(X.columns)]
        return pa.Table.from_arrays(columns, [str(name) for name in X.columns])
    try:
        table = X if isinstance(X, pa.Table) else pa.table(X)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"X cannot be read as a table: {str(error).splitlines()[0]:.200}") from None
    index = index_columns(table.schema)
    return table.drop_columns([name for name in dict.fromkeys(table.column_names) if name in index])


def is_pandas(X: Any) -> bool:
    """Whether this is a frame of pandas, which is not imported to find out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(X, pandas.DataFrame)


def index_columns(schema: pa.Schema) -> set[str]:
    """The columns that pandas wrote for the index of the rows: their numbers, times or names, not what they hold."""
    unnamed = {name for name in schema.names if name.startswith("__index_level_")}
    try:
        index = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        # An index that only counts is described by an object and has no column.
        return unnamed | {name for name in index if isinstance(name, str)}
    except (KeyError, TypeError, ValueError, RecursionError):  # not of pandas, or whatever a stranger wrote there
        return unnamed


def _is_lazy(X: Any) -> bool:
    """Whether this is a query of polars that has not been carried out."""
    return hasattr(X, "collect_schema") and hasattr(X, "lazy") and not hasattr(X, "__len__")


def _from_series(series: Any, name: str) -> Any:
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):  # cells of several kinds, of which not all may be numbers
        return _from_objects(series.to_numpy(dtype=object, na_value=None), name)


def _from_arrow(table: pa.Table) -> Frame:
    names = tuple(str(name) for name in table.column_names)
    require_distinct(names, "X: column")
    columns = [_values(table.column(place), name) for place, name in enumerate(names)]
    return _joined(columns, names, table.num_rows)


def _values(array: Any, name: str) -> tuple[Float64[np.ndarray, "n"], tuple[str, ...] | None]:
    """The numbers of an Arrow column, or the places of its texts and these."""
    if is_text(array.type):
        return coded(array)
    if is_number(array.type):
        return np.asarray(pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64), None
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan), None
    raise InputError(f"X: column {name} holds {array.type}, expected numbers or texts{instead_of(array.type)}")


def instead_of(kind: pa.DataType) -> str:
    """What to do about an Arrow column that holds neither numbers nor texts, as the end of a sentence."""
    if not pa.types.is_temporal(kind):
        return ""
    return ": make numbers of it, such as columns of the hour and the weekday (kind circular, period 24 and 7)"


def is_number(kind: pa.DataType) -> bool:
    """Whether an Arrow column of this type holds numbers or booleans."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(test(kind) for test in tests)


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow column of this type holds texts, or numbers declared to be categories."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type) or is_number(kind.value_type)
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _from_objects(column: Shaped[np.ndarray, "n"], name: str) -> Any:
    """Cells that are numbers, texts or None as an Arrow column: of numbers, or of texts if there is one."""
    pandas = sys.modules.get("pandas")
    cells = [cell.item() if isinstance(cell, np.generic) else cell for cell in column.tolist()]
    cells = [None if pandas is not None and cell is pandas.NA else cell for cell in cells]
    if all(cell is None or isinstance(cell, int | float) for cell in cells):
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    texts = []
    for row, cell in enumerate(cells):
        if cell is None or (isinstance(cell, float) and np.isnan(cell)):
            texts.append(None)
        elif isinstance(cell, str | int | float):
            texts.append(cell if isinstance(cell, str) else number_text(cell))
        else:
            raise InputError(f"X: row {row + 1}, column {name} is {cell!r:.60}, expected a number or a text")
    return pa.array(texts, pa.large_string())


def _joined(columns: Sequence[tuple[np.ndarray, tuple[str, ...] | None]], names: tuple[str, ...], n: int) -> Frame:
    x = np.empty((n, len(names)))
    for index, (values, _) in enumerate(columns):
        x[:, index] = values
    categories = {name: texts for name, (_, texts) in zip(names, columns, strict=True) if texts is not None}
    return Frame(x, names, categories)
