"""A user's table: read at once with its labels, or streamed in chunks."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from jaxflow.data.dataset import Dataset, listed, require_columns
from jaxflow.data.tables.csv.csv_table import CsvTable
from jaxflow.data.tables.csv.dialect import CsvOptions
from jaxflow.data.tables.npz_table import NpzTable
from jaxflow.data.tables.parquet_table import ParquetTable
from jaxflow.data.tables.table import NO_TEXTS, Table
from jaxflow.data.tables.table_limits import require_moderate
from jaxflow.errors import InputError, meant
from jaxflow.whole_numbers import whole_number

_STREAMED: dict[str, Any] = {".csv": CsvTable, ".csv.gz": CsvTable, ".parquet": ParquetTable}
_FORMATS: dict[str, Any] = {**_STREAMED, ".npz": NpzTable}


def read_table(
    path: Path | str,
    *,
    label: str | None = "label",
    features: Sequence[str] | None = None,
    categorical: Collection[str] = (),
    missing: bool = False,
    csv: CsvOptions | None = None,
) -> Dataset:
    """Read a CSV (plain or gzipped), Parquet or NPZ file.

    Args:
        path: the file; its extension says the format (.csv, .csv.gz, .parquet, .npz).
        label: the column of labels, 0 or false = normal, 1 or true = anomaly; None when there are none. In an NPZ file
            with the arrays `X` and `y`, "label" stands for `y` too.
        features: the columns to read, in this order; None for every column but the label.
        categorical: features whose cells are texts even where they look like numbers. In CSV and Parquet files columns
            of texts are found by themselves.
        missing: whether cells may be empty.
        csv: what is known of how a CSV file is written; the rest is found out.

    Returns:
        The data set, named after the file.

    Raises:
        InputError: in one sentence, when the file is missing, of another format, damaged or without rows, a column is
            missing, named twice or unnamed, a cell is no finite number, or a label is neither 0 nor 1.
    """
    path = Path(path)
    table = _open(path, _FORMATS, csv)
    if label is not None and label not in table.names:
        label = table.aliases.get(label, label)
        if label not in table.names:
            hint = meant(label, table.names) or f"; the columns are {listed(table.names)}"
            raise InputError(f"{path}: label column {label} is missing{hint} (for none: --data.label null)")
    if features is None:
        features = table.features(label)
        if "" in features:
            number = table.names.index("") + 1
            index = isinstance(table, CsvTable) and table.counts_rows and number == 1
            hint = "; it counts the rows: to_csv(index=False) leaves such an index of pandas out" if index else ""
            raise InputError(f"{path}: column {number} has no name, expected one, or the features to read{hint}")
    if not features:
        raise InputError(f"{path}: there is no feature column, expected at least one beside the label")
    if label in features:
        raise InputError(f"{path}: column {label} is the label, expected it not to be among the features")
    require_columns(path, features, table.names)
    columns = [*features] if label is None else [*features, label]
    texts = table.texts(features, [name for name in features if name in categorical])
    batches = _unchanged(table, table.batches(columns, label, texts=texts, missing=missing))
    x, y = _gathered(path, batches, len(features))
    types = table.types(features)
    return Dataset(_name(path), x, None if label is None else y, tuple(features), texts, missing, types=types)


def read_chunks(
    path: Path | str,
    *,
    features: Sequence[str],
    chunk_rows: Any = 65536,
    categories: Mapping[str, Sequence[str]] = NO_TEXTS,
    missing: bool = False,
    csv: CsvOptions | None = None,
) -> Iterator[Float64[np.ndarray, "rows dim"]]:
    """Stream the named columns of a CSV or Parquet file of any size, in memory that does not grow with the file.

    Args:
        path: the file (.csv, .csv.gz or .parquet).
        features: the columns to read, in this order; others are not looked at.
        chunk_rows: rows of every chunk but the last, which may have fewer.
        categories: the columns of texts and what they may hold; a cell becomes the place of its text, or -1.
        missing: whether cells may be empty; they become NaN.
        csv: what is known of how a CSV file is written; the rest is found out.

    Returns:
        An iterator over chunks of the rows in the order of the file.

    Raises:
        InputError: at the call when the file or a column is missing; while iterating, when a cell of those columns is
            no finite number, a row has too few or too many cells, there is no row, or the file is replaced, cut or
            rewritten.
    """
    path = Path(path)
    chunk_rows = whole_number("chunk_rows", chunk_rows, least=1)
    if not features:
        raise InputError(f"{path}: no feature is named, expected at least one")
    table = open_streamed(path, csv)
    require_columns(path, features, table.names)
    batches = table.batches(list(features), texts=categories, missing=missing)
    return _of_equal_length(_unchanged(table, batches), chunk_rows)


def table_columns(path: Path | str, csv: CsvOptions | None = None) -> tuple[str, ...]:
    """The columns of a CSV, Parquet or NPZ file; `csv` says what is known of how a CSV file is written.

    Raises:
        InputError: if it is missing, of another format or damaged.
    """
    return _open(Path(path), _FORMATS, csv).names


def table_files(folder: Path | str) -> tuple[Path, ...]:
    """The CSV and Parquet files of a directory, in the order of their names.

    Raises:
        InputError: if there is none.
    """
    files = sorted(file for file in Path(folder).iterdir() if file.name.lower().endswith(tuple(_STREAMED)))
    if not files:
        raise InputError(f"{folder}: there is no file in it, expected some that end in {' or '.join(_STREAMED)}")
    return tuple(files)


def open_streamed(path: Path, csv: CsvOptions | None = None) -> Table:
    """A CSV or Parquet file as a table; `csv` says what is known of how a CSV file is written.

    Raises:
        InputError: if it is missing, of another format or damaged.
    """
    return _open(path, _STREAMED, csv)


def _open(path: Path, formats: Mapping[str, Any], csv: CsvOptions | None) -> Table:
    if path.is_dir():
        raise InputError(f"{path}: this is a directory, expected a file")
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    for extension, table in formats.items():
        if path.name.lower().endswith(extension):
            if issubclass(table, CsvTable):
                return table(path, csv)
            if csv is not None and (option := csv.given()) is not None:
                raise InputError(f"{path}: {option} is said of the file, expected no value, as it is no CSV file")
            return table(path)
    raise InputError(f"{path}: unknown extension, expected one of {', '.join(formats)}")


def _unchanged(table: Table, batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The batches of a table whose file stays what it was, or grows, while they are read.

    Raises:
        InputError: if it was replaced, cut or rewritten, whatever its reader made of that: a file that is cut at the
            end of a line looks whole.
    """
    try:
        for batch in batches:
            table.require_unchanged(may_grow=True)
            yield batch
    except InputError:
        table.require_unchanged(may_grow=True)
        raise
    table.require_unchanged(may_grow=True)


