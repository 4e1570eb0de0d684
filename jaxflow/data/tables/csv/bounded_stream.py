"""Content of compressed files, of which a few kilobytes can stand for gigabytes."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa

from jaxflow.errors import InputError

MOST_UNPACKED = 1 << 25, 200
"""How many bytes a compressed file may hold, or how many times its own size, whichever is more."""


class Bounded(io.RawIOBase):
    """Stream of a compressed file's content, refused if it is a bomb.

    Args:
        path: the compressed file.
        stream: what it holds.
    """

    def __init__(self, path: Path, stream: pa.NativeFile):
        self._path, self._stream = path, stream
        least, times = MOST_UNPACKED
        self._left = max(least, times * path.stat().st_size)

    def readable(self) -> bool:
        """Say that bytes can be read."""
        return True

    def read(self, size: int = -1) -> Any:
        """Some bytes.

        Raises:
            InputError: if they are more than such a file may hold.
        """
        found = self._stream.read(size)
        self._left -= len(found)
        if self._left < 0:
            raise InputError(
                f"{self._path}: it holds more than {MOST_UNPACKED[1]} times its size, expected it unpacked, as .csv"
            )
        return found

    def close(self) -> None:
        """Close what it reads from too."""
        self._stream.close()
        super().close()
