"""Base of files of columns, whatever their format."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Float64

from jaxflow.data.columns.categories import UNSEEN, Categories, category_text, is_blank
from jaxflow.data.columns.unseen_texts import KeptTexts
from jaxflow.data.dataset import require_distinct
from jaxflow.errors import InputError
from jaxflow.regular_file import FileIdentity, identity_of, open_regular, require_unchanged

NO_TEXTS: Mapping[str, Sequence[str]] = MappingProxyType({})


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
    _identity: FileIdentity | None = None

    def open(self) -> BinaryIO:
        """The file, opened once more; it may have grown since the first time.

        Raises:
            InputError: if it is no regular file, or was replaced, cut or rewritten in the meantime.
        """
        file = open_regular(self.path)
        try:
            if self._identity is None:
                self._identity = identity_of(file)
            else:
                require_unchanged(self.path, file, self._identity, may_grow=True)
        except InputError:
            file.close()
            raise
        return file

    def require_unchanged(self, *, may_grow: bool = False) -> None:
        """Check that the file is what it was when it was opened first.

        Raises:
            InputError: if it was replaced, cut, rewritten, or lengthened, unless it `may_grow`.
        """
        with self.open() as file:
            assert self._identity is not None
            require_unchanged(self.path, file, self._identity, may_grow=may_grow)

    @abstractmethod
    def batches(
        self,
        columns: Sequence[str],
        label: str | None = None,
        *,
        texts: Mapping[str, Sequence[str]] = NO_TEXTS,
        missing: bool = False,
    ) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        """The named columns, some rows at a time and in the order of the file.

        Args:
            columns: names out of `names`, all different.
            label: the one of `columns` whose cells have to be 0 or 1.
            texts: the columns of texts and what they may hold; a cell becomes the place of its text, or -1.
            missing: whether cells other than labels may be empty; they become NaN.

        Raises:
            InputError: for a cell that is no finite number, a label that is neither 0 nor 1, or damage; it names the
                row, counted from 1 for the first row of data, and the column.
        """

    def texts(self, columns: Sequence[str], declared: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The texts, in ascending order, of each of the columns that holds some.

        Args:
            columns: which columns to look at.
            declared: those whose cells are texts even where they look like numbers.

        Raises:
            InputError: if the file is damaged, or its format has no texts and one is declared.
        """
        for name in declared:
            raise InputError(f"{self.path}: column {name} is to be categorical, but {type(self).__name__} has numbers")
        return {}

    def types(self, columns: Sequence[str]) -> dict[str, str]:
        """Return the types of columns in Arrow's words, for those whose type the file says."""
        return {}

    def features(self, label: str | None) -> tuple[str, ...]:
        """The columns that are features unless the caller says otherwise: all but the label."""
        return tuple(name for name in self.names if name != label)

    def _set_names(self, path: Path, names: Sequence[str], aliases: Mapping[str, str] | None = None) -> None:
        require_distinct([name for name in names if name], f"{path}: column")  # those without one have places
        self.path = path
        self.names = tuple(names)
        self.aliases = aliases or {}


def first_bad_cell(
    values: Float[np.ndarray, "rows columns"], columns: Sequence[str], label: str | None, missing: bool = False
) -> tuple[int, int] | None:
    """Row and column index, counted from 0, of the first cell that is not finite or is a label but not 0 or 1.

    Where cells may be `missing`, NaN is fine but as a label.
    """
    bad = np.isinf(values) if missing else ~np.isfinite(values)
    if label is not None:
        index = columns.index(label)
        bad[:, index] |= (values[:, index] != 0) & (values[:, index] != 1)
    if not bad.any():
        return None
    row, column = np.argwhere(bad)[0]
    return int(row), int(column)


def expected_cell(column: str, label: str | None) -> str:
    """Return what a cell of the column has to be, for an error."""
    return "0 or 1" if column == label else "a finite number"


def cell_error(path: Path, row: int, column: str, cell: object, expected: str) -> InputError:
    """The error for one cell; `row` is counted from 1, and an empty cell is None or an empty text."""
    shown = "empty" if cell is None or cell == "" else f"{cell!r:.60}"
    return InputError(f"{path}: row {row}, column {column} is {shown}, expected {expected}")


def damaged(path: Path, kind: str, error: BaseException) -> InputError:
    """The error for a file that its reader gave up on, with the first line of the reader's reason."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{path}: cannot be read as {kind} ({reason:.200})")


def places_of(column: pa.Array, texts: Sequence[str]) -> Float64[np.ndarray, "rows"]:
    """The place of each cell's category among `texts`; -1 where it is none of them, NaN where the cell is empty.

    A cell that is none of `KeptTexts` has the code that they have for it.
    """

    def place(cell: Any) -> float:
        if is_blank(cell):
            return np.nan
        found = known.place(cell)
        return texts.code(category_text(cell)) if found == UNSEEN and isinstance(texts, KeptTexts) else found

    known = texts if isinstance(texts, Categories) else Categories(texts)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    cells = encoded.dictionary.to_pylist()
    # Last the place of null, which has no index.
    table = np.array([*map(place, cells), np.nan])
    return table[np.asarray(pc.fill_null(encoded.indices, len(cells)).to_numpy(zero_copy_only=False))]


def distinct_texts(column: pa.Array) -> set[str]:
    """The categories of a column's cells, empty ones left out."""
    cells = (column.dictionary if pa.types.is_dictionary(column.type) else column.unique()).to_pylist()
    return {category_text(cell) for cell in cells if not is_blank(cell)}
