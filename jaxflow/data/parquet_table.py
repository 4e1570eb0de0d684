"""Parquet files as tables."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64
from pyarrow import parquet

from jaxflow.data.frame import as_text, index_columns, instead_of, is_number, is_text
from jaxflow.data.table import (
    NO_TEXTS,
    Table,
    cell_error,
    damaged,
    distinct_texts,
    expected_cell,
    first_bad_cell,
    places_of,
)
from jaxflow.errors import InputError
from jaxflow.regular_file import open_regular

BATCH_ROWS = 1 << 16
BUFFER_BYTES = 1 << 16  # of each column, read at once


class ParquetTable(Table):
    """A Parquet file whose chosen columns hold integers, floats, decimals, booleans or nothing but null.

    Pages that were written with checksums are checked; without, damage to the numbers themselves cannot be seen.

    Raises:
        InputError: when the file is damaged or two columns share a name.
    """

    def __init__(self, path: Path):
        try:
            with _opened(path) as file:
                self._types = file.schema_arrow
            names = self._types.names
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last for a name that is no text
            raise damaged(path, "Parquet", error) from None
        self._set_names(path, names)

    def features(self, label):
        """See `Table.features`; nor is the index of a frame that pandas wrote one."""
        index = index_columns(self._types)
        return tuple(name for name in super().features(label) if name not in index)

    def texts(self, columns, declared):
        """See `Table.texts`; those whose type says so, and those declared."""
        found: dict[str, set[str]] = {
            name: set() for name in columns if name in declared or is_text(self._types.field(name).type)
        }
        try:
            with _opened(self.path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(found)) if found else ():
                    for name, texts in found.items():
                        texts |= distinct_texts(as_text(batch.column(name)))
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.path, "Parquet", error) from None
        return {name: tuple(sorted(texts)) for name, texts in found.items()}

    def batches(
        self,
        columns: Sequence[str],
        label: str | None = None,
        *,
        texts: Mapping[str, Sequence[str]] = NO_TEXTS,
        missing: bool = False,
    ) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        """See `Table.batches`; also raises for a column of another type than a number or a boolean."""
        self.require_numbers([name for name in columns if name not in texts])
        rows = 0
        try:
            with _opened(self.path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
                    values = np.stack([_values(batch.column(name), texts.get(name)) for name in columns], axis=1)
                    bad = first_bad_cell(values, columns, label, missing)
                    if bad is not None:
                        name = columns[bad[1]]
                        cell = batch.column(name)[bad[0]].as_py()
                        expected = "a text" if name in texts else expected_cell(name, label)
                        raise cell_error(self.path, rows + bad[0] + 1, name, cell, expected)
                    rows += len(values)
                    yield values
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.path, "Parquet", error) from None
        if rows == 0:
            raise InputError(f"{self.path}: there are no rows, expected at least one")

    def require_numbers(self, columns: Sequence[str]) -> None:
        """Refuse columns of another type.

        Raises:
            InputError: if one of these columns holds neither numbers nor booleans.
        """
        for name in columns:
            kind = self._types.field(name).type
            if not is_number(kind) and not pa.types.is_null(kind):
                raise InputError(f"{self.path}: column {name} holds {kind}, expected numbers{instead_of(kind)}")


@contextmanager
def _opened(path: Path, **options: Any) -> Iterator[parquet.ParquetFile]:
    """The file, to be read page by page; left to itself pyarrow takes whole row groups into memory."""
    with (
        open_regular(path) as file,
        parquet.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER_BYTES, **options) as opened,
    ):
        yield opened


def _values(column: pa.Array, texts: Sequence[str] | None) -> Float64[np.ndarray, "rows"]:
    if texts is not None:
        return places_of(as_text(column), texts)
    # Not safe: an integer beyond 2^53 becomes the nearest float, as it does in a CSV.
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
