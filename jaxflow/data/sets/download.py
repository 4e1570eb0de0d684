"""Data files that are not ours: found in `$JAXFLOW_DATA`, or downloaded, and checked either way."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any, cast

import pooch
from requests import exceptions

from jaxflow.errors import InputError
from jaxflow.regular_file import open_regular

DATA_VARIABLE = "JAXFLOW_DATA"
TIMEOUT_SECONDS = 30


def local_file(folder: str, file: str) -> Path | None:
    """Where `$JAXFLOW_DATA` would have the file, there or not; None when the variable is not set."""
    root = os.environ.get(DATA_VARIABLE)
    return Path(root) / folder / file if root else None


def fetch(file: str, sha256: str, *, folder: str, base_url: str) -> Path:
    """A data file, from `$JAXFLOW_DATA/<folder>/<file>` if it is there, else downloaded to the user's cache.

    The cache is `<user cache directory>/jaxflow/<folder>`; a file there whose checksum is right is not downloaded
    again. A download is written to a temporary name and gets its own only when its checksum is right.

    Args:
        file: the file's name.
        sha256: its SHA-256 in hexadecimal digits.
        folder: its folder below `$JAXFLOW_DATA` and in the cache.
        base_url: the URL of the directory to download it from.

    Raises:
        InputError: when the checksum is wrong, here or there, or the download fails; it names the file or URL.
    """
    local = local_file(folder, file)
    if local is not None and local.is_file():
        _require_sha256(local, sha256, str(local))
        return local
    url = f"{base_url.rstrip('/')}/{file}"

    def download(url: str, output_file: str, pooch_object: Any) -> None:
        pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS)(url, output_file, pooch_object)
        # Before pooch does it, to say it in our words.
        _require_sha256(Path(output_file), sha256, url)

    # It tells of every download; a script's standard error is for errors.
    pooch.get_logger().setLevel(logging.WARNING)
    cache = Path(pooch.os_cache("jaxflow")) / folder
    try:
        path = pooch.retrieve(url, f"sha256:{sha256}", fname=file, path=cache, downloader=cast(Any, download))
    except exceptions.RequestException as error:
        if error.response is not None:
            error.response.close()
        hint = f"a copy can be put into ${DATA_VARIABLE}/{folder}"
        raise InputError(f"{url}: the download failed ({_reason(error)}); {hint}") from None
    except OSError as error:
        raise InputError(f"{cache}: the download cannot be stored ({error.strerror or error})") from None
    return Path(path)


def _require_sha256(path: Path, expected: str, source: str) -> None:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    got = digest.hexdigest()
    if got != expected:
        raise InputError(f"{source}: SHA-256 is {got}, expected {expected}")


def _reason(error: exceptions.RequestException) -> str:
    if error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, exceptions.Timeout):
        return f"no answer within {TIMEOUT_SECONDS} s"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection was cut off"
    if isinstance(error, exceptions.ConnectionError):
        return "no connection"
    return str(error).splitlines()[0]
