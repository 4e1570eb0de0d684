"""How a CSV file is written: its encoding, what stands between cells, and before the fraction of a number.

All of it is found out from the beginning of the file, so that whoever reads the file, and in whatever pieces, finds the
same. What cannot be told for sure is refused with the option that says it.
"""

import codecs
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias

import pyarrow as pa
from pydantic import AfterValidator, Field

from jaxflow.config.spec import Spec
from jaxflow.data.tables.csv.codes import some_padded
from jaxflow.data.tables.csv.numbers import Decimal, decimal_of, maybe_thousands, some_grouped
from jaxflow.data.tables.csv.separator import first_rows, named_separator, require_header, separator_of, shown_separator
from jaxflow.errors import InputError

HEAD_BYTES = 1 << 18  # of the file that are looked at
MOST_COLUMNS = 1 << 14  # pyarrow takes 6 KiB for each

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _one_character(separator: str | None) -> str | None:
    mark = None if separator is None else named_separator(separator)
    if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in "\"\r\n\0'.+-" or mark.isalnum()):
        raise ValueError("expected comma, semicolon, tab, bar, space or another character that no cell holds")
    return mark


def _point_or_comma(decimal: str | None) -> str | None:
    mark = decimal if decimal is None else {"point": ".", "comma": ","}.get(decimal, decimal)
    if mark not in (None, ".", ","):
        raise ValueError("expected point or comma")
    return mark


def _known_encoding(encoding: str | None) -> str | None:
    if encoding is None:
        return None
    try:
        # Some codecs are of bytes, which are no text, and some cannot read a text in pieces or pass over damage.
        content = "a,1".encode(encoding)
        stream = pa.transcoding_input_stream(pa.input_stream(pa.py_buffer(content)), encoding, "utf-8")
        found = codecs.getincrementaldecoder(encoding)(errors="replace").decode(content, True)
        if found == stream.read().decode().removeprefix("\ufeff") == "a,1":
            return codecs.lookup(encoding).name
    except (LookupError, ValueError, TypeError, AttributeError):
        pass
    raise ValueError("expected an encoding that Python knows, such as utf-8, utf-16 or cp1252")


Separator: TypeAlias = Annotated[
    str | None,
    AfterValidator(_one_character),
    Field(
        description="CSV: what stands between cells: comma, semicolon, tab, bar, space or another character (default: "
        "found out)"
    ),
]
DecimalMark: TypeAlias = Annotated[
    str | None,
    AfterValidator(_point_or_comma),
    Field(description="CSV: what stands before a fraction: point or comma (default: found out)"),
]
Encoding: TypeAlias = Annotated[
    str | None,
    AfterValidator(_known_encoding),
    Field(description="CSV: how text is written as bytes, such as utf-8, utf-16 or cp1252 (default: found out)"),
]


class CsvOptions(Spec):
    """Options of how CSV files are written; what is not given is found out."""

    separator: Separator = None
    decimal: DecimalMark = None
    encoding: Encoding = None

    def given(self) -> str | None:
        """The first option that is said, None if none is."""
        return next((name for name in CsvOptions.model_fields if getattr(self, name) is not None), None)


class Dialect(NamedTuple):
    """How one file is written.

    Attributes:
        encoding: of its text.
        separator: what stands between cells.
        quote: what stands around a cell that holds the separator.
        decimal: what stands before the fraction of a number.
        sure: whether the decimal is said, or cells show it.
        grouped: the places of columns in which some whole numbers have a point, which may be between thousands.
        padded: the places of columns in which some whole number begins with a zero, as codes do.
        lines_in_cells: whether there are cells of several lines.
        skipped: how many lines stand above the header.
        width: how many columns the header has.
        counts_rows: whether the first column has no name and counts the rows, as the index of a frame of pandas does.
    """

    encoding: str
    separator: str
    quote: str
    decimal: Decimal
    sure: bool
    grouped: tuple[int, ...]
    padded: tuple[int, ...]
    lines_in_cells: bool
    skipped: int
    width: int
    counts_rows: bool