def _gathered(
    path: Path, batches: Iterator[np.ndarray], dim: int
) -> tuple[Float64[np.ndarray, "rows dim"], Int64[np.ndarray, "rows"]]:
    """All rows, and what comes after their features, without ever holding them twice."""
    size, held, rows = path.stat().st_size, 0, 0
    waiting: list[np.ndarray] = []
    for batch in batches:
        held += batch.nbytes
        require_moderate(path, size, held, "name fewer features, or read it in pieces")
        rows += len(batch)
        waiting.append(batch)
    x, y = np.empty((rows, dim)), np.zeros(rows, np.int64)
    waiting.reverse()
    start = 0
    while waiting:
        batch = waiting.pop()
        x[start : start + len(batch)] = batch[:, :dim]
        if batch.shape[1] > dim:
            y[start : start + len(batch)] = batch[:, dim]
        start += len(batch)
    return x, y


def _name(path: Path) -> str:
    lowered = path.name.lower()
    extension = max((e for e in _FORMATS if lowered.endswith(e)), key=len)
    return path.name[: -len(extension)]


def _of_equal_length(batches: Iterator[np.ndarray], rows: int) -> Iterator[Float64[np.ndarray, "rows dim"]]:
    waiting: list[np.ndarray] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        if count >= rows:
            whole = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            full = count - count % rows
            yield from (whole[start : start + rows] for start in range(0, full, rows))
            waiting, count = [whole[full:]] if full < count else [], count - full
    if count:
        yield np.concatenate(waiting)
