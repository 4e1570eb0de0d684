"""Data files that have no stable address to download them from: the user puts them where they are looked for."""

import gzip
import hashlib
import zlib
from pathlib import Path

from jaxflow.data.sets.download import DATA_VARIABLE, local_file
from jaxflow.errors import InputError
from jaxflow.regular_file import open_regular

MOST_BYTES = 1 << 26
"""The largest content of a compressed file, many times that of any that is known here."""


def placed_file(folder: str, name: str, advice: str, directory: Path | str | None = None) -> Path:
    """A file in `directory`, by default in `$JAXFLOW_DATA/<folder>`.

    Raises:
        InputError: if it is not there; it opens with `folder` and ends with `advice`, what to put there.
    """
    path = local_file(folder, name) if directory is None else Path(directory) / name
    if path is None or not path.is_file():
        place = f"${DATA_VARIABLE}/{folder}/{name}" if path is None else str(path)
        raise InputError(f"{folder}: {place} is missing; {advice}")
    return path


def gzip_content(path: Path, sha256: str, what: str) -> bytes:
    """Return the content of a file compressed by gzip; compressing it again would give another file.

    Args:
        path: the file.
        sha256: the SHA-256 of its content, in hexadecimal digits.
        what: the kind of content, for the error message.

    Raises:
        InputError: if it is no gzip file, is damaged, or holds something else.
    """
    try:
        with open_regular(path) as file, gzip.open(file) as stream:
            content = stream.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as gzip ({error})") from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: the {what} has more than {MOST_BYTES} bytes once it is uncompressed, expected fewer")
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise InputError(f"{path}: SHA-256 of the uncompressed {what} is {got}, expected {sha256}")
    return content
