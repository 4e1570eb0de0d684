"""Rows of numbers and texts, from wherever they come, as one matrix."""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Shaped

from jaxflow.data.columns.categories import as_number, category_text, is_blank, places_by_text
from jaxflow.data.columns.cells import (
    INSTEAD_OF_TIMES,
    MOST_EXACT,
    Column,
    column_of,
    is_rounded,
    matrix_of,
    require_encodable,
)
from jaxflow.data.dataset import require_distinct
from jaxflow.errors import InputError

__all__ = [
    "Frame",
    "arrow_table",
    "as_cells",
    "as_frame",
    "as_number",
    "category_text",
    "coded",
    "exact_columns",
    "index_columns",
    "instead_of",
    "is_number",
    "is_pandas",
    "is_table",
    "is_text",
    "places_by_text",
]


@dataclass(frozen=True, eq=False)
class Frame:
    """Named columns as one matrix of float64.

    Attributes:
        x: one row an observation. A column of texts holds the places of its texts in `categories`; NaN stands for a
            value that is missing.
        names: the columns, all different.
        categories: the texts of each column of texts, all different.
        exact: the numbers of each column of whole numbers or decimals that x had to round, such as long identifiers;
            any number where one is missing.
        types: what the columns were in a file, in Arrow's words, where that is known.
    """

    x: Float64[np.ndarray, "n columns"]
    names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exact: Mapping[str, Shaped[np.ndarray, "_"]] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> "Frame":
        """Some of the rows: a slice, a mask or their numbers."""
        exact = {name: numbers[rows] for name, numbers in self.exact.items()}
        return Frame(self.x[rows], self.names, self.categories, exact, self.types)

    def pick(self, names: Sequence[str]) -> "Frame":
        """Some of the columns, in this order."""
        if tuple(names) == self.names:
            return self
        place = {name: index for index, name in enumerate(self.names)}
        x = self.x[:, [place[name] for name in names]]
        categories = {name: self.categories[name] for name in names if name in self.categories}
        exact = {name: self.exact[name] for name in names if name in self.exact}
        return Frame(x, tuple(names), categories, exact, self.types)

    def renamed(self, names: Sequence[str]) -> "Frame":
        """Return these columns under other names."""
        new = dict(zip(self.names, names, strict=True))
        categories = {new[name]: texts for name, texts in self.categories.items()}
        exact = {new[name]: cells for name, cells in self.exact.items()}
        types = {new[name]: kind for name, kind in self.types.items() if name in new}
        return Frame(self.x, tuple(names), categories, exact, types)

    def text(self, row: int, column: str) -> str:
        """One cell as a reader would write it; empty where it is missing."""
        value = self.x[row, self.names.index(column)]
        if np.isnan(value):
            return ""
        if column in self.exact:
            return str(self.exact[column][row])
        return self.categories[column][int(value)] if column in self.categories else f"{value:.6g}"


def is_table(X: Any) -> bool:
    """Whether this is a table with column names and types: of pandas, polars, pyarrow or what speaks Arrow's tongue."""
    return isinstance(X, Frame | pa.Table | pa.RecordBatch) or hasattr(X, "__arrow_c_stream__") or _is_lazy(X)


def as_frame(
    X: Any, names: Sequence[str] | None = None, *, textual: Collection[int] = (), learned: bool = False
) -> Frame:
    """Rows as a `Frame`.

    Args:
        X: a `Frame`, a table of pandas, polars or pyarrow, or an array (n, columns) of numbers, or of objects that are
            numbers, texts or None. An array of nothing but texts that are numbers holds these numbers.
        names: the columns of an array; x0, x1, ... by default.
        textual: places of the columns that hold texts in an array of nothing but texts that are numbers, too.
        learned: whether the columns are learned from these rows, so that in such an array texts that differ must not be
            one number.

    Raises:
        InputError: if a column holds neither numbers nor texts, or two have one name; it names the row, from 1, and the
            column where one cell is to blame.
    """
    if isinstance(X, Frame):
        return X
    if is_table(X):
        return _from_arrow(arrow_table(X))
    array = matrix_of(X)
    if array.ndim != 2:
        raise InputError(f"X has shape {array.shape}, expected (rows, columns)")
    names = tuple(f"x{index}" for index in range(array.shape[1])) if names is None else tuple(names)
    if array.dtype.kind in "fiub":
        with np.errstate(over="ignore"):  # of longer floats: they are infinite then
            x = array.astype(np.float64)
        return Frame(x, names, {}, exact_columns(array, names))
    columns = [array[:, place].tolist() for place in range(len(names))]
    if all(_is_number_text(cell) for cells in columns for cell in cells):
        for place, cells in enumerate(columns):
            if learned and place not in textual:
                _require_spelled_alike(cells, names[place])
        columns = [
            cells if place in textual else [None if is_blank(cell) else float(cell) for cell in cells]
            for place, cells in enumerate(columns)
        ]
    return _joined([column_of(cells, name) for cells, name in zip(columns, names, strict=True)], names, len(array))


