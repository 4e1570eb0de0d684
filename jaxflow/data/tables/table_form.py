"""The form of the table that was fitted: its library, and the type of each column, in which draws are given back."""

import importlib
import re
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from jaxtyping import Float64
from pydantic import Field, field_validator, model_validator

from jaxflow.config.spec import Spec
from jaxflow.data.columns.categories import as_number, number_text
from jaxflow.data.columns.cells import is_gap
from jaxflow.data.columns.column_map import ColumnMap
from jaxflow.data.columns.discrete_maps import Categorical
from jaxflow.data.columns.numeric_maps import Circular
from jaxflow.data.tables.frame import Frame, arrow_table, is_number, is_pandas, is_table, is_text
from jaxflow.errors import InputError

Library: TypeAlias = Literal["numpy", "pandas", "polars", "pyarrow"]

_PARAMETRIC = {
    "dictionary": re.compile(r"dictionary<values=(\w+), indices=(u?int(?:8|16|32|64)), ordered=([01])>"),
    "decimal": re.compile(r"decimal(32|64|128|256)\((\d{1,2}), (-?\d{1,2})\)"),
}
# Names of types of NumPy and pandas that are made from them again; of others, what Arrow makes of a column.
_DTYPE = (
    r"(bool|u?int(8|16|32|64)|float(16|32|64)|object|str|category|enum|boolean|U?Int(8|16|32|64)|Float(32|64)"
    r"|string(\[(python|pyarrow)\])?|(bool|u?int(8|16|32|64)|float|double|(large_)?string)\[pyarrow\]|)"
)

_DTYPES_OF = {
    "numpy": re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|object|str").fullmatch,
    "pandas": lambda dtype: dtype != "enum",
    "polars": lambda dtype: dtype == "enum",
    "pyarrow": lambda dtype: False,
}


class ColumnForm(Spec):
    """The type of one column.

    Attributes:
        name: the column.
        type: the type in Arrow's words.
        dtype: that of NumPy or pandas, or enum for the `Enum` of polars; empty for the one that Arrow's becomes.
        levels: the categories that pandas or an `Enum` was told, in its order, rows or not; empty where the rows alone
            say them.
    """

    name: str
    type: str
    dtype: str = Field(default="", pattern=f"^{_DTYPE}$")
    levels: tuple[str, ...] = ()

    @field_validator("type")
    @classmethod
    def _of_arrow(cls, name: str) -> str:
        arrow_type(name)
        return name

    @model_validator(mode="after")
    def _distinct_levels(self) -> "ColumnForm":
        kind = arrow_type(self.type)
        if self.levels and not pa.types.is_dictionary(kind):
            raise ValueError("levels: expected none unless the type is a dictionary")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError("levels: expected different texts")
        if self.levels and not is_text(kind.value_type) and None in map(as_number, self.levels):
            raise ValueError(f"levels: expected finite numbers for {self.type}")
        return self


