"""Separators of CSV files: found out from the first rows, or refused with the option for them."""

import csv
import io
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxflow.data.tables.csv.numbers import cell_number
from jaxflow.errors import InputError

HEAD_ROWS = 200  # that are parsed

_SEPARATORS = (",", ";", "\t", "|")  # taken without being said
_SURE = frozenset((*_SEPARATORS, "^", "~", *map(chr, range(1, 32)))) - frozenset("\r\n")  # hardly ever within texts
_WITHIN_WORDS = "/_"  # they divide dates, paths and names, too
_NAMES = {
    "comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "bar": "|", "pipe": "|", "space": " ", "colon": ":",
    "caret": "^", "tilde": "~",
}  # fmt: skip
_SHOWN = {mark: name for name, mark in _NAMES.items() if name not in ("\\t", "pipe")}
_ALIKE = 0.9  # of the rows have as many cells in a table; a few at its end may be sums or notes


class _Division(NamedTuple):
    """One way in which a mark divides the first rows.

    Attributes:
        numbers: the share of columns that are numbers.
        sure: whether the mark stands within texts hardly ever.
        width: how many cells most rows have.
        mark: what divides them.
        above: the first row, if it is not the header.
    """

    numbers: float
    sure: bool
    width: int
    mark: str
    above: list[str] | None


def named_separator(name: str) -> str:
    r"""The mark of a name such as semicolon, or of a number such as \x01; else the text as it is."""
    if re.fullmatch(r"\\x[0-9a-fA-F]{2}", name):
        return chr(int(name[2:], 16))
    return _NAMES.get(name, name)


def shown_separator(separator: str) -> str:
    """A separator as one would say it on the command line."""
    return _SHOWN.get(separator, separator if separator.isprintable() else f"\\x{ord(separator):02x}")


