"""NumPy archives as tables."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from jaxflow.data.tables.npz_file import NpzFile, opened_npz
from jaxflow.data.tables.table import NO_TEXTS, Table, cell_error, expected_cell, first_bad_cell
from jaxflow.data.tables.table_limits import require_few_columns
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
        self._features: tuple[str, ...] | None = None
        with opened_npz(path, self.open()) as archive:
            if "X" in archive.names:
                dim = archive.header("X", 2).shape[1]
                require_few_columns(path, dim)
                self._features = tuple(f"x{index}" for index in range(dim))
                self._set_names(path, self._features + (("y",) if "y" in archive.names else ()), {"label": "y"})
            elif archive.names:
                self._set_names(path, archive.names)
            else:
                raise InputError(f"{path}: there are no arrays, expected X and y or one array for each column")

    def features(self, label: str | None) -> tuple[str, ...]:
        """The columns of `X`, or every array but the label."""
        return super().features(label) if self._features is None else self._features

    def batches(
        self,
        columns: Sequence[str],
        label: str | None = None,
        *,
        texts: Mapping[str, Sequence[str]] = NO_TEXTS,
        missing: bool = False,
    ) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        """See `Table.batches`; the whole file is one batch. Also raises when two columns differ in length."""
        with opened_npz(self.path, self.open()) as archive:
            values = self._values(archive, columns)
        bad = first_bad_cell(values, columns, label, missing)
        if bad is not None:
            name = columns[bad[1]]
            raise cell_error(self.path, bad[0] + 1, name, float(values[bad]), expected_cell(name, label))
        yield values

    def _values(self, archive: NpzFile, columns: Sequence[str]) -> Float64[np.ndarray, "rows columns"]:
        places = {name: index for index, name in enumerate(self._features or ())}
        # Of each column the array that holds it.
        arrays = {name: "X" if name in places else name for name in columns}
        rows = archive.header(arrays[columns[0]], 2 if columns[0] in places else 1).shape[0]
        if rows == 0:
            raise InputError(f"{self.path}: there are no rows, expected at least one")
        archive.require_moderate(set(arrays.values()), rows * len(columns))
        values = np.empty((rows, len(columns)))
        matrix = None
        for index, name in enumerate(columns):
            if name in places:
                matrix = archive.array("X", 2, rows) if matrix is None else matrix
                column = matrix[:, places[name]]
            else:
                column = archive.array(name, 1, rows)
            if len(column) != rows:
                lengths = f"{rows} rows and column {name} has {len(column)}"
                raise InputError(f"{self.path}: column {columns[0]} has {lengths}, expected the same number")
            values[:, index] = column
        return values
