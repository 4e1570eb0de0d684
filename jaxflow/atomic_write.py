"""Files and directories that are either the old ones or the new ones, never half of one."""

import csv
import ctypes
import errno
import json
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxflow.errors import InputError

HERE = -100  # AT_FDCWD: paths are relative to the working directory
EXCHANGE = 2  # RENAME_EXCHANGE, see renameat2(2)
# What systems and file systems say that cannot do it.
UNABLE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}

_unfinished: set[Path] = set()
_changing = threading.RLock()  # held by who begins, and for ever by who ends the process


@contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """Let `remove_unfinished` know of a file or folder that nobody is to find if the process ends within the block."""
    with _changing:
        _unfinished.add(path)
    try:
        yield
    finally:
        _unfinished.discard(path)


def remove_unfinished() -> None:
    """Remove all that is unfinished, and let nothing be begun from then on: the process is about to end."""
    _changing.acquire()
    for path in list(_unfinished):
        with suppress(OSError):
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and rename it to `path` once the block has ended well.

    Missing parent folders are made. When the block raises, the temporary file is removed and `path` stays as it was.

    Raises:
        InputError: when the operating system refuses to write there.
    """
    path = Path(path)
    # Not `tempfile`: its files are readable by their owner only, and the rename would keep that.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with unfinished(temporary):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
        finally:
            # After the rename there is nothing left to remove, and what kept the file from being written may keep it
            # here.
            with suppress(OSError):
                temporary.unlink()


def write_text(text: str, path: str | os.PathLike[str]) -> None:
    """Write `text` to `path` as UTF-8, by way of `replacing`; a lone surrogate, as in names of files, as its escape."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(value: Any, path: str | os.PathLike[str]) -> None:
    """Write `value` to `path` as indented JSON, by way of `replacing`.

    Raises:
        ValueError: when `value` holds a NaN or an infinity, which JSON cannot express.
        InputError: when the operating system refuses to write there.
    """
    write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


def write_csv(path: str | os.PathLike[str], header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table to `path` as CSV in UTF-8, by way of `replacing`; None is an empty cell."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        csv.writer(file).writerows([header, *rows])


def exchanged(one: Path, other: Path) -> bool:
    """Let two paths of one file system change places; false if the system cannot do it at one moment.

    Raises:
        OSError: if it can, but not these two.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if renameat2 is None:
        return False
    if not renameat2(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in UNABLE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))
