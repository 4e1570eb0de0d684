"""Writing tables batch by batch: CSV, Parquet or JSON lines, whole or not at all."""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from jaxflow.atomic_write import replacing
from jaxflow.errors import InputError


class _JsonLinesWriter:
    """JSON lines; infinite numbers, for which JSON has no token, become the string "Infinity" or "-Infinity"."""

    def __init__(self, path: str, schema: pa.Schema):
        self.file = Path(path).open("w", encoding="utf-8")

    def write_batch(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            self.file.write(json.dumps({name: _json_number(value) for name, value in row.items()}) + "\n")

    def close(self) -> None:
        self.file.close()


_WRITERS: dict[str, Callable[..., Any]] = {
    ".csv": pyarrow.csv.CSVWriter,
    ".parquet": pyarrow.parquet.ParquetWriter,
    ".jsonl": _JsonLinesWriter,
}


def write_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    """Write record batches as they come, in the format that the extension of `path` names.

    The file appears under its name when it is complete; if the batches end in an error, nothing is left.

    Raises:
        InputError: if the extension is not .csv, .parquet or .jsonl, or the file cannot be written.
    """
    if path.suffix not in _WRITERS:
        raise InputError(f"{path}: unknown extension, expected one of {', '.join(_WRITERS)}")
    with replacing(path) as temporary:
        writer = _WRITERS[path.suffix](str(temporary), schema)
        try:
            for batch in batches:
                writer.write_batch(batch)
        finally:
            writer.close()


def _json_number(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
