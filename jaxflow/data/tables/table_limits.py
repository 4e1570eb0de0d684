"""How large a table of a stranger may become in memory, whatever its file says."""

from pathlib import Path

from jaxflow.errors import InputError

MOST_COLUMNS = 1 << 16
"""The largest number of columns, or of arrays, that a file may have."""

MOST_TEXTS = 1 << 20
"""The largest number of different texts in a column."""

FREE_BYTES, MOST_GROWTH = 1 << 28, 10
"""What any file may take in memory, and how many times its own size it may take beside that.

A few kilobytes can stand for gigabytes, in a compressed archive as in a column that repeats one value. A table of
thirty million numbers is free.
"""


def require_few_columns(path: Path, count: int) -> None:
    """Check the number of columns, before a name or anything else is made for each.

    Raises:
        InputError: if there are more than `MOST_COLUMNS`.
    """
    if count > MOST_COLUMNS:
        raise InputError(f"{path}: there are {count} columns, expected at most {MOST_COLUMNS}")


def require_few_texts(path: Path, column: str, count: int) -> None:
    """Check the number of different texts in a column.

    Raises:
        InputError: if there are more than `MOST_TEXTS`.
    """
    if count > MOST_TEXTS:
        raise InputError(
            f"{path}: column {column} holds more than {MOST_TEXTS} different texts, expected fewer, or features "
            "without it"
        )


def require_moderate(path: Path, size: int, needed: int, advice: str) -> None:
    """Check what is about to be held in memory.

    Args:
        path: the file.
        size: its length in bytes.
        needed: how many bytes come out of it.
        advice: what the user can do, as the end of a sentence.

    Raises:
        InputError: if that is more than `FREE_BYTES` and `MOST_GROWTH` times the size of the file.
    """
    most = FREE_BYTES + MOST_GROWTH * size
    if needed > most:
        raise InputError(
            f"{path}: a file of {size} bytes would take {needed} in memory, expected at most {most}: {advice}"
        )
