"""Files that change while a fit reads them: one sentence that names the file, whatever became of it."""

import os
import shutil
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from jaxflow.errors import InputError
from jaxflow.training import NpyFile, TableFiles

X = np.arange(300.0).reshape(100, 3)


def write(path, x, names="abc"):
    table = pa.table(dict(zip(names, x.T, strict=False)))
    if path.suffix == ".npy":
        np.save(path, x)
    elif path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path, row_group_size=10)


def opened(path) -> Any:
    return NpyFile(path) if path.suffix == ".npy" else TableFiles(path)


def replaced(path):
    write(path.with_name(f"other{path.suffix}"), X + 1)
    path.with_name(f"other{path.suffix}").replace(path)


CHANGES = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "replaced": replaced,
    "written to": lambda path: write(path, X[::-1]),
    "more rows": lambda path: write(path, np.vstack([X, X])),
    "a column lost": lambda path: write(path, X[:, :2]),
    "columns of other names": lambda path: write(path, X, "xyz"),
    "lengthened": lambda path: os.truncate(path, path.stat().st_size + 6),
    "removed": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_a_file_that_changes_is_named(suffix, change, tmp_path):
    path = tmp_path / f"rows{suffix}"
    write(path, X)
    source = opened(path)
    np.testing.assert_array_equal(np.vstack([source.read(chunk) for chunk in range(len(source.lengths))]), X)
    CHANGES[change](path)
    with pytest.raises(InputError) as caught:
        source.read(0)
    expected = {"removed": "no such file", "a folder": "a directory", "a pipe": "a named pipe"}
    assert f"rows{suffix}: " in str(caught.value)
    assert expected.get(change, "the file has changed since it was first read") in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_a_file_that_changes_while_a_chunk_is_read_is_named(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"rows{suffix}"
    write(path, X)
    source = opened(path)
    # The change comes after the file has been looked at, before its rows.
    if suffix == ".npy":
        original = source._numbers
        monkeypatch.setattr(source, "_numbers", lambda *how: (os.truncate(path, 200), original(*how))[1])
    else:
        table, name = source._tables[0], "group" if suffix == ".parquet" else "batches"
        original = getattr(table, name)
        monkeypatch.setattr(table, name, lambda *how: (write(path, X[:, :2]), original(*how))[1])
    with pytest.raises(InputError, match=r"the file has changed since it was first read"):
        source.read(0)


@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", "<i8", "|u1", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_any_layout_are_read(kind, order, tmp_path):
    x = np.asarray(np.arange(210).reshape(70, 3) % 100, kind, order=order)
    np.save(tmp_path / "rows.npy", x)
    source = NpyFile(tmp_path / "rows.npy", buffer_rows=256)
    assert len(source.lengths) == 5
    np.testing.assert_array_equal(np.vstack([source.read(chunk) for chunk in range(5)]), x.astype(np.float64))


def test_a_copy_with_the_same_times_is_another_file(tmp_path):
    write(tmp_path / "rows.npy", X)
    source = NpyFile(tmp_path / "rows.npy")
    shutil.copy2(tmp_path / "rows.npy", tmp_path / "copy.npy")
    (tmp_path / "copy.npy").replace(tmp_path / "rows.npy")
    with pytest.raises(InputError, match="another file has taken its place"):
        source.read(0)
