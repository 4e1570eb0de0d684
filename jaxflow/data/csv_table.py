"""CSV files, plain or gzipped, as tables."""

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64
from pyarrow import csv

from jaxflow.data.frame import as_number
from jaxflow.data.table import (
    NO_TEXTS,
    Table,
    cell_error,
    damaged,
    expected_cell,
    first_bad_cell,
    places_of,
)
from jaxflow.errors import InputError

BLOCK_BYTES = 1 << 22
"""How much of the file is parsed at a time; no line may be longer."""

EMPTY = frozenset(csv.ConvertOptions().null_values)
"""What a cell may hold to count as empty in a column of numbers."""

_BOOLEAN_TEXTS = frozenset({"true", "True", "TRUE", "false", "False", "FALSE", "0", "1"})


class CsvTable(Table):
    """A comma-separated file in UTF-8 with a header line, read through pyarrow one block at a time.

    A column whose first block holds true and false counts as 1 and 0; every other cell has to be a number. Lines
    without any character are skipped and not counted, except in a file of one column, where they are empty cells.

    Raises:
        InputError: when there is no header or no row, the header is no UTF-8, a name comes twice, or the first line
            holds fractional numbers only, as that of a file without a header does.
    """

    def __init__(self, path: Path):
        self.path = path
        self._skip_empty_lines = True
        try:
            # Rows of another length are found and named by `batches`; here they would hide the header.
            with self._stream(marked=False) as stream, self._reader(stream, on_ragged=lambda row: "skip") as reader:
                schema = reader.schema
            texts = {name: _bytes_of(name).decode("utf-8") for name in schema.names}
            self._set_names(path, [texts[name] for name in schema.names])
        except UnicodeDecodeError:
            raise InputError(f"{path}: the header line is not UTF-8 text") from None
        except (pa.ArrowException, OSError) as error:
            raise self._explain_header(error) from None
        if all(as_number(name) is not None for name in self.names) and not all(n.isdigit() for n in self.names):
            raise InputError(f"{path}: the first line holds numbers ({self.names[0]}, ...), expected column names")
        self._skip_empty_lines = len(self.names) > 1
        self._textual = {texts[field.name] for field in schema if pa.types.is_string(field.type)}
        self._boolean = {texts[field.name] for field in schema if pa.types.is_boolean(field.type)}

    def texts(self, columns, declared):
        """See `Table.texts`: those declared, and those in which fewer than half of the cells are numbers.

        A column is looked at if pyarrow takes the cells of its first block for texts. Where most are numbers, the
        others are mistakes, which `batches` names.
        """
        names = [name for name in columns if name in declared or name in self._textual]
        found = {name: set() for name in names}
        counts = dict.fromkeys(names, 0)
        numbers = dict.fromkeys(names, 0)
        if not names:
            return {}
        convert = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.large_string()), include_columns=names, strings_can_be_null=False
        )
        try:
            with self._stream() as stream, self._reader(stream, convert) as reader:
                for batch in reader:
                    for name in names:
                        for cell in batch.column(name).value_counts().to_pylist():
                            text, count = cell["values"], cell["counts"]
                            if text:
                                found[name].add(text)
                                counts[name] += count
                                numbers[name] += count * (as_number(text.strip()) is not None)
        except (pa.ArrowException, OSError) as error:
            raise self._explain(columns, None, 0, error) from None
        return {
            name: tuple(sorted(texts))
            for name, texts in found.items()
            if name in declared or 2 * numbers[name] < counts[name]
        }

    def batches(
        self,
        columns: Sequence[str],
        label: str | None = None,
        *,
        texts: Mapping[str, Sequence[str]] = NO_TEXTS,
        missing: bool = False,
    ) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        """See `Table.batches`; also raises for a row with too many or too few cells."""
        types = {
            name: pa.large_string() if name in texts else pa.bool_() if name in self._boolean else pa.float64()
            for name in columns
        }
        convert = csv.ConvertOptions(column_types=types, include_columns=list(columns), strings_can_be_null=False)
        rows = 0
        try:
            with self._stream() as stream, self._reader(stream, convert) as reader:
                for batch in reader:
                    arrays = [_values(batch.column(name), texts.get(name)) for name in columns]
                    values = np.stack(arrays, axis=1)
                    if first_bad_cell(values, columns, label, missing) is not None:
                        raise pa.ArrowInvalid("a cell that is not finite or no label")
                    rows += len(values)
                    yield values
        except (pa.ArrowException, OSError) as error:
            raise self._explain(columns, label, rows, error, texts, missing) from None
        if rows == 0:
            raise self._no_rows()

    def _stream(self, *, marked: bool = True) -> pa.NativeFile:
        """The bytes of the table; without the mark of UTF-8 at their beginning where they are not to be `marked`."""

        def opened() -> pa.NativeFile:
            gzipped = self.path.name.lower().endswith(".gz")
            return pa.input_stream(self.open(), compression="gzip" if gzipped else None)

        stream = opened()
        if marked or stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
            return stream
        stream.close()
        return opened()

    def _reader(
        self,
        stream: pa.NativeFile,
        convert: csv.ConvertOptions | None = None,
        on_ragged: Callable[[csv.InvalidRow], str] | None = None,
    ) -> csv.CSVStreamingReader:
        # pyarrow counts rows for `on_ragged` only when one thread parses. It hands them over as text, and writes a
        # traceback for one that is none; so each byte is then taken for a letter, see `_bytes_of`.
        encoding = "utf8" if on_ragged is None else "latin-1"
        return csv.open_csv(
            stream,
            read_options=csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=on_ragged is None, encoding=encoding),
            parse_options=csv.ParseOptions(invalid_row_handler=on_ragged, ignore_empty_lines=self._skip_empty_lines),
            convert_options=convert,
        )

    def _explain_header(self, error: BaseException) -> InputError:
        if "Empty CSV file" not in str(error):
            return damaged(self.path, "CSV", error)
        if self.path.stat().st_size > BLOCK_BYTES:
            return InputError(f"{self.path}: the first line is longer than {BLOCK_BYTES} bytes, expected column names")
        return self._no_rows()

    def _no_rows(self) -> InputError:
        return InputError(f"{self.path}: there are no rows, expected a header line and at least one row below it")

    def _explain(
        self,
        columns: Sequence[str],
        label: str | None,
        good: int,
        error: BaseException,
        texts: Mapping[str, Sequence[str]] = NO_TEXTS,
        missing: bool = False,
    ) -> InputError:
        """Read the file again as text to find the cell or row on which the conversion failed, after `good` rows."""
        ragged: list[csv.InvalidRow] = []

        def keep(row: csv.InvalidRow) -> str:
            ragged.append(row)
            return "error"

        read = [name.encode("utf-8").decode("latin-1") for name in columns]
        types = {name: pa.string() for name in read}
        convert = csv.ConvertOptions(column_types=types, include_columns=read, strings_can_be_null=False)
        rows = 0
        boolean = set(self._boolean)
        try:
            with self._stream(marked=False) as stream, self._reader(stream, convert, on_ragged=keep) as reader:
                for batch in reader:
                    if rows + batch.num_rows > good:
                        for index, row in enumerate(zip(*(batch.column(name) for name in read), strict=True)):
                            for name, cell in zip(columns, row, strict=True):
                                text = _bytes_of(cell.as_py()).decode("utf-8", errors="replace").strip()
                                # Where one cell of the first block is neither, pyarrow takes all of it for texts.
                                if rows + index == 0 and text.lower() in ("true", "false"):
                                    boolean.add(name)
                                if (name in texts and text) or (missing and name != label and text in EMPTY):
                                    continue
                                expected = "a text" if name in texts else _objection(text, name, label, name in boolean)
                                if expected is not None:
                                    return cell_error(self.path, rows + index + 1, name, text, expected)
                    rows += batch.num_rows
        except (pa.ArrowException, OSError) as again:
            if ragged:
                # The header is row 1 of the file.
                row, cells, expected = ragged[0].number - 1, ragged[0].actual_columns, ragged[0].expected_columns
                return InputError(f"{self.path}: row {row} has {cells} cells, expected {expected} as in the header")
            return damaged(self.path, "CSV", again)
        return damaged(self.path, "CSV", error)


def _objection(text: str, name: str, label: str | None, boolean: bool) -> str | None:
    """What a cell of the column should have been, or None when the text is that."""
    if boolean:
        return None if text in _BOOLEAN_TEXTS else "true or false like the cells above it"
    accepted = as_number(text) is not None and (name != label or float(text) in (0.0, 1.0))
    return None if accepted else expected_cell(name, label)


def _bytes_of(text: str) -> bytes:
    """The bytes of which each was taken for a letter."""
    return text.encode("latin-1")


def _values(column: pa.Array, texts: Sequence[str] | None) -> Float64[np.ndarray, "rows"]:
    if texts is not None:
        return places_of(column, texts)
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
