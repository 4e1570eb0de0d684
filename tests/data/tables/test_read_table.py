import gzip
import os

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jaxflow.data.tables import parquet_table
from jaxflow.data.tables.csv import csv_table
from jaxflow.data.tables.read_table import read_chunks, read_table
from jaxflow.errors import InputError


def csv_file(folder, text, name="t.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def parquet_file(folder, **columns):
    path = folder / "t.parquet"
    parquet.write_table(pa.table(columns), path, row_group_size=2)
    return path


def npz_file(folder, **arrays):
    path = folder / "t.npz"
    np.savez(path, **arrays)
    return path


def chunks(path, features, **options):
    return list(read_chunks(path, features=features, **options))


TEXT = "a,b,label\n1,0.5,0\n-2,1e3,1\n3,.25,0\n"
ROWS = [[1.0, 0.5], [-2.0, 1e3], [3.0, 0.25]]


def csv_plain(folder):
    return csv_file(folder, TEXT)


def csv_gzipped(folder):
    return csv_file(folder, gzip.compress(TEXT.encode()), "t.csv.gz")


def parquet_plain(folder):
    return parquet_file(folder, a=[1, -2, 3], b=[0.5, 1e3, 0.25], label=[False, True, False])


def npz_of_columns(folder):
    return npz_file(folder, a=np.array([1, -2, 3]), b=np.array([0.5, 1e3, 0.25]), label=np.array([0, 1, 0], np.int32))


@pytest.mark.parametrize("write", [csv_plain, csv_gzipped, parquet_plain, npz_of_columns])
def test_every_format_reads_the_same(write, tmp_path):
    path = write(tmp_path)
    dataset = read_table(path)
    assert dataset.name == "t"
    assert dataset.feature_names == ("a", "b")
    assert dataset.x.dtype == np.float64
    np.testing.assert_array_equal(dataset.x, ROWS)
    np.testing.assert_array_equal(dataset.y, [0, 1, 0])
    chosen = read_table(str(path), label=None, features=("label", "a"))
    np.testing.assert_array_equal(chosen.x, [[0, 1], [1, -2], [0, 3]])
    assert chosen.y is None
    assert read_table(path, label=None).feature_names == ("a", "b", "label")


@pytest.mark.parametrize("write", [csv_plain, csv_gzipped, parquet_plain])
def test_chunks_have_the_columns_by_name_in_the_order_asked_for(write, tmp_path):
    path = write(tmp_path)
    first, last = chunks(path, ["b", "a"], chunk_rows=2)
    np.testing.assert_array_equal(first, [[0.5, 1], [1e3, -2]])
    np.testing.assert_array_equal(last, [[0.25, 3]])
    assert first.dtype == np.float64


@pytest.mark.parametrize("extension", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("chunk_rows", [1, 7, 100, 1000, 5000])
def test_chunks_are_of_equal_length_whatever_the_blocks_of_the_file(extension, chunk_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 512)
    monkeypatch.setattr(parquet_table, "BATCH_ROWS", 64)
    a = np.random.default_rng(0).normal(size=1000)
    if extension == "parquet":
        path = tmp_path / "t.parquet"
        parquet.write_table(pa.table({"a": a, "b": -a}), path, row_group_size=150)
    else:
        text = "a,b\n" + "".join(f"{float(v)!r},{float(-v)!r}\n" for v in a)
        content = gzip.compress(text.encode()) if extension == "csv.gz" else text
        path = csv_file(tmp_path, content, f"t.{extension}")
    parts = chunks(path, ["b", "a"], chunk_rows=chunk_rows)
    assert all(len(part) == chunk_rows for part in parts[:-1])
    assert 0 < len(parts[-1]) <= chunk_rows
    np.testing.assert_array_equal(np.concatenate(parts), np.stack([-a, a], axis=1))


@pytest.mark.parametrize("extension", ["csv", "parquet"])
def test_chunks_are_read_one_at_a_time(extension, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 512)
    monkeypatch.setattr(parquet_table, "BATCH_ROWS", 64)
    if extension == "csv":
        path = csv_file(tmp_path, "a\n" + "1.00\n" * 999 + "x\n")
    else:
        path = parquet_file(tmp_path, a=[1.0] * 999 + [np.nan])
    stream = read_chunks(path, features=["a"], chunk_rows=100)
    for _ in range(8):
        assert len(next(stream)) == 100
    with pytest.raises(InputError, match="row 1000, column a"):
        list(stream)


LONG = "a,b\n" + "1,2\n" * 20_000
CHANGES = {
    "cut": lambda path: os.truncate(path, 40_004),
    "rewritten": lambda path: path.write_text(LONG.replace("1,2", "3,4")),
    "replaced": lambda path: csv_file(path.parent, LONG, "other.csv").replace(path),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_read_is_no_shorter_table(change, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 1 << 13)
    path = csv_file(tmp_path, LONG)
    read = read_chunks(path, features=["a"], chunk_rows=100)
    next(read)
    CHANGES[change](path)
    with pytest.raises(InputError, match=r"t\.csv: the file has changed since it was first read"):
        list(read)


def test_a_table_that_is_cut_while_it_is_read_at_once_is_refused(message, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 1 << 13)
    original = csv_table.CsvTable._values

    def cutting(self, column, texts):
        os.truncate(self.path, 40_004)
        return original(self, column, texts)

    monkeypatch.setattr(csv_table.CsvTable, "_values", cutting)
    path = csv_file(tmp_path, LONG)
    assert message(read_table, path, label=None).startswith("the file has changed since it was first read (it had ")


def test_a_file_may_grow_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 1 << 13)
    path = csv_file(tmp_path, LONG)
    read = read_chunks(path, features=["a"], chunk_rows=100)
    next(read)
    with path.open("a") as file:
        file.write("1,2\n")
    assert sum(map(len, read)) >= 19_900


def test_cells_of_columns_that_are_not_asked_for_do_not_matter(tmp_path):
    np.testing.assert_array_equal(chunks(csv_file(tmp_path, "id,a\nx,1\n,2\n"), ["a"])[0], [[1.0], [2.0]])
    path = parquet_file(tmp_path, id=["x", None], a=[1, 2])
    np.testing.assert_array_equal(chunks(path, ["a"])[0], [[1.0], [2.0]])


def test_chunks_refuse_at_the_call(message, tmp_path):
    path = csv_file(tmp_path, TEXT)
    assert message(read_chunks, path, features=["a", "z"]) == "column z is missing; the columns are a, b, label"
    assert message(read_chunks, path, features=["a", "a"]) == "feature a is there twice, expected different names"
    assert message(read_chunks, path, features=[]) == "no feature is named, expected at least one"
    assert message(read_chunks, tmp_path / "no.csv", features=["a"]) == "there is no such file"
    headless = csv_file(tmp_path, "1,2\n3,4\n")
    assert message(read_chunks, headless, features=["a"]) == "column a is missing; the columns are 1, 2"
    with pytest.raises(InputError, match="chunk_rows = 0: expected a whole number of at least 1"):
        read_chunks(path, features=["a"], chunk_rows=0)
    npz = npz_of_columns(tmp_path)
    assert message(read_chunks, npz, features=["a"]) == "unknown extension, expected one of .csv, .csv.gz, .parquet"


def test_path_that_is_no_readable_file(message, tmp_path):
    assert message(read_table, tmp_path / "no.csv") == "there is no such file"
    assert message(read_table, tmp_path) == "this is a directory, expected a file"
    other = csv_file(tmp_path, TEXT, "t.xlsx")
    assert message(read_table, other) == "unknown extension, expected one of .csv, .csv.gz, .parquet, .npz"
    assert read_table(csv_file(tmp_path, TEXT, "T.CSV")).name == "T"
