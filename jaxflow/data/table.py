"""What a file of columns offers, whatever its format."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from jaxflow.data.dataset import require_distinct
from jaxflow.errors import InputError


class Table(ABC):
    """A file of named columns, read in batches of rows as float64.

    Attributes:
        path: the file.
        names: its columns.
        aliases: other names under which a column answers.
    """

    path: Path
    names: tuple[str, ...]
    aliases: Mapping[str, str]

    @abstractmethod
    def batches(
        self, columns: Sequence[str], label: str | None = None
    ) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        """The named columns, some rows at a time and in the order of the file.

        Args:
            columns: names out of `names`, all different.
            label: the one of `columns` whose cells have to be 0 or 1.

        Raises:
            InputError: for a cell that is no finite number, a label that is neither 0 nor 1, or damage; it names the
                row, counted from 1 for the first row of data, and the column.
        """

    def features(self, label: str | None) -> tuple[str, ...]:
        """The columns that are features unless the caller says otherwise: all but the label."""
        return tuple(name for name in self.names if name != label)

    def _set_names(self, path: Path, names: Sequence[str], aliases: Mapping[str, str] | None = None) -> None:
        require_distinct(names, f"{path}: column")
        self.path = path
        self.names = tuple(names)
        self.aliases = aliases or {}


def first_bad_cell(
    values: Float[np.ndarray, "rows columns"], columns: Sequence[str], label: str | None
) -> tuple[int, int] | None:
    """Row and column index, counted from 0, of the first cell that is not finite or is a label but not 0 or 1."""
    bad = ~np.isfinite(values)
    if label is not None:
        index = columns.index(label)
        bad[:, index] |= (values[:, index] != 0) & (values[:, index] != 1)
    if not bad.any():
        return None
    row, column = np.argwhere(bad)[0]
    return int(row), int(column)


def expected_cell(column: str, label: str | None) -> str:
    """What a cell of the column has to be, for an error."""
    return "0 or 1" if column == label else "a finite number"


def cell_error(path: Path, row: int, column: str, cell: object, expected: str) -> InputError:
    """The error for one cell; `row` is counted from 1, and an empty cell is None or an empty text."""
    shown = "empty" if cell is None or cell == "" else f"{cell!r:.60}"
    return InputError(f"{path}: row {row}, column {column} is {shown}, expected {expected}")


def damaged(path: Path, kind: str, error: BaseException) -> InputError:
    """The error for a file that its reader gave up on, with the first line of the reader's reason."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{path}: cannot be read as {kind} ({reason:.200})")
