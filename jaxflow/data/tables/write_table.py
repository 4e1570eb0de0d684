"""Writing tables batch by batch: CSV, Parquet or JSON lines, whole or not at all."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from jaxflow.atomic_write import replacing
from jaxflow.errors import InputError


class _JsonLines:
    def __init__(self, file: TextIO):
        self.file = file

    def write_batch(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            self.file.write(json.dumps({name: json_number(value) for name, value in row.items()}) + "\n")


def _parquet(path: str, schema: pa.Schema) -> pyarrow.parquet.ParquetWriter:
    """Parquet whose pages have checksums, so that a reader finds out if a byte has changed."""
    return pyarrow.parquet.ParquetWriter(path, schema, write_page_checksum=True)


@contextmanager
def _json_lines(path: str, schema: pa.Schema) -> Iterator[_JsonLines]:
    """JSON lines, one object a row; numbers as `json_number` has them."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        yield _JsonLines(file)


_WRITERS: dict[str, Callable[[str, pa.Schema], AbstractContextManager[Any]]] = {
    ".csv": pyarrow.csv.CSVWriter,
    ".parquet": _parquet,
    ".jsonl": _json_lines,
}


def write_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    """Write record batches as they come, in the format that the extension of `path` names.

    The file appears under its name when it is complete; if the batches end in an error, nothing is left. Whether it can
    be written at all is found out before the first batch is asked for.

    Raises:
        InputError: if the extension is not .csv, .parquet or .jsonl, or the file cannot be written.
    """
    extension = path.suffix.lower()
    if extension not in _WRITERS:
        raise InputError(f"{path}: unknown extension, expected one of {', '.join(_WRITERS)}")
    if path.is_dir():
        raise InputError(f"{path}: this is a directory, expected a file to write")
    with replacing(path) as temporary, _WRITERS[extension](str(temporary), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def json_number(value: Any) -> Any:
    """The value as JSON can express it: an infinity, for which there is no token, as "Infinity" or "-Infinity"."""
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
