"""Training rows that need not fit into memory: files, read a chunk at a time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, Int64

from jaxflow.data.dataset import require_columns
from jaxflow.data.tables.csv.dialect import CsvOptions
from jaxflow.data.tables.npy_header import read_array_header
from jaxflow.data.tables.parquet_table import ParquetTable
from jaxflow.data.tables.read_table import open_streamed, table_files
from jaxflow.data.tables.table import damaged, first_bad_cell
from jaxflow.data.tables.table_limits import require_few_columns
from jaxflow.errors import InputError
from jaxflow.regular_file import identity_of, open_regular, require_unchanged
from jaxflow.whole_numbers import whole_number

BUFFER_ROWS = 262_144
MAPPED_ROWS = 65_536  # most rows of a chunk of a memory-mapped file
MIXED = 16  # chunks of such a file whose rows are shuffled among each other, at least
LARGEST_CHUNK = 4  # times the buffer


class Source(ABC):
    """Rows in chunks, of which any can be read at any time.

    A subclass sets `columns` and `lengths` and writes `_read`, `where` and `identity`.

    Attributes:
        columns: names of the columns: the features, and after them the context features of a conditional model.
        lengths: number of rows of each chunk.
        buffer_rows: rows that are in memory at once and shuffled among each other; a few times as many are held for
            what is being read and what waits. Chunks should be much smaller than that, and any number of them may be.
    """

    columns: tuple[str, ...]
    lengths: Int64[np.ndarray, "chunks"]
    buffer_rows: int = BUFFER_ROWS

    @property
    def rows(self) -> int:
        """Number of rows of all chunks."""
        return int(self.lengths.sum())

    @cached_property
    def starts(self) -> Int64[np.ndarray, "chunks"]:
        """Number of the first row of each chunk, from 0."""
        return np.cumsum(self.lengths) - self.lengths

    def chunk_of(self, row: int) -> int:
        """The chunk that holds a row, given by its number from 0."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def read(self, chunk: int) -> Float[np.ndarray, "rows columns"]:
        """The rows of one chunk, in float64, as preprocessing wants them.

        Raises:
            InputError: if a value is not finite, or the file cannot be read any more.
        """
        values = np.asarray(self._read(chunk), dtype=np.float64)
        bad = first_bad_cell(values, self.columns, None)
        if bad is not None:
            row, column = bad
            place = self.where(int(self.starts[chunk]) + row)
            raise InputError(f"{place}, column {self.columns[column]} is {values[bad]}, expected a finite number")
        return values

    @abstractmethod
    def where(self, row: int) -> str:
        """Return the name of a row, given by its number from 0."""

    @abstractmethod
    def identity(self) -> Any:
        """Return what tells this source from another, in a form that JSON can hold; cheap, so not the rows."""

    @abstractmethod
    def _read(self, chunk: int) -> Float[np.ndarray, "rows columns"]:
        """The rows of one chunk, in any float type."""


