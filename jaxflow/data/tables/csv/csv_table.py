"""CSV files, plain or gzipped, as tables."""

import codecs
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64
from pyarrow import csv

from jaxflow.data.columns.cells import INSTEAD_OF_TIMES
from jaxflow.data.tables.csv.bounded_stream import Bounded
from jaxflow.data.tables.csv.codes import first_padded_again, first_rounded, places_of_large
from jaxflow.data.tables.csv.dialect import HEAD_BYTES, CsvOptions, dialect_of
from jaxflow.data.tables.csv.dressed_numbers import are_numbers, is_dressed_number, may_be_number
from jaxflow.data.tables.csv.letters import bytes_of, text_of
from jaxflow.data.tables.csv.numbers import EMPTY, cell_number, is_ambiguous, is_time
from jaxflow.data.tables.csv.points import Points, first_in_doubt
from jaxflow.data.tables.csv.separator import shown_separator
from jaxflow.data.tables.table import (
    NO_TEXTS,
    Table,
    cell_error,
    damaged,
    expected_cell,
    first_bad_cell,
    places_of,
)
from jaxflow.data.tables.table_limits import require_few_texts
from jaxflow.errors import InputError

BLOCK_BYTES = 1 << 22
"""How much of the file is parsed at a time; no line may be longer."""

_TRUTHS = {"true": 1.0, "True": 1.0, "TRUE": 1.0, "1": 1.0, "false": 0.0, "False": 0.0, "FALSE": 0.0, "0": 0.0}

# Whatever pyarrow, zlib or a decoder of text make of a file that is none; an InputError, which is a ValueError too, has
# its sentence already.
_DAMAGE = (
    pa.ArrowException,
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
)