class TableForm(Spec):
    """The library of a table, and the types of its columns.

    Attributes:
        library: what the table was made with; numpy for arrays, lists and files.
        columns: one for each column, in the table's order.
        numbered: whether the names of the columns are whole numbers, as pandas has them where none are given.
    """

    library: Library = "numpy"
    columns: tuple[ColumnForm, ...] = Field(min_length=1)
    numbered: bool = False

    @model_validator(mode="after")
    def _numbers_for_names(self) -> "TableForm":
        if self.numbered and not all(re.fullmatch(r"-?[0-9]{1,18}", column.name) for column in self.columns):
            raise ValueError("numbered: expected columns whose names are whole numbers")
        return self

    @model_validator(mode="after")
    def _dtypes_of_the_library(self) -> "TableForm":
        known = _DTYPES_OF[self.library]
        for column in self.columns:
            if column.dtype and not known(column.dtype):
                raise ValueError(f"dtype {column.dtype}: expected one of {self.library}")
        return self

    @classmethod
    def of(cls, X: Any, frame: Frame) -> "TableForm":
        """The form of what was given; `frame` is what it was read as, under the names of its columns."""
        if isinstance(X, Frame) or not is_table(X):
            return _of_cells(X, frame)
        table = arrow_table(X)
        dtypes, numbered = [""] * table.num_columns, False
        if is_pandas(X):
            library = "pandas"
            dtypes = [_known(str(dtype)) for dtype in X.dtypes]
            numbered = all(isinstance(name, int | np.integer) and not isinstance(name, bool) for name in X.columns)
        else:
            library = "polars" if type(X).__module__.partition(".")[0] == "polars" else "pyarrow"
            if library == "polars":
                dtypes = ["enum" if type(dtype).__name__ == "Enum" else "" for dtype in X.dtypes]
        # A detector that knows its columns by name may have taken them in another order.
        place = {name: index for index, name in enumerate(table.column_names)}
        order = [place.get(name, index) for index, name in enumerate(frame.names)]
        columns = [
            ColumnForm(
                name=name,
                type=_known_type(table.schema.field(index).type),
                dtype=dtypes[index],
                levels=_levels(table.column(index)) if dtypes[index] in ("category", "enum") else (),
            )
            for name, index in zip(frame.names, order, strict=True)
        ]
        return cls(library=library, columns=tuple(columns), numbered=numbered)

    @classmethod
    def plain(cls, maps: Sequence[ColumnMap]) -> "TableForm":
        """The form of an array of the columns: of objects if some hold texts, otherwise of numbers."""
        texts = [isinstance(column, Categorical) for column in maps]
        dtype = "object" if any(texts) else "float64"
        types = zip(maps, texts, strict=True)
        columns = [ColumnForm(name=c.name, type="string" if text else "double", dtype=dtype) for c, text in types]
        return cls(columns=tuple(columns))

    def arrow(self, codes: Float64[np.ndarray, "n columns"], maps: Sequence[ColumnMap]) -> pa.Table:
        """Rows of codes as a table of Arrow with these types; what is missing is null."""
        columns = zip(self.columns, codes.T, maps, strict=True)
        arrays = [_cells(values, column, arrow_type(form.type), form.levels) for form, values, column in columns]
        return pa.Table.from_arrays(arrays, [form.name for form in self.columns])

    def native(self, table: pa.Table) -> Any:
        """A table of Arrow as one of the library: a frame, or an array.

        Raises:
            InputError: if the library is not installed.
        """
        if self.library == "pyarrow":
            return table
        if self.library == "numpy":
            return self._array(table)
        try:
            module: Any = importlib.import_module(self.library)
        except ImportError:
            raise InputError(
                f"the detector was fitted to a frame of {self.library}, which is not installed: sample_table gives the "
                "draws as a table of pyarrow"
            ) from None
        return self._polars(module, table) if self.library == "polars" else self._pandas(module, table)

    def _array(self, table: pa.Table) -> np.ndarray:
        dtype = self.columns[0].dtype
        if dtype in ("object", "str"):
            cells = np.empty((table.num_rows, table.num_columns), dtype=object)
            for index, column in enumerate(table.columns):
                gap = np.nan if is_number(column.type) else "" if dtype == "str" else None
                cells[:, index] = [gap if cell is None else cell for cell in column.to_pylist()]
            return cells.astype(str) if dtype == "str" else cells
        columns = [np.asarray(column.to_numpy(), np.float64) for column in table.columns]
        cells = np.stack(columns, axis=1)
        # Whole numbers and truth values have none that stands for a gap.
        whole = np.dtype(dtype or "float64").kind in "iub"
        if whole and not np.isnan(cells).any():
            return np.stack([column.to_numpy() for column in table.columns], axis=1).astype(dtype)
        return cells if whole else cells.astype(dtype or "float64")

    def _polars(self, polars: Any, table: pa.Table) -> Any:
        enums = {form.name: form.levels for form in self.columns if form.dtype == "enum" and form.levels}
        frame = polars.from_arrow(table)
        return frame.with_columns(polars.col(name).cast(polars.Enum(levels)) for name, levels in enums.items())

    def _pandas(self, pandas: Any, table: pa.Table) -> Any:
        series = {}
        for index, form in enumerate(self.columns):
            if form.dtype == "object":
                series[index] = pandas.Series(table.column(index).to_pylist(), dtype="object")
                continue
            values = table.column(index).to_pandas()
            whole = re.fullmatch(r"bool|u?int\d+", form.dtype)
            kept = form.dtype and not (whole and table.column(index).null_count)
            series[index] = values.astype(form.dtype) if kept else values
        frame = _indexed_by_position_too(pandas)(series)
        frame.columns = [int(form.name) if self.numbered else form.name for form in self.columns]
        return frame


