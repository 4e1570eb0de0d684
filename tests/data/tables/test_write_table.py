import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from jaxflow.data.tables.write_table import json_number, write_batches
from jaxflow.errors import InputError

SCHEMA = pa.schema([("row", pa.int64()), ("größe", pa.float64())])
VALUES = [0.1, -1e300, math.inf, -math.inf, 1 / 3, 5e-324, 2.0]


def batches(*sizes):
    first = 0
    for size in sizes:
        arrays = [pa.array(np.arange(first, first + size)), pa.array(VALUES[first : first + size], pa.float64())]
        yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
        first += size


def read(path):
    match path.suffix.lower():
        case ".csv":
            return pyarrow.csv.read_csv(path).to_pylist()
        case ".parquet":
            return pyarrow.parquet.read_table(path).to_pylist()
    rows = [json.loads(line, parse_constant=lambda token: pytest.fail(token)) for line in path.read_text().splitlines()]
    return [row | {"größe": float(row["größe"])} for row in rows]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl", "A.CSV", "a.b.jsonl"])
@pytest.mark.parametrize("sizes", [[7], [3, 4], [1] * 7, [0, 7]])
def test_what_is_written_is_read_bit_for_bit(tmp_path, name, sizes):
    path = tmp_path / "new" / name
    write_batches(batches(*sizes), SCHEMA, path)
    assert read(path) == [{"row": row, "größe": value} for row, value in enumerate(VALUES)]
    assert [path.name for path in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl"])
def test_no_rows_are_a_table_without_rows(tmp_path, name):
    write_batches([], SCHEMA, tmp_path / name)
    assert read(tmp_path / name) == []


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl"])
def test_an_error_on_the_way_leaves_the_old_file(tmp_path, name):
    def failing():
        yield from batches(3)
        raise InputError("row 4 is bad")

    path = tmp_path / name
    with pytest.raises(InputError, match="row 4 is bad"):
        write_batches(failing(), SCHEMA, path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    with pytest.raises(InputError, match="row 4 is bad"):
        write_batches(failing(), SCHEMA, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def never():
    pytest.fail("a batch was asked for")
    yield


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.xlsx", "a.xlsx: unknown extension, expected one of .csv, .parquet, .jsonl"),
        ("a", "a: unknown extension, expected one of .csv, .parquet, .jsonl"),
        ("a.csv.gz", "a.csv.gz: unknown extension, expected one of .csv, .parquet, .jsonl"),
        ("folder.csv", "folder.csv: this is a directory, expected a file to write"),
        ("file/a.csv", "file/a.csv cannot be written: "),
        ("file/a.parquet", "file/a.parquet cannot be written: "),
        ("file/a.jsonl", "file/a.jsonl cannot be written: "),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_first(tmp_path, name, sentence):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError) as error:
        write_batches(never(), SCHEMA, tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path}/{sentence}")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.csv"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (1.5, 1.5), (3, 3), ("text", "text"), (None, None)],
)
def test_json_numbers(value, expected):
    assert json_number(value) == expected
