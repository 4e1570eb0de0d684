"""NumPy archives as tables."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Num, Shaped

from jaxflow.data.table import NO_TEXTS, Table, cell_error, damaged, expected_cell, first_bad_cell
from jaxflow.errors import InputError


class NpzTable(Table):
    """An NPZ file in one of two layouts.

    With an array `X` of shape (n, dim), as ADBench has it: the columns are x0, x1, ..., and an array `y` of shape (n,),
    where there is one, holds the labels and is never a feature; other arrays are not read. Without `X`: one array of
    shape (n,) for each named column.

    Raises:
        InputError: when the file is damaged or empty, or `X` is not an array of numbers in two dimensions.
    """

    def __init__(self, path: Path):
        self.path = path
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path}: cannot be read as NPZ (it is not a zip archive)")
        try:
            with np.load(path, allow_pickle=False) as archive:
                members = tuple(archive.files)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise damaged(path, "NPZ", error) from None
        self._matrix: np.ndarray | None = None
        if "X" in members:
            self._matrix = self._array("X", 2)
            self._features = tuple(f"x{index}" for index in range(self._matrix.shape[1]))
            self._set_names(path, self._features + (("y",) if "y" in members else ()), {"label": "y"})
        elif members:
            self._set_names(path, members)
        else:
            raise InputError(f"{path}: there are no arrays, expected X and y or one array for each column")

    def features(self, label: str | None) -> tuple[str, ...]:
        """The columns of `X`, or every array but the label."""
        return super().features(label) if self._matrix is None else self._features

    def batches(
        self,
        columns: Sequence[str],
        label: str | None = None,
        *,
        texts: Mapping[str, Sequence[str]] = NO_TEXTS,
        missing: bool = False,
    ) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        """See `Table.batches`; the whole file is one batch. Also raises when two columns differ in length."""
        arrays = [self._column(name) for name in columns]
        for name, array in zip(columns, arrays, strict=True):
            if len(array) != len(arrays[0]):
                lengths = f"{len(arrays[0])} rows and column {name} has {len(array)}"
                raise InputError(f"{self.path}: column {columns[0]} has {lengths}, expected the same number")
        if len(arrays[0]) == 0:
            raise InputError(f"{self.path}: there are no rows, expected at least one")
        values = np.stack([array.astype(np.float64) for array in arrays], axis=1)
        bad = first_bad_cell(values, columns, label, missing)
        if bad is not None:
            name = columns[bad[1]]
            raise cell_error(self.path, bad[0] + 1, name, float(values[bad]), expected_cell(name, label))
        yield values

    def _column(self, name: str) -> Num[np.ndarray, "n"] | Shaped[np.ndarray, "n"]:
        if self._matrix is not None and name in self._features:
            return self._matrix[:, self._features.index(name)]
        return self._array(name, 1)

    def _array(self, name: str, ndim: int) -> Shaped[np.ndarray, "..."]:
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                array = archive[name]
        except ValueError as error:
            if "allow_pickle" in str(error):
                raise InputError(f"{self.path}: array {name} holds Python objects, expected numbers") from None
            raise damaged(self.path, "NPZ", error) from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
            raise damaged(self.path, "NPZ", error) from None
        if not isinstance(array, np.ndarray):
            raise InputError(f"{self.path}: {name} is no array, expected one")
        if array.dtype.kind not in "biuf":
            raise InputError(f"{self.path}: array {name} holds {array.dtype}, expected numbers")
        if array.ndim != ndim:
            raise InputError(f"{self.path}: array {name} has shape {array.shape}, expected {ndim} dimension(s)")
        return array