class NpyFile(Source):
    """An array (rows, columns) in an NPY file, of which the rows that are wanted are read.

    Args:
        path: the file.
        buffer_rows: see `Source`.

    Raises:
        InputError: if it is missing or damaged, or holds anything but a matrix of numbers with rows and columns; when
            rows are read, if it has changed since.
    """

    def __init__(self, path: Path | str, *, buffer_rows: Any = BUFFER_ROWS):
        self.buffer_rows = buffer_rows = whole_number("buffer_rows", buffer_rows, least=1)
        self.path = Path(path)
        with open_regular(self.path) as file:
            self._identity = identity_of(file)
            try:
                self._header = read_array_header(file, self._identity.size)
            except (ValueError, OSError) as error:
                raise damaged(self.path, "NPY", error) from None
        kind, shape = self._header.dtype, self._header.shape
        if len(shape) != 2 or kind.kind not in "fiu":
            raise InputError(f"{path} holds {kind}{shape}, expected a matrix of numbers, rows by columns")
        n, columns = shape
        if not n or not columns:
            raise InputError(f"{path} has shape {shape}, expected at least one row and one column")
        require_few_columns(self.path, columns)
        self.columns = tuple(f"x{index}" for index in range(columns))
        self.lengths = np.diff([*range(0, n, min(MAPPED_ROWS, -(-buffer_rows // MIXED))), n])

    def _read(self, chunk):
        first, count = int(self.starts[chunk]), int(self.lengths[chunk])
        kind, by_column, (n, columns), start = self._header
        # Not mapped into memory: where a mapped file is cut, the process ends without a word.
        with open_regular(self.path) as file:
            require_unchanged(self.path, file, self._identity)
            if by_column:
                rows = np.empty((count, columns))
                for column in range(columns):
                    file.seek(start + (column * n + first) * kind.itemsize)
                    rows[:, column] = self._numbers(file, count)
            else:
                file.seek(start + first * columns * kind.itemsize)
                rows = self._numbers(file, count * columns).reshape(count, columns)
            require_unchanged(self.path, file, self._identity)
        return rows

    def _numbers(self, file: BinaryIO, count: int) -> Float[np.ndarray, "count"]:
        try:
            numbers = np.fromfile(file, self._header.dtype, count)
        except OSError as error:
            raise damaged(self.path, "NPY", error) from None
        if len(numbers) < count:
            require_unchanged(self.path, file, self._identity)
            raise InputError(f"{self.path}: cannot be read as NPY (it ends too early)")
        return numbers.astype(np.float64, copy=False)

    def where(self, row):
        """The file and the index of the row, from 0."""
        return f"{self.path}: index {row}"

    def identity(self):
        """Path, shape and age."""
        return [str(self.path.absolute()), list(self._header.shape), self._identity.modified]


class TableFiles(Source):
    """Parquet or CSV files of the same columns, taken as one table in the order of their names.

    A chunk is a row group of a Parquet file, or a whole CSV file; what holds more than four times the rows of the
    buffer is refused, as memory would not be bounded. CSV files are read once at the start to count their rows.

    Args:
        path: a file, a directory of files, or a list of files.
        columns: the features, and after them the context features of a conditional model; by default all columns of
            the first file.
        buffer_rows: see `Source`.
        csv: what is known of how CSV files are written; the rest is found out of each.

    Raises:
        InputError: if there is no file, one is damaged or empty or of another format, or lacks a column, or a column
            does not hold numbers, or there are too many rows in a piece; for CSV files also if a cell is no finite
            number; when rows are read, if a file has changed since.
    """

    def __init__(
        self,
        path: Path | str | Sequence[Path | str],
        columns: Sequence[str] | None = None,
        *,
        buffer_rows: Any = BUFFER_ROWS,
        csv: CsvOptions | None = None,
    ):
        self.buffer_rows = buffer_rows = whole_number("buffer_rows", buffer_rows, least=1)
        if isinstance(path, Path | str):
            self.files = table_files(path) if Path(path).is_dir() else (Path(path),)
        else:
            self.files = tuple(Path(file) for file in path)
        if not self.files:
            raise InputError("a list of no files, expected at least one")
        tables = [open_streamed(file, csv) for file in self.files]
        self.columns = tuple(tables[0].names if columns is None else columns)
        if not self.columns:
            raise InputError(f"{self.files[0]}: no column is named, expected at least one")
        self._chunks: list[tuple[int, int]] = []  # file, row group
        self._tables, lengths = tables, []
        for number, (file, table) in enumerate(zip(self.files, tables, strict=True)):
            require_columns(file, self.columns, table.names)
            if isinstance(table, ParquetTable):
                table.require_numbers(self.columns)
                counts = table.group_rows()
            else:
                counts = [sum(len(batch) for batch in table.batches(self.columns))]
                table.require_unchanged()
            self._chunks += [(number, group) for group, count in enumerate(counts) if count]
            lengths += [count for count in counts if count]
            if not any(counts):
                raise InputError(f"{file}: there are no rows, expected at least one")
            if max(counts) > LARGEST_CHUNK * buffer_rows:
                what = "a row group" if isinstance(table, ParquetTable) else "the file"
                raise InputError(
                    f"{file}: {what} has {max(counts)} rows, expected at most {LARGEST_CHUNK} times buffer_rows = "
                    f"{buffer_rows}: write smaller pieces, or take a larger buffer"
                )
        self.lengths = np.array(lengths, dtype=np.int64)

    def _read(self, chunk):
        number, group = self._chunks[chunk]
        table, values, filled = self._tables[number], np.empty((self.lengths[chunk], len(self.columns))), 0
        table.require_unchanged()
        try:
            # What is not finite `read` finds.
            rows = table.group(group, self.columns) if isinstance(table, ParquetTable) else table.batches(self.columns)
            for batch in rows:
                if filled + len(batch) <= len(values):
                    values[filled : filled + len(batch)] = batch
                filled += len(batch)
        finally:
            # Whatever came of it: a file that has changed gives rows, or errors, that mean nothing.
            table.require_unchanged()
        if filled != len(values):
            raise InputError(f"{self.files[number]}: there are {filled} rows where there were {len(values)} at first")
        return values

    def where(self, row):
        """The file and the number of the row in it, from 1."""
        number = self._chunks[self.chunk_of(row)][0]
        first = next(index for index, (file, _) in enumerate(self._chunks) if file == number)
        return f"{self.files[number]}: row {row - self.starts[first] + 1}"

    def identity(self):
        """Of each file path, size and age; and the columns."""
        about = [[str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in self.files]
        return [about, list(self.columns)]
