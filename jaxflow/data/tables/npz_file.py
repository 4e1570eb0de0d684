"""Archives of arrays that NumPy has written, read array by array and never more than their headers promise."""

import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Shaped

from jaxflow.data.dataset import require_distinct
from jaxflow.data.tables.npy_header import ArrayHeader, read_array_header
from jaxflow.data.tables.table import damaged
from jaxflow.data.tables.table_limits import require_few_columns, require_moderate
from jaxflow.errors import InputError
from jaxflow.regular_file import identity_of

_PIECE = 1 << 20  # bytes, decompressed at once
# What `zipfile` has been seen to raise for damaged archives, among other exceptions of these kinds.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    ArithmeticError,
    LookupError,
    RuntimeError,
)


class NpzFile:
    """The arrays of an archive that is open.

    Attributes:
        path: the file.
        size: its length in bytes.
        names: the arrays, in the order of the file.
    """

    def __init__(self, path: Path, file: BinaryIO, archive: zipfile.ZipFile):
        self.path, self.size = path, identity_of(file).size
        members = archive.infolist()
        require_few_columns(path, len(members))
        self.names = tuple(member.filename.removesuffix(".npy") for member in members)
        # Readers differ in which of several they take.
        require_distinct(self.names, f"{path}: array")
        self._archive = archive
        self._members = dict(zip(self.names, members, strict=True))

    def header(self, name: str, ndim: int) -> ArrayHeader:
        """The type and shape of an array of numbers.

        Raises:
            InputError: if it is no array, holds anything but numbers, has another number of dimensions, or speaks of
                more numbers than there are.
        """
        with self._opened(name) as stream:
            return self._header(name, ndim, stream)

    def require_moderate(self, names: Collection[str], numbers: int) -> None:
        """Check what some arrays take in memory, as so many numbers of float64 besides.

        Raises:
            InputError: if that is far more than the file has bytes; what is not compressed is not.
        """
        raw = sum(self._members[name].file_size for name in names)
        if raw > self.size:
            advice = "write its arrays without compression, by numpy.savez"
            require_moderate(self.path, self.size, raw + 8 * numbers, advice)

    def array(self, name: str, ndim: int, rows: int | None = None) -> Shaped[np.ndarray, "..."]:
        """An array of numbers; where it has not so many `rows` as are expected, only its shape is right.

        Raises:
            InputError: as `header`.
        """
        with self._opened(name) as stream:
            header = self._header(name, ndim, stream)
            if rows is not None and header.shape[0] != rows:
                return np.broadcast_to(np.empty(1, header.dtype), header.shape)
            content = np.empty(header.nbytes, np.uint8)
            for start in range(0, header.nbytes, _PIECE):
                piece = stream.read(min(_PIECE, header.nbytes - start))
                content[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
                if len(piece) < min(_PIECE, header.nbytes - start):
                    raise EOFError(f"array {name} is cut off")
            return content.view(header.dtype).reshape(header.shape, order="F" if header.fortran_order else "C")

    def _header(self, name: str, ndim: int, stream: Any) -> ArrayHeader:
        member = self._members[name]
        if not member.filename.endswith(".npy"):
            raise InputError(f"{self.path}: {name} is no array, expected one")
        try:
            header = read_array_header(stream, member.file_size)
        except ValueError as error:
            raise InputError(f"{self.path}: array {name} cannot be read ({error})") from None
        if header.dtype.hasobject:
            raise InputError(f"{self.path}: array {name} holds Python objects, expected numbers")
        if header.dtype.kind not in "biuf":
            raise InputError(f"{self.path}: array {name} holds {header.dtype}, expected numbers")
        if len(header.shape) != ndim:
            raise InputError(f"{self.path}: array {name} has shape {header.shape}, expected {ndim} dimension(s)")
        return header

    def _opened(self, name: str) -> Any:
        member = self._members[name]
        # Other ways are decompressed without any limit, and numpy does not write them.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"it is compressed in way {member.compress_type}, expected none or deflate")
        return self._archive.open(member)


@contextmanager
def opened_npz(path: Path, file: BinaryIO) -> Iterator[NpzFile]:
    """The arrays of an open file, which is closed afterwards.

    Raises:
        InputError: if it is no archive, or is damaged, now or while it is used.
    """
    with file:
        try:
            if not zipfile.is_zipfile(file):
                raise InputError(f"{path}: cannot be read as NPZ (it is not a zip archive)")
            with zipfile.ZipFile(file) as archive:
                yield NpzFile(path, file, archive)
        except InputError:
            raise
        except _DAMAGE as error:
            raise damaged(path, "NPZ", error) from None