def _is_number_text(cell: Any) -> bool:
    return isinstance(cell, str) and (is_blank(cell) or as_number(cell.strip()) is not None)


def _require_spelled_alike(cells: Sequence[str], name: str) -> None:
    """Check that no number is written in two ways, as codes such as 01234 and 1234 are.

    Raises:
        InputError: naming the first row, from 1, whose text differs from an earlier one that is the same number.
    """
    known: dict[float, str] = {}
    for row, cell in enumerate(cells):
        if is_blank(cell):
            continue
        text = cell.strip()
        other = known.setdefault(float(text), text)
        if other != text:
            raise InputError(
                f"X: row {row + 1}, column {name} is {text!r:.60}, expected another number than that of the text "
                f"{other!r:.60} above it: say that these are codes (columns.types.{name} = categorical), or give "
                "numbers (X.astype(float))"
            )


def exact_columns(array: Shaped[np.ndarray, "n columns"], names: Sequence[str]) -> dict[str, Shaped[np.ndarray, "n"]]:
    """The columns of an array of whole numbers that float64 would round."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return {}
    rounded = ((array > MOST_EXACT) | (array < -MOST_EXACT if array.dtype.kind == "i" else False)).any(axis=0)
    return {names[place]: array[:, place] for place in np.flatnonzero(rounded).tolist()}


def as_cells(array: Any) -> Any:
    """An Arrow column of texts, of categories, or of numbers, as one whose cells can be told apart."""
    if pa.types.is_float16(array.type):
        return pc.cast(array, pa.float32())
    if is_text(array.type) or is_number(array.type) or pa.types.is_null(array.type):
        return array
    return pc.cast(array, pa.large_string())


def coded(array: Any) -> Column:
    """The texts of an Arrow column in ascending order, and for each cell its place among them.

    NaN where it is null or blank.
    """
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    cells = encoded.dictionary.to_pylist()
    found = [cell if isinstance(cell, str) or is_blank(cell) else category_text(cell) for cell in cells]
    texts = tuple(sorted({cell for cell in found if not is_blank(cell)}))
    place = {cell: float(number) for number, cell in enumerate(texts)}
    # Last the place of null, which has no index.
    table = np.array([place.get(cell, np.nan) for cell in found] + [np.nan])
    return Column(table[np.asarray(pc.fill_null(encoded.indices, len(found)).to_numpy(zero_copy_only=False))], texts)


def arrow_table(X: Any) -> pa.Table:
    """A table of pandas, polars or pyarrow as one of Arrow, without what pandas adds for the index of its rows.

    Raises:
        InputError: if it cannot be read as a table, or its rows are yet to be computed.
    """
    if _is_lazy(X):
        raise InputError("X is a LazyFrame, whose rows are yet to be computed, expected a table: give X.collect()")
    if is_pandas(X):
        if X.columns.nlevels > 1:
            raise InputError(
                f"X: the names of the columns have {X.columns.nlevels} levels, expected one: X.columns.map(str) has"
            )
        # Column by column: of a whole frame Arrow would make columns of the index too, and it refuses mixed cells.
        names = [str(name) for name in X.columns]
        for name in names:
            require_encodable(name, "X: there is a column")
        columns = [_from_series(X.iloc[:, place], name) for place, name in enumerate(names)]
        return pa.Table.from_arrays(columns, names)
    try:
        table = X if isinstance(X, pa.Table) else pa.table(X)
    except (pa.ArrowException, TypeError, ValueError) as error:
        for name, kind in getattr(X, "schema", {}).items():
            if str(kind) in ("Int128", "UInt128"):
                raise InputError(
                    f"X: column {name} holds {kind}, expected numbers of at most 64 bits or floats"
                ) from None
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
    except (
        pa.ArrowException,
        TypeError,
        ValueError,
        ArithmeticError,
    ):  # cells of several kinds, or too large for Arrow
        return _to_arrow(column_of(series.to_numpy(dtype=object).tolist(), name))


def _to_arrow(column: Column) -> Any:
    """A column for a table of Arrow."""
    gap = np.isnan(column.values)
    if column.exact is not None and (kind := _decimal_type(cells := _decimals(column.exact))) is not None:
        return pa.array(cells, kind, mask=gap)
    if column.texts is None:
        return pa.array(column.values, pa.float64(), mask=gap)
    codes = pa.array(np.where(gap, 0, column.values).astype(np.int32), mask=gap)
    return pa.DictionaryArray.from_arrays(codes, pa.array(column.texts, pa.large_string()))


def _decimals(numbers: Any) -> list[Decimal]:
    """Whole numbers, decimals and floats, as short as they are written."""
    return [Decimal(repr(number)) if isinstance(number, float) else Decimal(number) for number in numbers]


def _decimal_type(cells: list[Decimal]) -> pa.DataType | None:
    """The type of Arrow that holds the decimals; None if they are infinite, or have more than 76 digits."""
    if not all(cell.is_finite() for cell in cells):
        return None
    scale = max(0, *(-int(cell.as_tuple().exponent) for cell in cells))
    whole = max(cell.adjusted() + 1 for cell in cells)
    return pa.decimal256(76, scale) if max(whole, 0) + scale <= 76 else None


def _from_arrow(table: pa.Table) -> Frame:
    names = tuple(str(name) for name in table.column_names)
    require_distinct(names, "X: column")
    columns = [_values(table.column(place), name) for place, name in enumerate(names)]
    return _joined(columns, names, table.num_rows)


def _values(array: Any, name: str) -> Column:
    """An Arrow column."""
    if is_text(array.type):
        return coded(array)
    if is_number(array.type):
        values = np.asarray(pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
        return Column(values, None, _exact(array, values))
    if pa.types.is_null(array.type):
        return Column(np.full(len(array), np.nan))
    raise InputError(f"X: column {name} holds {array.type}, expected numbers or texts{instead_of(array.type)}")


def _exact(array: Any, values: Float64[np.ndarray, "n"]) -> Shaped[np.ndarray, "n"] | None:
    """The whole numbers or decimals of an Arrow column, if float64 rounds some."""
    large = (np.abs(values) >= MOST_EXACT).any()
    if pa.types.is_decimal(array.type):
        # Float64 holds any fifteen digits.
        if not large and not (np.abs(values) * 10.0**array.type.scale >= 1e15).any():
            return None
        cells = [Decimal(0) if cell is None else cell for cell in array.to_pylist()]
        return np.array(cells, dtype=object) if large or any(map(is_rounded, cells)) else None
    if pa.types.is_floating(array.type) or not large:
        return None
    return np.asarray(pc.fill_null(array, 0).to_numpy())


def instead_of(kind: pa.DataType) -> str:
    """Say what to do about an Arrow column that holds neither numbers nor texts, as the end of a sentence."""
    return INSTEAD_OF_TIMES if pa.types.is_temporal(kind) else ""


def is_number(kind: pa.DataType) -> bool:
    """Whether an Arrow column of this type holds numbers or booleans."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(test(kind) for test in tests)


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow column of this type holds texts, or texts or numbers declared to be categories."""
    if pa.types.is_dictionary(kind):
        held = kind.value_type
        return is_text(held) or is_number(held) or pa.types.is_null(held)
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _joined(columns: Sequence[Column], names: tuple[str, ...], n: int) -> Frame:
    x = np.empty((n, len(names)))
    for index, column in enumerate(columns):
        x[:, index] = column.values
    named = list(zip(names, columns, strict=True))
    categories = {name: column.texts for name, column in named if column.texts is not None}
    return Frame(x, names, categories, {name: column.exact for name, column in named if column.exact is not None})
