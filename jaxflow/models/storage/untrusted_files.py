"""Reading the two files of a saved detector, whoever wrote them.

A directory with a model may come from anywhere, and whoever changes a file can make the checksums fit again. So nothing
here takes more memory than the file itself has bytes, waits for a writer, or leaves open what a file means.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from jaxflow.errors import InputError
from jaxflow.models.model_size import memory_bytes

MOST_JSON_BYTES = 1 << 24  # a hundred thousand columns take a few MiB
"""The largest description that is written, and read."""
MOST_JSON_VALUES = 1 << 21
"""The most values in one; parsed, each takes about a hundred bytes, however few it takes in the file."""

SHORT_BYTES = 1 << 24
"""How long weights may be that are read whatever their header says; their checksum says more."""


def read_regular(file: Path, most_bytes: int | None = None) -> bytes:
    """All bytes of a file, which may be a link to another one.

    Args:
        file: the file.
        most_bytes: how long it may be; None for as long as fits into memory.

    Raises:
        InputError: if it is missing, cannot be read, is too long, or is something else: a directory, a device, or a
            pipe, for which one would wait for ever.
    """
    with _opened(file, most_bytes) as opened:
        return opened.read(os.fstat(opened.fileno()).st_size)


def read_weights(file: Path) -> bytes:
    """All bytes of a safetensors file; a long one is read once its header says that it is as long as it is.

    Raises:
        InputError: as `read_regular`, and if the header says otherwise.
    """
    with _opened(file, None) as opened:
        size = os.fstat(opened.fileno()).st_size
        if size > SHORT_BYTES:
            said = _said_bytes(opened)
            if said != size:
                of = "of no arrays" if said is None else f"of {said}"
                raise InputError(f"{file} is damaged: it has {size} bytes, and its header speaks {of}")
            opened.seek(0)
        return opened.read(size)


@contextmanager
def _opened(file: Path, most_bytes: int | None) -> Iterator[BinaryIO]:
    try:
        # Without waiting: to open a pipe blocks until somebody writes to it.
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as opened:
            about = os.fstat(opened.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise InputError(f"{file} is no regular file, expected one that save wrote")
            # A file with holes takes no room on a disk, however long it is.
            most = memory_bytes() if most_bytes is None else most_bytes
            if about.st_size > most:
                raise InputError(f"{file} has {about.st_size} bytes, expected at most {most}")
            yield opened
    except FileNotFoundError:
        raise InputError(f"{file} is missing") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None


def _said_bytes(opened: BinaryIO) -> int | None:
    """How long a safetensors file is by its header; None if it has none."""
    length = int.from_bytes(opened.read(8), "little")
    if length > MOST_JSON_BYTES:
        return None
    header = opened.read(length)
    try:
        if too_large(header):
            return None
        ends = [array["data_offsets"][1] for name, array in json.loads(header).items() if name != "__metadata__"]
        return 8 + length + max(ends)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None


def read_json(file: Path) -> Any:
    """Read a JSON file: UTF-8, every key once, text that UTF-8 can hold, and no other token, such as NaN.

    Raises:
        InputError: if it is none, holds too many values, or cannot be read as `read_regular` reads.
    """
    text = read_regular(file, MOST_JSON_BYTES)
    if reason := too_large(text):
        raise InputError(f"{file} is damaged: it has {reason}")
    try:
        values = json.loads(text.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refuse_token)
        if b"\\u" in text:
            _require_unicode(values)
        return values
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged: it is no JSON ({error})") from None


def too_large(text: bytes) -> str:
    """Say what JSON text has too much of; empty if nothing."""
    if len(text) > MOST_JSON_BYTES:
        return f"{len(text)} bytes, expected at most {MOST_JSON_BYTES}"
    # Each value but the first follows one of these; within texts they may stand as well.
    values = sum(text.count(mark) for mark in b",:[{")
    return f"{values} values, expected at most {MOST_JSON_VALUES}" if values > MOST_JSON_VALUES else ""


def read_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file.

    The header's lengths and offsets are checked against the length of the file before any array is made.

    Raises:
        InputError: if it is none, or an array is of a type that numpy has not.
    """
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    if reason := too_large(header):
        raise InputError(f"its header has {reason}")
    try:
        arrays = load_arrays(data)
        # Of an array that is named twice it has taken the last.
        json.loads(header, object_pairs_hook=_distinct)
        return arrays
    except (SafetensorError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(str(error)) from None
    except KeyError as error:
        raise InputError(f"an array is of the type {error}, which no detector holds") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key comes twice")
    return values


def _require_unicode(value: Any) -> None:
    """Refuse half of a pair of escapes that stand for one letter: no name with it could be printed or written."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _require_unicode(key)
            _require_unicode(inner)
    elif isinstance(value, list):
        for inner in value:
            _require_unicode(inner)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the text {value!a:.80} is half of a letter") from None


def _refuse_token(token: str) -> NoReturn:
    raise ValueError(f"it holds {token}")