def first_rows(text: str, separator: str, quote: str = '"') -> list[list[str]]:
    """The first rows, empty lines left out."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, quotechar=quote):
            rows += [row] if row else []
            if len(rows) > HEAD_ROWS:
                break
    except csv.Error:  # such as a cell of more than 128 KiB
        pass
    return rows


def separator_of(path: Path, text: str) -> str:
    """The mark that divides most rows into as many cells as the header, and these into numbers, if in doubt a comma.

    Raises:
        InputError: if no mark does, but one divides the rows all the same, which are then taken for a table below a
            title, or separated by what may stand within texts as well.
    """
    found = []
    for place, mark in enumerate(_SEPARATORS):
        rows = first_rows(text, mark)
        if rows and len(rows[0]) > 1:
            alike = [row for row in rows[1:] if len(row) == len(rows[0])]
            if mark == "," or 2 * len(alike) >= len(rows) - 1:
                share = len(alike) / (len(rows) - 1) if rows[1:] else 1.0
                found.append((share, alike, -place, mark))
    if found:
        share, _, _, best = max((share, _share_of_numbers(alike), place, mark) for share, alike, place, mark in found)
        if share >= 0.5:
            return best
    elif _by_spaces(path, text):
        return " "
    _require_undivided(path, text)
    return ","


def require_header(path: Path, rows: Sequence[Sequence[str]], separator: str) -> None:
    """Check that the first row has as many cells as those below it, if these agree.

    Raises:
        InputError: naming the line, if it has not.
    """
    if len(rows) < 3:
        return
    ((width, count),) = Counter(map(len, rows[1:])).most_common(1)
    found = len(rows[0])
    one = separator == "," and found == 1 and _is_column_of_fractions(rows[1:])
    if found != width and count >= _ALIKE * (len(rows) - 1) and not one:
        raise InputError(
            f"{path}: the first line ({_shown(rows[0], separator)}) has {_cells(found)}, separated by "
            f"{shown_separator(separator)}, and those below it have {width}, expected the names of the columns there: "
            "take away what stands above these, and quote cells that hold the separator (another one is said by "
            "--data.separator)"
        )


def _require_undivided(path: Path, text: str) -> None:
    """Check that no mark divides rows that are taken to be of one cell each.

    Raises:
        InputError: if one does, with the option that says what it is, and naming the first line if that is no header.
    """
    marks = dict.fromkeys(mark for line in _lines(text)[:100] for mark in line if _may_divide(mark))
    ways = [way for mark in [*marks][:64] if (way := _divided(first_rows(text, mark), mark)) is not None]
    if not ways:
        return
    best = max(ways, key=lambda way: way[:3])
    mark, one = shown_separator(best.mark), "--data.separator comma says that there is one column"
    if best.above is not None:
        raise InputError(
            f"{path}: the first line ({_shown(best.above, best.mark)}) is not the header of those below it, which have "
            f"{_cells(best.width)} separated by {mark}: take away what stands above the names of the columns"
            + ("" if best.mark == "," else f" ({one})")
        )
    raise _doubtful(path, best.width, mark, best.mark)


def _doubtful(path: Path, width: int, mark: str, separator: str) -> InputError:
    said = f"--data.separator {shlex.quote(mark)} or --data.separator comma"
    if not separator.isascii():
        said = "--data.separator comma, or write the file with commas"
    between = "spaces" if separator == " " else mark
    return InputError(
        f"{path}: the rows may be of {width} cells separated by {between} or of one: say which, as in {said}"
    )


def _divided(rows: list[list[str]], mark: str) -> _Division | None:
    """How a mark divides the rows, if it looks like what separates the cells of a table."""
    widths = Counter(len(row) for row in rows if len(row) > 1)
    if not widths:
        return None
    width = widths.most_common(1)[0][0]
    start = next(place for place, row in enumerate(rows) if len(row) == width)
    table = [row for row in rows[start:] if len(row) == width]
    if len(table) < 2 or len(table) < _ALIKE * (len(rows) - start) or 2 * start > len(rows):
        return None
    if mark == "," and start and _is_column_of_fractions(table):
        return None
    sure = mark in _SURE
    if not sure and not start and _is_below_title(table):
        start, table = 1, table[1:]
    numbers = _columns_of_numbers(table[1:])
    if not sure:
        wanted = all(numbers) if mark in _WITHIN_WORDS else any(numbers)
        # Of what is no table all rows are alike, the first one of it too.
        if not wanted or (start and any(map(_is_some_number, table[0]))):
            return None
    return _Division(sum(numbers) / width, sure, width, mark, rows[0] if start else None)


def _is_below_title(rows: Sequence[Sequence[str]]) -> bool:
    """Whether there are numbers below two rows without any, of which the first is a title of as many words."""
    if len(rows) < 3 or any(map(_is_some_number, [*rows[0], *rows[1]])):
        return False
    return any(_columns_of_numbers(rows[2:]))


def _is_column_of_fractions(rows: Sequence[Sequence[str]]) -> bool:
    """Whether rows divided by commas are numbers with a decimal comma, which the reader refuses for that."""
    return all(len(row) == 2 and all(cell.lstrip("+-").isdigit() for cell in row) for row in rows)


def _may_divide(mark: str) -> bool:
    return not mark.isalnum() and mark not in "\"'.+-\r\n\0"


def _columns_of_numbers(rows: Sequence[Sequence[str]]) -> list[bool]:
    """For each column whether all of its cells are numbers."""
    return [all(map(_is_some_number, column)) for column in zip(*rows, strict=True)]


def _share_of_numbers(rows: Sequence[Sequence[str]]) -> float:
    cells = [cell for row in rows for cell in row]
    return sum(not cell.strip() or _is_some_number(cell) for cell in cells) / max(1, len(cells))


def _is_some_number(cell: str) -> bool:
    return cell_number(cell, ".") is not None or cell_number(cell, ",") is not None


def _by_spaces(path: Path, text: str) -> bool:
    """Whether a space divides all rows into numbers, as many as the header has names.

    Raises:
        InputError: if it divides them into numbers and other cells, or there are several between two.
    """
    lines = [re.split(r"[ \t]+", line.strip(" \t")) for line in _lines(text)[: HEAD_ROWS + 1] if line.strip()]
    if len(lines) < 2 or len(lines[0]) < 2 or {len(line) for line in lines} != {len(lines[0])}:
        return False
    numbers = _columns_of_numbers(lines[1:])
    if not any(numbers):
        return False
    width = len(lines[0])
    if not all(numbers):
        raise _doubtful(path, width, "space", " ")
    if all(len(row) == width for row in first_rows(text, " ")):
        return True
    raise InputError(
        f"{path}: the first line has {width} words with several spaces between them, expected columns separated by "
        "one character: write the file with commas"
    )


def _lines(text: str) -> list[str]:
    return re.split(r"\r\n|\r|\n", text)


def _cells(count: int) -> str:
    return f"{count} {'cell' if count == 1 else 'cells'}"


def _shown(row: Sequence[str], separator: str) -> str:
    return f"{separator.join(row)!r:.60}"
