"""A directory of two files, a description in JSON and the arrays: written at one moment, read as one whole.

Checksums tie the two together: neither can be changed, by accident or by hand, without a reader noticing.
"""

import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from flax import nnx
from safetensors.numpy import save as dump_arrays

from jaxflow.atomic_write import exchanged, unfinished
from jaxflow.errors import InputError
from jaxflow.models.storage.untrusted_files import read_weights, too_large

WEIGHTS = "weights.safetensors"
MOST_READS = 100  # of a directory that is replaced again and again


@runtime_checkable
class Description(Protocol):
    """The contents of the first file, `weights_sha256` of the other file among them."""

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of the other file."""
        ...


AnyDescription = TypeVar("AnyDescription", bound=Description)


def require_free_place(path: str | os.PathLike[str], description: str, kind: str) -> None:
    """Check that a folder may be written at `path`: nothing is there, an empty directory, or one of that kind.

    Args:
        path: the directory.
        description: the name of the first file.
        kind: what such a folder is called: "a saved detector".

    Raises:
        InputError: if `path` is a file, or a directory that holds anything else.
    """
    path = Path(path)
    if path.is_dir():
        names = {child.name for child in path.iterdir()}
        if names and (description not in names or names - {description, WEIGHTS}):
            other = min(names - {description, WEIGHTS}, default=WEIGHTS)
            raise InputError(f"{path} is a directory that holds {other}, expected {kind} or a new place")
    elif path.exists() or path.is_symlink():
        raise InputError(f"{path} is a file, expected {kind} or a new place")


def array_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as a safetensors file."""
    # Not `ascontiguousarray`, which would give a lone number an axis.
    return dump_arrays({name: np.asarray(array, order="C") for name, array in arrays.items()})


def write_folder(path: Path, description: str, text: str, weights: bytes) -> None:
    """Write the two files; a folder that is there is replaced once the new one is complete.

    Whoever reads it at that moment has the old one or the new one, whole; only where the system cannot exchange two
    directories is there for a moment none.

    Args:
        path: the directory, a free place.
        description: the name of the first file.
        text: what it says.
        weights: the other file.

    Raises:
        InputError: if it cannot be written, or the text is longer than a reader takes.
    """
    path = path.resolve()
    if reason := too_large(text.encode()):
        raise InputError(f"{path}: {description} would have {reason}")
    temporary, old = (path.with_name(f".{path.name}.{uuid.uuid4().hex}.{kind}") for kind in ("tmp", "old"))
    try:
        with unfinished(temporary):
            temporary.mkdir(parents=True)
            (temporary / WEIGHTS).write_bytes(weights)
            (temporary / description).write_text(text, encoding="utf-8")
        if not path.exists():
            temporary.rename(path)
        elif not exchanged(temporary, path):
            # A directory cannot be renamed onto one that holds files, so the old one steps aside first.
            path.rename(old)
            temporary.rename(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def read_folder(
    path: Path, description: str, kind: str, read: Callable[[Path], AnyDescription]
) -> tuple[AnyDescription, bytes]:
    """Return the description and the bytes of the arrays, of one and the same folder.

    Args:
        path: the directory.
        description: the name of the first file.
        kind: what such a folder is called: "a saved detector".
        read: reads the first file.

    Raises:
        InputError: if the directory or one of its files is missing, damaged or edited.
    """
    for _ in range(MOST_READS):
        before = _identity(path)
        if before is None:
            raise InputError(f"{path} is no directory, expected one with {kind}")
        try:
            found = read(path / description)
            weights = read_weights(path / WEIGHTS)
            if hashlib.sha256(weights).hexdigest() != found.weights_sha256:
                raise InputError(f"{path / WEIGHTS} is damaged: it is not the file that {description} describes")
            return found, weights
        except InputError:
            # Another one may have come between the two files.
            if _identity(path) == before:
                raise
    raise InputError(f"{path} is replaced faster than it can be read, expected {kind}")


def checksum_of(values: dict[str, Any]) -> str:
    """The SHA-256 of what a description says, without its own entry `checksum`."""
    rest = {name: value for name, value in values.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def require_format(values: Any, file: Path, newest: int) -> None:
    """Check that a description is of the format that this version reads.

    Raises:
        InputError: if it names none, or another one.
    """
    found = values.get("format_version") if isinstance(values, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise InputError(f"{file} is damaged: it names no format_version")
    if found > newest:
        reads = f"this jaxflow reads up to format {newest}"
        raise InputError(f"{file} has format {found!s:.20}, {reads}: it needs a newer jaxflow")
    if 1 <= found < newest:
        raise InputError(f"{file} has format {found}, this jaxflow reads format {newest}: fit and save it again")


def built(spec: Any, dim: int) -> Any:
    """Return the model that a description asks for, known to have the arrays that are there.

    Raises:
        InputError: if no such model can be built.
    """
    try:
        return spec.build(dim, rngs=nnx.Rngs(0))
    except (InputError, MemoryError):
        raise
    except Exception as error:
        # Of what a description asks for, a constructor may refuse anything.
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"no model can be built as described ({type(error).__name__}: {reason:.200})") from error


def _identity(path: Path) -> tuple[int, ...] | None:
    """Return what tells a directory from one that takes its place; None if there is none."""
    try:
        about = path.stat()
    except (OSError, ValueError):
        return None
    return (about.st_dev, about.st_ino, about.st_mtime_ns, about.st_ctime_ns) if stat.S_ISDIR(about.st_mode) else None
