"""Parquet files as tables."""

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64
from pyarrow import parquet

from jaxflow.data.tables.frame import as_cells, index_columns, instead_of, is_number, is_text
from jaxflow.data.tables.parquet_footer import kept_footer
from jaxflow.data.tables.parquet_pages import Pages, measure_pages
from jaxflow.data.tables.table import (
    NO_TEXTS,
    Table,
    cell_error,
    damaged,
    distinct_texts,
    expected_cell,
    first_bad_cell,
    places_of,
)
from jaxflow.data.tables.table_limits import MOST_COLUMNS, require_few_columns, require_few_texts, require_moderate
from jaxflow.errors import InputError
from jaxflow.regular_file import identity_of

BATCH_ROWS = 1 << 16
BATCH_BYTES = 1 << 26  # of float64, or of texts that lengthen one another
BUFFER_BYTES = 1 << 16  # of each column, read at once
MOST_FOOTER_BYTES = 1 << 25

_WITHOUT_DICTIONARY = ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY")
# What pyarrow has been seen to raise for damaged files beside its own exceptions.
_DAMAGE = (OSError, ValueError, TypeError, ArithmeticError, LookupError, RuntimeError, NotImplementedError)


class ParquetTable(Table):
    """A Parquet file whose chosen columns hold integers, floats, decimals, booleans or nothing but null.

    Pages that were written with checksums are checked; without, damage to the numbers themselves cannot be seen.
    pyarrow is given no other footer than `kept_footer`.

    Raises:
        InputError: when the file is damaged or two columns share a name.
    """

    def __init__(self, path: Path):
        self.path = path
        with self._handled(), self.open() as file:
            self._footer = kept_footer(_footer(path, file))
            opened = self._described()
            self._types = opened.schema_arrow
            names = self._types.names
        require_few_columns(path, opened.metadata.num_columns)
        self._set_names(path, names)

    def types(self, columns):
        """See `Table.types`."""
        return {name: str(self._types.field(name).type) for name in columns}

    def features(self, label):
        """See `Table.features`; nor is the index of a frame that pandas wrote one."""
        index = index_columns(self._types)
        return tuple(name for name in super().features(label) if name not in index)

    def texts(self, columns, declared):
        """See `Table.texts`; those whose type says so, and those declared."""
        found: dict[str, set[str]] = {
            name: set() for name in columns if name in declared or is_text(self._types.field(name).type)
        }
        if found:
            for batch in self._batches(list(found), self._textual(found)):
                for name, texts in found.items():
                    texts |= self._decoded(
                        name, lambda name=name, batch=batch: distinct_texts(as_cells(batch.column(name)))
                    )
                    require_few_texts(self.path, name, len(texts))
        return {name: tuple(sorted(texts)) for name, texts in found.items()}

    def batches(
        self,
        columns: Sequence[str],
        label: str | None = None,
        *,
        texts: Mapping[str, Sequence[str]] = NO_TEXTS,
        missing: bool = False,
    ) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        """See `Table.batches`; also raises for a column of another type than a number or a boolean."""
        self.require_numbers([name for name in columns if name not in texts])
        rows = 0
        for batch in self._batches(columns, self._textual(texts)):
            values = np.empty((batch.num_rows, len(columns)))
            for index, name in enumerate(columns):
                column, known = batch.column(name), texts.get(name)
                values[:, index] = self._decoded(name, lambda column=column, known=known: _values(column, known))
            bad = first_bad_cell(values, columns, label, missing)
            if bad is not None:
                name = columns[bad[1]]
                cell = batch.column(name)[bad[0]].as_py()
                expected = "a text" if name in texts else expected_cell(name, label)
                raise cell_error(self.path, rows + bad[0] + 1, name, cell, expected)
            rows += len(values)
            yield values
        if rows == 0:
            raise InputError(f"{self.path}: there are no rows, expected at least one")

    def group_rows(self) -> list[int]:
        """The number of rows in each row group."""
        with self._handled():
            metadata = self._described().metadata
            return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def group(self, group: int, columns: Sequence[str]) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        """The named columns, which hold numbers, in one row group; what is missing or not finite stays as it is.

        Raises:
            InputError: if the file is damaged.
        """
        for batch in self._batches(columns, (), [group]):
            yield np.stack([_values(batch.column(name), None) for name in columns], axis=1)

    def require_numbers(self, columns: Sequence[str]) -> None:
        """Refuse columns of another type.

        Raises:
            InputError: if one of these columns holds neither numbers nor booleans.
        """
        for name in columns:
            kind = self._types.field(name).type
            if not is_number(kind) and not pa.types.is_null(kind):
                raise InputError(f"{self.path}: column {name} holds {kind}, expected numbers{instead_of(kind)}")

    def _textual(self, names: Collection[str]) -> list[str]:
        """Columns of these whose cells are texts in the file."""
        return [name for name in names if is_text(self._types.field(name).type)]

    def _decoded(self, name: str, decode: Callable[[], Any]) -> Any:
        try:
            return decode()
        except pa.ArrowNotImplementedError:  # what has no text, such as lists
            raise self._no_cells(name) from None
        except (UnicodeDecodeError, pa.ArrowInvalid):
            raise InputError(f"{self.path}: column {name} holds bytes that are not UTF-8 text") from None
        except pa.ArrowException as error:
            raise damaged(self.path, "Parquet", error) from None

    def _no_cells(self, name: str) -> InputError:
        kind = self._types.field(name).type
        return InputError(f"{self.path}: column {name} holds {kind}, expected texts or numbers")

    @contextmanager
    def _handled(self) -> Iterator[None]:
        """Say what pyarrow finds wrong with the file in one sentence."""
        try:
            yield
        except InputError:
            raise
        except (pa.ArrowException, *_DAMAGE) as error:
            raise damaged(self.path, "Parquet", error) from None

    def _described(self) -> parquet.ParquetFile:
        """Return what the footer says; nothing of the file beside it can be read from this."""
        return parquet.ParquetFile(pa.BufferReader(self._footer), thrift_container_size_limit=2 * MOST_COLUMNS)

    def _batches(
        self, columns: Sequence[str], texts: Sequence[str], groups: Sequence[int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of some row groups, or of all, whose pages have been measured before they are decompressed."""
        with self._handled():
            metadata = self._described().metadata
            schema = metadata.schema
            # Of columns within columns the name is the last part of the path.
            places = {
                schema.column(n).path: n for n in range(len(schema)) if schema.column(n).path == schema.column(n).name
            }
            for name in columns:
                if name not in places:
                    raise self._no_cells(name)
            chosen, textual = {name: places[name] for name in columns}, set(texts)
            groups = range(metadata.num_row_groups) if groups is None else groups
            # Without a dictionary, where pyarrow cannot make one.
            growing = {
                name
                for name in textual & chosen.keys()
                for group in groups
                if any(way in _WITHOUT_DICTIONARY for way in metadata.row_group(group).column(chosen[name]).encodings)
            }
            with (
                self.open() as content,
                self.open() as pages,
                # Page by page; left to itself pyarrow takes whole row groups into memory. Columns of texts come with
                # each text once, however often a row repeats it. With metadata pyarrow leaves the file's own alone.
                parquet.ParquetFile(
                    content,
                    metadata=metadata,
                    pre_buffer=False,
                    buffer_size=BUFFER_BYTES,
                    read_dictionary=sorted(textual - growing),
                    page_checksum_verification=True,
                ) as file,
            ):
                most = min([BATCH_ROWS, *(BATCH_BYTES // _width(schema.column(place)) for place in chosen.values())])
                for run in _runs(metadata, groups):
                    for group in run:
                        for name, place in chosen.items():
                            measured = self._measure(pages, metadata.row_group(group).column(place), name in textual)
                            if name in growing:
                                # A text may be written as how it differs from the one before, so each may be a page
                                # long.
                                most = max(1, min(most, BATCH_BYTES // max(1, measured.largest)))
                    rows = max(1, min(most, BATCH_BYTES // (8 * len(columns))))
                    for batch in file.iter_batches(rows, run, list(columns), use_threads=False):
                        _require_known_values(batch)
                        yield batch

    def _measure(self, pages: BinaryIO, chunk: Any, textual: bool) -> Pages:
        if not chunk.num_values:
            return Pages(0, 0)
        starts = [chunk.data_page_offset, chunk.dictionary_page_offset if chunk.has_dictionary_page else None]
        start = min(offset for offset in starts if offset)
        measured = measure_pages(pages, start, chunk.total_compressed_size)
        size = identity_of(pages).size
        # Each text is there a few times while it is decoded.
        needed = 4 * measured.total if textual else 2 * measured.largest
        require_moderate(self.path, size, needed, "write it in smaller row groups and pages")
        return measured


def _require_known_values(batch: pa.RecordBatch) -> None:
    """Check what pyarrow takes on trust: that the places in a column's dictionary, of damaged pages too, are there."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            bounds = pc.call_function("min_max", [column.indices]).as_py()
            if bounds["min"] is not None and not 0 <= bounds["min"] <= bounds["max"] < len(column.dictionary):
                raise ValueError(f"column {name} names a value that its dictionary has not")


def _width(column: Any) -> int:
    """How many bytes each value takes, be it null, where all take the same."""
    return column.length if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else 8


def _footer(path: Path, file: BinaryIO) -> bytes:
    """The footer, if it is short, as what is made of it takes many times as much memory."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] == b"PARE":
        raise ValueError("it is encrypted")
    if end[4:] != b"PAR1" or size < length + 12:
        raise ValueError("it does not end as a Parquet file does")
    if length > MOST_FOOTER_BYTES:
        raise InputError(f"{path}: the footer has {length} bytes, expected at most {MOST_FOOTER_BYTES}")
    file.seek(size - 8 - length)
    return file.read(length)


def _runs(metadata: Any, groups: Sequence[int]) -> Iterator[list[int]]:
    """Row groups one after the other, small ones together."""
    run: list[int] = []
    rows = 0
    for group in groups:
        run.append(group)
        rows += metadata.row_group(group).num_rows
        if rows >= BATCH_ROWS:
            yield run
            run, rows = [], 0
    if run:
        yield run


def _values(column: pa.Array, texts: Sequence[str] | None) -> Float64[np.ndarray, "rows"]:
    if texts is not None:
        return places_of(as_cells(column), texts)
    # Not safe: an integer beyond 2^53 becomes the nearest float, as it does in a CSV.
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
