"""Parquet files as tables."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64
from pyarrow import parquet

from jaxflow.data.table import Table, cell_error, damaged, expected_cell, first_bad_cell
from jaxflow.errors import InputError

BATCH_ROWS = 1 << 16


class ParquetTable(Table):
    """A Parquet file whose chosen columns hold integers, floats, decimals or booleans.

    Raises:
        InputError: when the file is damaged or two columns share a name.
    """

    def __init__(self, path: Path):
        try:
            self._types = parquet.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, "Parquet", error) from None
        self._set_names(path, self._types.names)

    def batches(
        self, columns: Sequence[str], label: str | None = None
    ) -> Iterator[Float64[np.ndarray, "rows columns"]]:
        """See `Table.batches`; also raises for a column of another type than a number or a boolean."""
        self.require_numbers(columns)
        rows = 0
        try:
            with parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
                    # Not safe: an integer beyond 2^53 becomes the nearest float, as it does in a CSV.
                    arrays = [batch.column(name).cast(pa.float64(), safe=False) for name in columns]
                    values = np.stack([array.to_numpy(zero_copy_only=False) for array in arrays], axis=1)
                    bad = first_bad_cell(values, columns, label)
                    if bad is not None:
                        name = columns[bad[1]]
                        cell = batch.column(name)[bad[0]].as_py()
                        raise cell_error(self.path, rows + bad[0] + 1, name, cell, expected_cell(name, label))
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
            if not (_is_number(kind) or pa.types.is_boolean(kind)):
                raise InputError(f"{self.path}: column {name} holds {kind}, expected numbers")


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