class CsvTable(Table):
    """A file of separated cells with a header line, read through pyarrow one block at a time.

    How it is written, its encoding, separator and decimal mark, is said by the options or found out from its beginning
    (`csv_dialect`). A column whose first block holds true and false counts as 1 and 0; every other cell has to be a
    number, whose thousands may be marked. Lines without any character are skipped and not counted, except in a file of
    one column, where they are empty cells.

    Raises:
        InputError: when there is no header or no row, there are too many columns, a name comes twice, it cannot be told
            how the file is written, or the first line holds fractional numbers only, as that of a file without a
            header does.
    """

    def __init__(self, path: Path, options: CsvOptions | None = None):
        self.path = path
        self._skip_empty_lines = True
        self._dialect = dialect_of(path, *self._head(), CsvOptions() if options is None else options)
        self.counts_rows = self._dialect.counts_rows
        self._never = re.compile(r"\x00" if self._dialect.lines_in_cells else r"[\x00\r\n]")  # in a text
        try:
            # Rows of another length are found and named by `batches`; here they would hide the header.
            with self._stream(marked=False) as stream, self._reader(stream, on_ragged=lambda row: "skip") as reader:
                schema = reader.schema
        except InputError:
            raise
        except _DAMAGE as error:
            raise self._explain_header(error) from None
        try:
            texts = {name: bytes_of(name).decode("utf-8") for name in schema.names}
        except UnicodeDecodeError:
            raise InputError(f"{path}: the header line is not UTF-8 text{self._hint('encoding')}") from None
        self._set_names(path, [texts[name] for name in schema.names])
        if any("\0" in name for name in self.names):
            raise InputError(f"{path}: the header line holds a zero byte, expected text{self._hint('encoding')}")
        numbers = [cell_number(name, self._dialect.decimal) for name in self.names]
        if None not in numbers and not all(name.isdigit() for name in self.names):
            raise InputError(f"{path}: the first line holds numbers ({self.names[0]}, ...), expected column names")
        self._skip_empty_lines = len(self.names) > 1
        self._textual = {texts[field.name] for field in schema if pa.types.is_string(field.type)}
        self._boolean = {texts[field.name] for field in schema if pa.types.is_boolean(field.type)}

    def types(self, columns):
        """See `Table.types`; those that hold true and false."""
        return {name: "bool" for name in columns if name in self._boolean}

    def texts(self, columns, declared):
        """See `Table.texts`: those declared, and those in which fewer than half of the cells are numbers.

        A column is looked at if pyarrow takes the cells of its first block for texts. Where most are numbers, the
        others are mistakes, which `batches` names. One of numbers with other signs about them is refused, and so is one
        that holds many such numbers beside texts: as categories they would be judged by nothing but whether they were
        there before.
        """
        names = [name for name in columns if name in declared or name in self._textual]
        found = {name: set() for name in names}
        counts, numbers, dressed = (dict.fromkeys(names, 0) for _ in range(3))
        perhaps = {name: Counter[str]() for name in names}
        self._require_no_codes([name for name in columns if name not in names])
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
                            if self._wrong_text(text, True, True):
                                raise pa.ArrowInvalid("a cell that is no text")
                            if text:
                                found[name].add(text)
                            if name in declared or text.strip() in EMPTY:
                                continue
                            counts[name] += count
                            if cell_number(text, self._dialect.decimal) is not None:
                                numbers[name] += count
                            elif may_be_number(text):
                                dressed[name] += count * is_dressed_number(text)
                                perhaps[name][text] += count
                    # Numbers, which may be as many as there are rows, are no categories.
                    if name in declared or 2 * numbers[name] < counts[name]:
                        require_few_texts(self.path, name, len(found[name]))
        except InputError:
            raise
        except _DAMAGE as error:
            for _ in self._slowly(columns, None, 0, error, texts=dict.fromkeys(columns, ()), missing=True):
                pass
            raise damaged(self.path, "CSV", error) from None
        for name in names:
            most = dressed[name] and counts[name] <= 2 * (numbers[name] + dressed[name])
            if 2 * numbers[name] < counts[name] and (most or are_numbers(perhaps[name].values(), counts[name])):
                raise self._dressed(name)
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
        grouped = {self.names[place] for place in self._dialect.grouped}
        points = Points(place for place, name in enumerate(columns) if name in grouped and name not in texts)
        large: set[str] = set()
        # A semicolon or tab separates where a comma stands before fractions.
        doubtful = not self._dialect.sure and self._dialect.separator != ","
        for values in self._batches(columns, label, texts, missing):
            if doubtful:
                points.look(values)
            for name in (columns[place] for place in places_of_large(values)):
                if name not in large and (found := first_rounded(self._cells(name))) is not None:
                    raise cell_error(
                        self.path, found[0], name, found[1], f"{_NOT_ROUNDED}{_codes(name)}, or leave it out"
                    )
                large.add(name)
            yield values
        for name in (columns[place] for place in points.doubtful()):
            found = first_in_doubt(self._cells(name))
            if found is not None:
                expected = "to be told what its point is: --data.decimal comma for thousands, point for a fraction"
                raise cell_error(self.path, found[0], name, found[1], expected)

    def _batches(
        self, columns: Sequence[str], label: str | None, texts: Mapping[str, Sequence[str]], missing: bool
    ) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        types = {
            name: pa.large_string() if name in texts else pa.bool_() if name in self._boolean else pa.float64()
            for name in columns
        }
        convert = csv.ConvertOptions(
            column_types=types,
            include_columns=list(columns),
            strings_can_be_null=False,
            decimal_point=self._dialect.decimal,
        )
        rows = 0
        failed = None
        try:
            with self._stream() as stream, self._reader(stream, convert) as reader:
                for batch in reader:
                    arrays = [self._values(batch.column(name), texts.get(name)) for name in columns]
                    values = np.stack(arrays, axis=1)
                    if first_bad_cell(values, columns, label, missing) is not None:
                        raise pa.ArrowInvalid("a cell that is not finite or no label")
                    rows += len(values)
                    yield values
        except InputError:
            raise
        except _DAMAGE as error:
            failed = error
        if failed is not None:
            # Outside of the block, so that what is thrown into this generator does not count as damage.
            for values in self._slowly(columns, label, rows, failed, texts, missing):
                rows += len(values)
                yield values
        if rows == 0:
            raise self._no_rows()

    def _head(self) -> tuple[bytes, bool]:
        """The beginning of the table with its whole first line, and whether that is all.

        Raises:
            InputError: if the first line is too long.
        """
        with self._packed() as stream:
            try:
                head = stream.read(HEAD_BYTES)
                while not (b"\n" in head or b"\r" in head) and len(head) <= BLOCK_BYTES:
                    more = stream.read(BLOCK_BYTES)
                    if not more:
                        return head, True
                    head += more
                whole = len(head) < HEAD_BYTES
            except InputError:
                raise
            except _DAMAGE as error:
                raise damaged(self.path, "CSV", error) from None
        ends = [place for place in (head.find(b"\n"), head.find(b"\r")) if place >= 0]
        if min(ends, default=len(head)) > BLOCK_BYTES:
            raise InputError(f"{self.path}: the first line is longer than {BLOCK_BYTES} bytes, expected column names")
        return head, whole

    def _packed(self) -> pa.NativeFile:
        """The bytes of the file, unpacked where it is compressed."""
        file = self.open()
        if not self.path.name.lower().endswith(".gz"):
            return pa.input_stream(file)
        return pa.PythonFile(Bounded(self.path, pa.input_stream(file, compression="gzip")), mode="r")

    def _stream(self, *, marked: bool = True) -> pa.NativeFile:
        """The table in UTF-8; without the mark of UTF-8 at its beginning where it is not to be `marked`."""

        def opened() -> pa.NativeFile:
            stream = self._packed()
            if self._dialect.encoding == "utf-8":
                return stream
            return pa.transcoding_input_stream(stream, self._dialect.encoding, "utf-8")

        if marked:
            return opened()
        with opened() as stream:
            begin = stream.read(len(codecs.BOM_UTF8))
        stream = opened()
        if begin == codecs.BOM_UTF8:
            stream.read(len(begin))
        return stream

    def _reader(
        self,
        stream: pa.NativeFile,
        convert: csv.ConvertOptions | None = None,
        on_ragged: Callable[[csv.InvalidRow], str] | None = None,
    ) -> csv.CSVStreamingReader:
        # pyarrow counts rows for `on_ragged` only when one thread parses. It hands them over as text, and writes a
        # traceback for one that is none; so each byte is then taken for a letter, see `bytes_of`.
        encoding = "utf8" if on_ragged is None else "latin-1"
        found = self._dialect
        return csv.open_csv(
            stream,
            read_options=csv.ReadOptions(
                block_size=BLOCK_BYTES, use_threads=on_ragged is None, encoding=encoding, skip_rows=found.skipped
            ),
            parse_options=csv.ParseOptions(
                delimiter=found.separator,
                quote_char=found.quote,
                newlines_in_values=found.lines_in_cells,
                invalid_row_handler=on_ragged,
                ignore_empty_lines=self._skip_empty_lines,
            ),
            convert_options=csv.ConvertOptions(decimal_point=found.decimal) if convert is None else convert,
        )

    def _explain_header(self, error: BaseException) -> InputError:
        return self._no_rows() if "Empty CSV file" in str(error) else self._damaged(error)

    def _no_rows(self) -> InputError:
        return InputError(f"{self.path}: there are no rows, expected a header line and at least one row below it")

    def _damaged(self, error: BaseException) -> InputError:
        if "straddl" in str(error):
            return InputError(
                f"{self.path}: a row is longer than {BLOCK_BYTES} bytes, expected shorter ones (is a quote left open?)"
            )
        if isinstance(error, UnicodeError):
            return InputError(f"{self.path}: the text is not {self._dialect.encoding}{self._hint('encoding')}")
        return damaged(self.path, "CSV", error)

    def _hint(self, option: str) -> str:
        """The option that would read a table that cannot be read as it is, as the end of a sentence."""
        said = {
            "encoding": "cp1252" if self._dialect.encoding == "utf-8" else "utf-8",
            "decimal": "point" if self._dialect.decimal == "," else "comma",
        }[option]
        return f" (another {option} is said by --data.{option} {said})"

    def _other_number(self, text: str) -> float | None:
        """The number that a cell is with the other decimal mark."""
        return cell_number(text, "," if self._dialect.decimal == "." else ".")

    def _dressed(self, name: str) -> InputError:
        """The error for the first number of a column that has other signs about it."""
        row = 0
        for part in self._cells(name):
            for cell in part.to_pylist():
                row, (text, _) = row + 1, text_of(cell)
                if cell_number(text, self._dialect.decimal) is None and may_be_number(text):
                    if self._other_number(text) is not None:
                        return cell_error(self.path, row, name, text, f"a finite number{self._hint('decimal')}")
                    hint = f"take other signs away, or say that it is none (columns.types.{name} = categorical)"
                    return cell_error(self.path, row, name, text, f"a plain number: {hint}")
        return self._no_rows()

    def _require_no_codes(self, names: Sequence[str]) -> None:
        """Check that no whole number of these columns is there with zeros before it and without."""
        padded = {self.names[place] for place in self._dialect.padded}
        for name in names:
            found = first_padded_again(self._cells(name)) if name in padded else None
            if found is not None:
                row, text, other = found
                expected = f"another number than that of the text {other!r:.60} above it: {_codes(name)}"
                raise cell_error(self.path, row, name, text, f"{expected}, or write the number in one way")

    def _cells(self, name: str) -> Iterator[pa.Array]:
        """The cells of a column as they are written, each of their bytes taken for a letter."""
        read = name.encode("utf-8").decode("latin-1")
        convert = csv.ConvertOptions(
            column_types={read: pa.string()}, include_columns=[read], strings_can_be_null=False
        )
        with self._stream(marked=False) as stream, self._reader(stream, convert, lambda row: "skip") as reader:
            for batch in reader:
                yield batch.column(read)

    def _slowly(
        self,
        columns: Sequence[str],
        label: str | None,
        good: int,
        error: BaseException,
        texts: Mapping[str, Sequence[str]] = NO_TEXTS,
        missing: bool = False,
    ) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        """The rows after `good` ones, read as texts since pyarrow could not convert them, which ended in `error`.

        Raises:
            InputError: for the first cell that is not what it should be, or the first row of another length.
        """
        ragged: list[csv.InvalidRow] = []

        def keep(row: csv.InvalidRow) -> str:
            ragged.append(row)
            return "error"

        read = [name.encode("utf-8").decode("latin-1") for name in columns]
        types = {name: pa.string() for name in read}
        convert = csv.ConvertOptions(column_types=types, include_columns=read, strings_can_be_null=False)
        rows, boolean = 0, set(self._boolean)
        try:
            with self._stream(marked=False) as stream, self._reader(stream, convert, on_ragged=keep) as reader:
                for batch in reader:
                    start, rows = max(0, good - rows), rows + batch.num_rows
                    if start >= batch.num_rows:
                        continue
                    first = rows - batch.num_rows + start
                    parts, bad = [], []
                    for place, (name, other) in enumerate(zip(columns, read, strict=True)):
                        cells = batch.column(other).slice(start).dictionary_encode()
                        pairs = [text_of(cell) for cell in cells.dictionary.to_pylist()]
                        found = [text for text, _ in pairs]
                        codes = cells.indices.to_numpy()
                        # Where one cell of the first block is neither, pyarrow takes all of it for texts.
                        if first == 0 and len(codes) and found[codes[0]].strip().lower() in ("true", "false"):
                            boolean.add(name)
                        if name in texts:
                            values = places_of(pa.array(found, pa.large_string()), texts[name])
                            wrong = [self._wrong_text(text, whole, missing) for text, whole in pairs]
                        else:
                            numbers = [self._number(text, name == label, name in boolean, missing) for text in found]
                            values = np.array([value for value, _ in numbers], np.float64)
                            wrong = [expected for _, expected in numbers]
                        parts.append(values[codes])
                        refused = np.array([expected is not None for expected in wrong], bool)[codes]
                        if refused.any():
                            row = int(np.argmax(refused))
                            bad.append((row, place, name, found[codes[row]], wrong[codes[row]]))
                    if bad:
                        row, _, name, text, expected = min(bad)
                        raise cell_error(self.path, first + row + 1, name, text.strip(), str(expected))
                    yield np.stack(parts, axis=1)
        except InputError:
            raise
        except _DAMAGE as again:
            if ragged:
                # The header is row 1 of the file.
                row, cells, expected = ragged[0].number - 1, ragged[0].actual_columns, ragged[0].expected_columns
                alone = (
                    f"; the cells are taken to be separated by {shown_separator(self._dialect.separator)}, and "
                    "--data.separator says another mark"
                    if expected == 1
                    else ""
                )
                raise InputError(
                    f"{self.path}: row {row} has {cells} cells, expected {expected} as in the header{alone}"
                ) from None
            raise self._damaged(again) from None

    def _values(self, column: pa.Array, texts: Sequence[str] | None) -> Float64[np.ndarray, "rows"]:
        if texts is None:
            return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        cells = column.dictionary_encode()
        if self._never.search("".join(filter(None, cells.dictionary.to_pylist()))):
            raise pa.ArrowInvalid("a cell that is no text")
        return places_of(cells, texts)

    def _wrong_text(self, text: str, whole: bool, missing: bool) -> str | None:
        """Return what a cell of texts should have been, `whole` if its bytes are all text; None if it is that."""
        if "\0" in text:
            return "a text without zero bytes"
        if not self._dialect.lines_in_cells and ("\n" in text or "\r" in text):
            return "a text of one line, as the cells before it (is a quote left open?)"
        if not whole:
            return f"a text in UTF-8{self._hint('encoding')}"
        return None if text.strip() or missing else "a text"

    def _number(self, text: str, is_label: bool, boolean: bool, missing: bool) -> tuple[float, str | None]:
        """The number of a cell, and what it should have been if it is none."""
        text, decimal = text.strip(), self._dialect.decimal
        if missing and not is_label and text in EMPTY:
            return np.nan, None
        if boolean:
            value = _TRUTHS.get(text)
            return (0.0, "true or false like the cells above it") if value is None else (value, None)
        value = cell_number(text, decimal)
        if value is None:
            hint = "" if self._other_number(text) is None else self._hint("decimal")
            hint = INSTEAD_OF_TIMES if is_time(text) and not is_label else hint
            return 0.0, expected_cell("", "" if is_label else None) + hint
        if is_label and value not in (0.0, 1.0):
            return 0.0, expected_cell("", "")
        if not self._dialect.sure and is_ambiguous(text):
            return 0.0, "to be told what its comma is: --data.decimal point for thousands, comma for a fraction"
        return value, None


_NOT_ROUNDED = "a number that float64 does not round: "


def _codes(name: str) -> str:
    return f"say that these are codes (columns.types.{name} = categorical)"