def dialect_of(path: Path, head: bytes, whole: bool, said: CsvOptions) -> Dialect:
    """Find out how a file is written.

    Args:
        path: the file, for errors.
        head: its first bytes, with the whole of the first line.
        whole: whether these are all there are.
        said: what need not be found out.

    Raises:
        InputError: if the bytes are no text, or there are several ways to read them, with the option that tells; or if
            there are too many columns.
    """
    encoding = said.encoding or _encoding_of(path, head, whole)
    try:
        text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(head, whole).removeprefix("\ufeff")
    except (UnicodeError, ValueError, LookupError) as error:
        raise InputError(
            f"{path}: cannot be read as {encoding} ({error}): say the encoding, as in {_HOW_ENCODED}"
        ) from None
    if not whole:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    first = re.match(r"sep=(.)\r?(\n|$)", text)  # what spreadsheets write for each other
    skipped = int(first is not None)
    if first is not None:
        text = text[first.end() :]
    separator = said.separator or (first and first[1]) or separator_of(path, text)
    rows = first_rows(text, separator)
    quote = '"'
    if '"' not in text and "'" in text and _all_quoted(rows):
        quote = "'"
        rows = first_rows(text, separator, quote)
    _require_quotes_first(path, text, rows, separator, quote)
    width = len(rows[0]) if rows else 0
    if width > MOST_COLUMNS:
        raise InputError(f"{path}: the first line has {width:,} columns, expected at most {MOST_COLUMNS:,}")
    require_header(path, rows, separator)
    columns = list(zip(*(row for row in rows[1:] if len(row) == width), strict=False))
    decimal, sure = decimal_of(columns)
    if said.decimal is not None:
        decimal, sure = ("," if said.decimal == "," else "."), True
    # A semicolon separates where the comma stands before fractions.
    elif decimal == "." and not sure and separator == ";" and (found := maybe_thousands(columns)) is not None:
        place, cell = found
        warnings.warn(
            f"{path}: column {rows[0][place]} is read as fractions, as in {cell}, though its points may stand between "
            "thousands: say which, as in --data.decimal comma or --data.decimal point",
            stacklevel=2,
        )
    # A comma that separates stands before no fraction, so that the point does.
    grouped = () if sure or separator == "," else tuple(some_grouped(columns))
    # A quote that is left open makes one cell of all that follows.
    closed = rows if whole and text.count(quote) % 2 == 0 else rows[:-1]
    lines_in_cells = any("\n" in cell or "\r" in cell for row in closed for cell in row)
    counts_rows = bool(columns) and rows[0][0] == "" and columns[0] == tuple(map(str, range(len(columns[0]))))
    return Dialect(
        encoding,
        separator,
        quote,
        decimal,
        sure,
        grouped,
        some_padded(columns),
        lines_in_cells,
        skipped,
        width,
        counts_rows,
    )


_HOW_ENCODED = "--data.encoding utf-16"


def _encoding_of(path: Path, head: bytes, whole: bool) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    start = head[: 1 << 12]
    for place, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        # Most letters of a header and all digits have a zero for their other half.
        if (
            len(start) > 3
            and 2 * start[place::2].count(0) > len(start[place::2])
            and not start[1 - place :: 2].count(0)
        ):
            return encoding
    text = codecs.getincrementaldecoder("utf-8")(errors="replace").decode(head, whole)
    broken = text.count("\ufffd")
    if not broken or any(not char.isascii() and char != "\ufffd" for char in text):
        return "utf-8"  # with damage, if any, which has its place
    try:
        codecs.getincrementaldecoder("cp1252")().decode(head, whole)
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: the text is neither UTF-8 nor cp1252: say how it is encoded, as in {_HOW_ENCODED}"
        ) from None
    return "cp1252"


def _all_quoted(rows: Sequence[Sequence[str]]) -> bool:
    """Whether some column has single quotes around each of its cells."""
    columns = zip(*(row for row in rows[1:] if len(row) == len(rows[0])), strict=True)
    return any(all(re.fullmatch(r"[ \t]*'.*'", cell, re.DOTALL) for cell in column) for column in columns)


def _require_quotes_first(path: Path, text: str, rows: Sequence[Sequence[str]], separator: str, quote: str) -> None:
    """Check that no blank stands before the quote that begins a cell: its quotes would be read as part of the text.

    Raises:
        InputError: naming such a cell.
    """
    for row in rows:
        for cell in row:
            # Within quotes another quote is doubled, so that such a cell does not stand in the file as it is.
            if cell[:1] in (" ", "\t") and cell.lstrip(" \t").startswith(quote) and cell in text:
                raise InputError(
                    f"{path}: a blank stands before the quote of a cell ({cell!r:.60}), expected it right behind the "
                    f"separator ({shown_separator(separator)}): write the file without such blanks, as "
                    "pandas.read_csv(path, skipinitialspace=True).to_csv(path, index=False) does"
                )
