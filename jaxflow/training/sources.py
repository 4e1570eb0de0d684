"""Training rows that need not fit into memory: files, read a chunk at a time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int64
from pyarrow import parquet

from jaxflow.data.dataset import require_columns
from jaxflow.data.parquet_table import ParquetTable
from jaxflow.data.table import damaged, first_bad_cell
from jaxflow.data.tabular import open_streamed, table_files
from jaxflow.errors import InputError

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
        """What to call a row, given by its number from 0."""

    @abstractmethod
    def identity(self) -> Any:
        """What tells this source from another, in a form that JSON can hold; cheap, so not the rows themselves."""

    @abstractmethod
    def _read(self, chunk: int) -> Float[np.ndarray, "rows columns"]:
        """The rows of one chunk, in any float type."""


class NpyFile(Source):
    """An array (rows, columns) in an NPY file, which is mapped into memory and never read as a whole.

    Args:
        path: the file.
        buffer_rows: see `Source`.

    Raises:
        InputError: if it is missing or damaged, or holds anything but a matrix of numbers with rows and columns.
    """

    def __init__(self, path: Path | str, *, buffer_rows: int = BUFFER_ROWS):
        self.buffer_rows = _checked(buffer_rows)
        self.path = Path(path)
        try:
            self.array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such file") from None
        except (ValueError, OSError, EOFError) as error:
            raise damaged(self.path, "NPY", error) from None
        if not isinstance(self.array, np.ndarray) or self.array.ndim != 2 or self.array.dtype.kind not in "fiu":
            found = f"{self.array.dtype}{self.array.shape}" if isinstance(self.array, np.ndarray) else "several arrays"
            raise InputError(f"{path} holds {found}, expected a matrix of numbers, rows by columns")
        n, columns = self.array.shape
        if not n or not columns:
            raise InputError(f"{path} has shape {self.array.shape}, expected at least one row and one column")
        self.columns = tuple(f"x{index}" for index in range(columns))
        self.lengths = np.diff([*range(0, n, min(MAPPED_ROWS, -(-buffer_rows // MIXED))), n])

    def _read(self, chunk):
        start = self.starts[chunk]
        return np.array(self.array[start : start + self.lengths[chunk]], dtype=np.float64)

    def where(self, row):
        """The file and the index of the row, from 0."""
        return f"{self.path}: index {row}"

    def identity(self):
        """Path, shape and age."""
        return [str(self.path.absolute()), list(self.array.shape), self.path.stat().st_mtime_ns]


class TableFiles(Source):
    """Parquet or CSV files of the same columns, taken as one table in the order of their names.

    A chunk is a row group of a Parquet file, or a whole CSV file; what holds more than four times the rows of the
    buffer is refused, as memory would not be bounded. CSV files are read once at the start to count their rows.

    Args:
        path: a file, a directory of files, or a list of files.
        columns: the features, and after them the context features of a conditional model; by default all columns of
            the first file.
        buffer_rows: see `Source`.

    Raises:
        InputError: if there is no file, one is damaged or empty or of another format, or lacks a column, or a column
            does not hold numbers, or there are too many rows in a piece; for CSV files also if a cell is no finite
            number.
    """

    def __init__(
        self,
        path: Path | str | Sequence[Path | str],
        columns: Sequence[str] | None = None,
        *,
        buffer_rows: int = BUFFER_ROWS,
    ):
        self.buffer_rows = _checked(buffer_rows)
        if isinstance(path, Path | str):
            self.files = table_files(path) if Path(path).is_dir() else (Path(path),)
        else:
            self.files = tuple(Path(file) for file in path)
        if not self.files:
            raise InputError("a list of no files, expected at least one")
        tables = [open_streamed(file) for file in self.files]
        self.columns = tuple(tables[0].names if columns is None else columns)
        if not self.columns:
            raise InputError(f"{self.files[0]}: no column is named, expected at least one")
        self._chunks: list[tuple[int, int]] = []  # file, row group
        self._tables, lengths = tables, []
        for number, (file, table) in enumerate(zip(self.files, tables, strict=True)):
            require_columns(file, self.columns, table.names)
            if isinstance(table, ParquetTable):
                table.require_numbers(self.columns)
                metadata = parquet.read_metadata(file)
                counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
            else:
                counts = [sum(len(batch) for batch in table.batches(self.columns))]
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
        table = self._tables[number]
        try:
            if not isinstance(table, ParquetTable):
                return np.concatenate(list(table.batches(self.columns)))
            with parquet.ParquetFile(self.files[number]) as file:
                rows = file.read_row_group(group, columns=list(self.columns), use_threads=False)
            values = np.empty((rows.num_rows, len(self.columns)))
            for index, name in enumerate(self.columns):
                # Not safe: an integer that a float cannot hold becomes the nearest one, as it does in a CSV.
                values[:, index] = rows.column(name).cast(pa.float64(), safe=False).to_numpy()
            return values
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.files[number], "Parquet", error) from None

    def where(self, row):
        """The file and the number of the row in it, from 1."""
        number = self._chunks[self.chunk_of(row)][0]
        first = next(index for index, (file, _) in enumerate(self._chunks) if file == number)
        return f"{self.files[number]}: row {row - self.starts[first] + 1}"

    def identity(self):
        """Of each file path, size and age; and the columns."""
        about = [[str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in self.files]
        return [about, list(self.columns)]


def _checked(buffer_rows: int) -> int:
    if buffer_rows < 1:
        raise InputError(f"buffer_rows = {buffer_rows}: expected at least 1")
    return buffer_rows
