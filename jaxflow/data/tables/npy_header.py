"""The header of an array that NumPy has written, read without evaluating it and checked against what follows it."""

import math
import re
from functools import lru_cache
from io import BufferedIOBase
from typing import BinaryIO, NamedTuple

import numpy as np

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # by version: of the number that says how long the header is
_MOST_BYTES = 10_000  # as in numpy
_MOST_DIMENSIONS = 32
_ENTRIES = re.compile(r"\s*\{(.*)\}\s*", re.DOTALL)
_ENTRY = re.compile(
    r"""\s*(['"])(descr|fortran_order|shape)\1\s*:\s*('[^']*'|"[^"]*"|True|False|\([0-9L,\s]*\)|\[.*\])\s*(?:,|$)""",
    re.DOTALL,
)
_SHAPE = re.compile(r"\(\s*(([0-9]+L?\s*,\s*)+([0-9]+L?\s*)?)?\)")  # as Python writes tuples; L was for long ones
_TYPE = re.compile(r"[<>|=]?[a-zA-Z][0-9]{0,9}(\[[0-9a-zA-Z]{1,10}\])?")


class ArrayHeader(NamedTuple):
    """Shape, type and order of an array, as its header says.

    Attributes:
        dtype: the type of its numbers.
        fortran_order: whether columns follow one another, not rows.
        shape: its lengths.
        start: where its numbers begin, in bytes from the beginning.
    """

    dtype: np.dtype
    fortran_order: bool
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        """How many bytes its numbers take in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_array_header(file: BinaryIO | BufferedIOBase, size: int) -> ArrayHeader:
    """Read the header that an NPY file, or a member of an NPZ file, begins with.

    Args:
        file: where it is read from; it stands at the numbers afterwards.
        size: how many bytes there are in all.

    Raises:
        ValueError: if there is no such header, or it speaks of more than there is.
    """
    begin = file.read(8)
    if len(begin) < 8 or begin[:6] != _MAGIC:
        raise ValueError("it does not begin as an array of NumPy does")
    if begin[6] not in _LENGTH_BYTES:
        raise ValueError(f"version {begin[6]} of the format is unknown")
    width = _LENGTH_BYTES[begin[6]]
    length = int.from_bytes(file.read(width), "little")
    if length > _MOST_BYTES:
        raise ValueError(f"the header has {length} bytes, expected at most {_MOST_BYTES}")
    text = file.read(length)
    if len(text) < length:
        raise ValueError("the header is cut off")
    header = ArrayHeader(*_described(text), 8 + width + length)
    # Objects are not laid out one by one; whoever wants numbers refuses them.
    if not header.dtype.hasobject and header.nbytes > size - header.start:
        raise ValueError(
            f"the shape {header.shape} of {header.dtype} takes {header.nbytes} bytes, of which there are "
            f"{max(0, size - header.start)}"
        )
    return header


@lru_cache  # an archive of columns has one header as many times
def _described(text: bytes) -> tuple[np.dtype, bool, tuple[int, ...]]:
    entries = _entries(text.decode("latin-1"))
    if entries["fortran_order"] not in ("True", "False") or entries["shape"][0] != "(":
        raise ValueError("the header is damaged")
    return _dtype(entries["descr"]), entries["fortran_order"] == "True", _shape(entries["shape"])


def _entries(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    outer = _ENTRIES.fullmatch(text)
    rest = outer[1].rstrip() if outer else ""
    while rest:
        entry = _ENTRY.match(rest)
        if entry is None:
            raise ValueError("the header is damaged")
        found[entry[2]] = entry[3]
        rest = rest[entry.end() :].lstrip()
    if len(found) != 3:
        raise ValueError("the header is damaged")
    return found


def _dtype(text: str) -> np.dtype:
    if text[0] == "[":
        raise ValueError("it holds records of several fields")
    try:
        if not _TYPE.fullmatch(text[1:-1]):
            raise ValueError
        return np.dtype(text[1:-1])
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"the type {text:.40} is unknown") from None


def _shape(text: str) -> tuple[int, ...]:
    if not _SHAPE.fullmatch(text):
        raise ValueError("the header is damaged")
    lengths = re.findall("[0-9]+", text)
    if len(lengths) > _MOST_DIMENSIONS or any(len(digits) > 40 for digits in lengths):
        raise ValueError("the shape has too many dimensions or digits")
    return tuple(map(int, lengths))