@cache
def _indexed_by_position_too(pandas: Any) -> Any:
    """A frame of pandas whose cells can be asked for as those of an array, which draws of arrays are."""

    class Draws(pandas.DataFrame):
        """Rows that were drawn: a frame, of which `draws[:, 1]` is `draws.iloc[:, 1]`; all made of it are frames."""

        @property
        def _constructor(self) -> Any:
            return pandas.DataFrame

        def __getitem__(self, key: Any) -> Any:
            by_position = isinstance(key, tuple) and any(isinstance(part, slice) for part in key)
            return self.iloc[key] if by_position else super().__getitem__(key)

        def __reduce_ex__(self, protocol: Any) -> Any:  # a class that is made here cannot be named in a pickle
            return pandas.DataFrame, (pandas.DataFrame(self),)

    return Draws


def arrow_type(name: str) -> pa.DataType:
    """The type that Arrow writes like this: of numbers, truth values or texts, plain or in a dictionary.

    Raises:
        ValueError: if it is none of these.
    """
    if found := _PARAMETRIC["dictionary"].fullmatch(name):
        values, indices, ordered = found.groups()
        return pa.dictionary(pa.type_for_alias(indices), arrow_type(values), ordered=ordered == "1")
    if found := _PARAMETRIC["decimal"].fullmatch(name):
        bits, precision, scale = map(int, found.groups())
        return getattr(pa, f"decimal{bits}")(precision, scale)
    kind = pa.type_for_alias(name)
    if not is_number(kind) and not is_text(kind):
        raise ValueError(f"{name}: expected a type of numbers, truth values or texts")
    return kind


def _known_type(kind: pa.DataType) -> str:
    try:
        return str(kind) if arrow_type(str(kind)) == kind else "string"
    except ValueError:
        return "string" if is_text(kind) else "double"


def _known(dtype: str) -> str:
    return dtype if re.fullmatch(_DTYPE, dtype) else ""


def _of_cells(X: Any, frame: Frame) -> TableForm:
    """The form of an array, of lists, or of a file's rows, of whose numbers nothing is known but themselves."""
    if isinstance(X, Frame):
        dtype = "object" if frame.categories else "float64"
        named = zip(frame.names, frame.x.T, strict=True)
        types = [_type_in_file(frame.types.get(name), x, name in frame.categories) for name, x in named]
    else:
        array = X if isinstance(X, np.ndarray) else np.array(X, dtype=object if frame.categories else None)
        dtype = "str" if array.dtype.kind in "UTS" else _known(str(array.dtype)) or "float64"
        if dtype == "object":
            named = zip(frame.names, array.T, strict=True)
            types = [_type_of_objects(column.tolist(), name in frame.categories) for name, column in named]
        else:
            types = ["string" if dtype == "str" else str(pa.from_numpy_dtype(np.dtype(dtype)))] * len(frame.names)
    return TableForm(
        columns=tuple(ColumnForm(name=n, type=kind, dtype=dtype) for n, kind in zip(frame.names, types, strict=True))
    )


def _type_in_file(known: str | None, x: Float64[np.ndarray, "n"], texts: bool) -> str:
    """The type of a column of a file, from what the file says or from its values."""
    with suppress(ValueError):
        if known is not None:
            return str(arrow_type(known))
    return "string" if texts else _whole_or_not(x)


def _whole_or_not(x: Float64[np.ndarray, "n"]) -> str:
    values = x[~np.isnan(x)]
    return "int64" if (values == np.round(values)).all() and (np.abs(values) < 2**53).all() else "double"


def _type_of_objects(cells: list[Any], texts: bool) -> str:
    if texts:
        return "string"
    there = [cell for cell in cells if not is_gap(cell)]
    if there and all(isinstance(cell, bool | np.bool_) for cell in there):
        return "bool"
    whole = all(isinstance(cell, int | np.integer) and -(2**63) <= cell < 2**63 for cell in there)
    return "int64" if whole else "double"


