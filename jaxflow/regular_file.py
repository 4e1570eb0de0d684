"""Files that others wrote: regular ones only, opened without waiting, and recognised when they change."""

import errno
import io
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from jaxflow.errors import InputError

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class FileIdentity(NamedTuple):
    """Facts that stay equal as long as a file is neither replaced nor written to.

    Attributes:
        device: the number of its file system.
        inode: its number there.
        size: its length in bytes.
        modified: when it was last written to, in nanoseconds.
    """

    device: int
    inode: int
    size: int
    modified: int


class _Waitless(io.FileIO):
    """A file that says so where it would have to wait for its bytes, as some of those in /proc do."""

    def readinto(self, buffer: Any, /) -> int:
        return self._there(super().readinto(buffer))

    def readall(self) -> bytes:
        return self._there(super().readall())

    def _there(self, found: Any) -> Any:
        if found is None:
            raise BlockingIOError(errno.EAGAIN, "it would have to be waited for")
        return found


def open_regular(path: str | os.PathLike[str], expected: str = "a file") -> BinaryIO:
    """Open a file for reading, which may be a link to another one.

    A pipe, a socket or a device is refused before anything waits for it or happens because it was opened.

    Args:
        path: the file.
        expected: what it should be, for the error message.

    Raises:
        InputError: if it is missing, a directory, something else that is no regular file, or cannot be opened.
    """
    try:
        _require_regular(path, Path(path).stat().st_mode, expected)
        # It may have become a pipe since, which would be opened only when somebody writes to it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            _require_regular(path, os.fstat(handle).st_mode, expected)
        except InputError:
            os.close(handle)
            raise
        return io.BufferedReader(_Waitless(handle))
    except InputError:  # which is a ValueError
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: there is no such file, expected {expected}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}), expected {expected}") from None
    except ValueError:  # a NUL, or a letter that the file system cannot express
        raise InputError(f"{str(path)!r:.200}: no file can have this name, expected {expected}") from None


def read_regular(path: str | os.PathLike[str], most_bytes: int, expected: str = "a file") -> bytes:
    """All bytes of a file.

    Raises:
        InputError: as `open_regular`, and if there are more than `most_bytes`.
    """
    with open_regular(path, expected) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise InputError(f"{path}: the file has {size} bytes, expected {expected} of at most {most_bytes}")
        try:
            return file.read(most_bytes)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}), expected {expected}") from None


def identity_of(file: BinaryIO) -> FileIdentity:
    """Return the facts by which an open file is recognised."""
    about = os.fstat(file.fileno())
    return FileIdentity(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


def require_unchanged(path: Path, file: BinaryIO, before: FileIdentity, *, may_grow: bool = False) -> None:
    """Check that an open file is still what it was.

    Raises:
        InputError: if it has been replaced, cut, written to, or lengthened, unless it `may_grow`.
    """
    now = identity_of(file)
    if now == before or (may_grow and now[:2] == before[:2] and now.size > before.size):
        return
    if now[:2] != before[:2]:
        what = "another file has taken its place"
    elif now.size != before.size:
        what = f"it had {before.size} bytes and now has {now.size}"
    else:
        what = "it has been written to"
    raise InputError(f"{path}: the file has changed since it was first read ({what}), expected it to stay as it was")


def _require_regular(path: str | os.PathLike[str], mode: int, expected: str) -> None:
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: this is a directory, expected {expected}")
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
        raise InputError(f"{path}: this is {kind}, expected {expected}")