def _levels(array: pa.ChunkedArray) -> tuple[str, ...]:
    """The categories that a column was told, as texts; none if they are not to be had from texts again."""
    if not pa.types.is_dictionary(array.type) or not array.num_chunks or _known_type(array.type) != str(array.type):
        return ()
    cells = array.chunk(0).dictionary.to_pylist()
    texts = tuple(cell if isinstance(cell, str) else "" if is_gap(cell) else number_text(cell) for cell in cells)
    numbers = is_text(array.type.value_type) or None not in map(as_number, texts)
    return texts if numbers and len(set(texts)) == len(texts) else ()


def _cells(
    codes: Float64[np.ndarray, "n"], column: ColumnMap, kind: pa.DataType, levels: tuple[str, ...] = ()
) -> pa.Array:
    """The values of one column in a type; `levels` come before what other categories the column has."""
    gap = np.isnan(codes)
    if not isinstance(column, Categorical):
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        values = _numbers(codes, gap, plain)
        if isinstance(column, Circular) and is_number(plain):
            # Rounded to what the type holds, a number just below the period is the period, which is 0.
            ends = np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False)) >= column.period
            values = _numbers(np.where(ends, 0.0, codes), gap, plain)
        return values.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else values
    places = pa.array(np.where(gap, 0, codes).astype(np.int64), mask=gap)
    if pa.types.is_dictionary(kind):
        place: dict[str, int] = {}
        for number, text in enumerate(levels):
            place.setdefault(text.strip(), number)
        others = [text for text in column.categories if text not in place]
        place |= {text: len(levels) + number for number, text in enumerate(others)}
        order = pa.array([place[text] for text in column.categories], pa.int64())
        places, categories = order.take(places), _categories([*levels, *others], kind.value_type)
        return pa.DictionaryArray.from_arrays(places.cast(kind.index_type), categories, ordered=kind.ordered)
    if is_text(kind):
        texts = np.array(column.categories, dtype=object)[np.where(gap, 0, codes).astype(np.int64)]
        return pa.array(texts, kind, mask=gap)
    return _categories(column.categories, kind).take(places)


def _categories(texts: Sequence[str], kind: pa.DataType) -> pa.Array:
    if is_text(kind):
        return pa.array(texts, kind)
    if pa.types.is_boolean(kind):
        return pa.array([text.lower() in ("true", "1") for text in texts], kind)
    if pa.types.is_integer(kind) and all(text.lstrip("-").isdigit() for text in texts):
        return pa.array([int(text) for text in texts], kind)  # identifiers of more digits than a float has
    numbers = [as_number(text) for text in texts]
    if pa.types.is_decimal(kind):
        with suppress(pa.ArrowException):  # of a type that does not hold them
            known = zip(texts, numbers, strict=True)
            return pa.array([None if number is None else Decimal(text) for text, number in known], kind)
    values = np.array([np.nan if number is None else number for number in numbers], np.float64)
    return _numbers(values, np.isnan(values), kind)


def _numbers(values: Float64[np.ndarray, "n"], gap: np.ndarray, kind: pa.DataType) -> pa.Array:
    values = np.where(gap, 0.0, values)
    if is_text(kind):
        return pa.array([None if missing else number_text(v) for v, missing in zip(values, gap, strict=True)], kind)
    if pa.types.is_boolean(kind):
        return pa.array(values > 0.5, mask=gap)
    if pa.types.is_integer(kind):
        dtype = np.dtype(kind.to_pandas_dtype())
        limits = np.iinfo(dtype)
        # The nearest float64 to the largest 64-bit number is one more than that.
        highest = min(float(limits.max), np.nextafter(float(limits.max), 0)) if limits.bits == 64 else limits.max
        return pa.array(np.clip(np.round(values), limits.min, highest).astype(dtype), mask=gap)
    if pa.types.is_decimal(kind):
        most = 10.0 ** (kind.precision - kind.scale) - 1
        return pa.array(np.round(np.clip(values, -most, most), kind.scale), mask=gap).cast(kind)
    dtype = np.dtype(kind.to_pandas_dtype())
    return pa.array(np.clip(values, np.finfo(dtype).min, np.finfo(dtype).max).astype(dtype), mask=gap)
