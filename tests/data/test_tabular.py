import gzip

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jaxflow.data import csv_table, parquet_table
from jaxflow.data.tabular import read_chunks, read_table
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


def message(call, *arguments, **options):
    """The error's sentence, which has to start with the path; without it."""
    with pytest.raises(InputError) as error:
        call(*arguments, **options)
    text = str(error.value)
    assert text.startswith(f"{arguments[0]}: ")
    assert "\n" not in text
    return text.removeprefix(f"{arguments[0]}: ")


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


def test_adbench_layout(tmp_path):
    path = npz_file(tmp_path, X=np.array([[1, 2], [3, 4]], np.uint8), y=np.array([0, 1], np.int32), extra=np.array("?"))
    for label in ("label", "y"):
        dataset = read_table(path, label=label)
        assert dataset.feature_names == ("x0", "x1")
        np.testing.assert_array_equal(dataset.x, [[1.0, 2.0], [3.0, 4.0]])
        np.testing.assert_array_equal(dataset.y, [0, 1])
    unlabelled = read_table(path, label=None, features=["x1"])
    np.testing.assert_array_equal(unlabelled.x, [[2.0], [4.0]])
    assert unlabelled.y is None
    assert read_table(path, label=None).feature_names == ("x0", "x1")


def test_booleans_quotes_spaces_and_line_ends_of_csv(tmp_path):
    text = '\ufeff"a",flag,label\r\n" 1.5 ",true,False\r\n\r\n"2",False,True\r\n'
    dataset = read_table(csv_file(tmp_path, text))
    np.testing.assert_array_equal(dataset.x, [[1.5, 1.0], [2.0, 0.0]])
    np.testing.assert_array_equal(dataset.y, [0, 1])


def test_whole_numbers_may_be_column_names(tmp_path):
    assert read_table(csv_file(tmp_path, "0,1,label\n1,2,0\n")).feature_names == ("0", "1")


def test_decimals_and_large_integers_of_parquet_become_floats(tmp_path):
    path = parquet_file(tmp_path, a=pa.array([2**60 + 1, 1]), b=pa.array([1.5, 2.5]).cast(pa.decimal128(5, 2)))
    np.testing.assert_array_equal(read_table(path, label=None).x, [[2.0**60, 1.5], [1.0, 2.5]])


def test_parquet_column_whose_name_is_the_start_of_another(tmp_path):
    path = parquet_file(tmp_path, **{"a.b": [1.0, 2.0], "a": [3.0, 4.0]})
    np.testing.assert_array_equal(chunks(path, ["a.b"])[0], [[1.0], [2.0]])
    np.testing.assert_array_equal(chunks(path, ["a"])[0], [[3.0], [4.0]])


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


CELLS = [
    ("a,label\n1,0\nabc,1\n", "row 2, column a is 'abc', expected a finite number"),
    ("a,label\n1,0\n,1\n", "row 2, column a is empty, expected a finite number"),
    ("a,label\n1,0\nNA,1\n", "row 2, column a is 'NA', expected a finite number"),
    ("a,label\n1,0\nnan,1\n", "row 2, column a is 'nan', expected a finite number"),
    ("a,label\n1,0\n-inf,1\n", "row 2, column a is '-inf', expected a finite number"),
    ("a,label\n1,0\n1e999,1\n", "row 2, column a is '1e999', expected a finite number"),
    ("a,label\n1_000,0\n", "row 1, column a is '1_000', expected a finite number"),
    ('a,label\n"1,5",0\n', "row 1, column a is '1,5', expected a finite number"),
    ("a,label\n1,0\n\n2,2\n", "row 2, column label is '2', expected 0 or 1"),
    ("a,label\n1,0\n2,0.5\n", "row 2, column label is '0.5', expected 0 or 1"),
    ("a,label\n1,0\n2,\n", "row 2, column label is empty, expected 0 or 1"),
    ("a,label\n1,normal\n2,fraud\n", "row 1, column label is 'normal', expected 0 or 1"),
    ("a,label\ntrue,0\n2,0\n", "row 1, column a is 'true', expected a finite number"),
    ("a,b,label\n1,2,0\n3,4\n", "row 2 has 2 cells, expected 3 as in the header"),
    ("a,b,label\n1,2,0,4\n", "row 1 has 4 cells, expected 3 as in the header"),
    ("a,label\n1,0\n\xe9,0\n".encode("latin-1"), "row 2, column a is '\ufffd', expected a finite number"),
]


@pytest.mark.parametrize(("text", "expected"), CELLS)
def test_csv_cell_is_named(text, expected, tmp_path):
    assert message(read_table, csv_file(tmp_path, text)) == expected


@pytest.mark.parametrize("call", ["read_table", "read_chunks"])
@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("x,2", "row 701, column a is 'x', expected a finite number"),
        ("1,", "row 701, column b is empty, expected a finite number"),
        ("1", "row 701 has 1 cells, expected 2 as in the header"),
    ],
)
def test_csv_row_numbers_hold_in_later_blocks(call, bad, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 256)
    path = csv_file(tmp_path, "a,b\n" + "1.5,2\n" * 300 + "\n" + "1.5,2\n" * 400 + bad + "\n" + "1.5,2\n" * 300)
    if call == "read_table":
        assert message(read_table, path, label=None) == expected
    else:
        assert message(chunks, path, ["a", "b"]) == expected


def test_boolean_column_stays_boolean_in_later_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 256)
    text = "a,b\n" + "true,1\n" * 300
    np.testing.assert_array_equal(chunks(csv_file(tmp_path, text), ["a"])[0], np.ones((300, 1)))
    path = csv_file(tmp_path, text + "False,1\n2,1\n")
    assert message(chunks, path, ["a"]) == "row 302, column a is '2', expected true or false like the cells above it"


def test_cells_of_columns_that_are_not_asked_for_do_not_matter(tmp_path):
    np.testing.assert_array_equal(chunks(csv_file(tmp_path, "id,a\nx,1\n,2\n"), ["a"])[0], [[1.0], [2.0]])
    path = parquet_file(tmp_path, id=["x", None], a=[1, 2])
    np.testing.assert_array_equal(chunks(path, ["a"])[0], [[1.0], [2.0]])


def test_empty_line_is_a_cell_in_a_file_of_one_column(tmp_path):
    path = csv_file(tmp_path, "a\n1\n\n3\n")
    assert message(read_table, path, label=None) == "row 2, column a is empty, expected a finite number"


@pytest.mark.parametrize("text", ["", "\n", "a,label\n", "a,label"])
def test_csv_without_rows(text, tmp_path):
    expected = "there are no rows, expected a header line and at least one row below it"
    path = csv_file(tmp_path, text)
    assert message(read_table, path) == expected
    if "label" in text:
        assert message(chunks, path, ["a"]) in (expected, "column a is missing; the columns are ")


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a,b\n1,2\n", {}, "label column label is missing; the columns are a, b (a table without one: label = null)"),
        (
            "a,b\n1,2\n",
            {"label": "c"},
            "label column c is missing; the columns are a, b (a table without one: label = null)",
        ),
        ("a,a,label\n1,2,0\n", {}, "column a is there twice, expected different names"),
        ("a,label\n1,0\n", {"features": ["a", "c"]}, "column c is missing; the columns are a, label"),
        ("a,label\n1,0\n", {"features": ["a", "a"]}, "feature a is there twice, expected different names"),
        (
            "a,label\n1,0\n",
            {"features": ["label"]},
            "column label is the label, expected it not to be among the features",
        ),
        ("label\n0\n", {}, "there is no feature column, expected at least one beside the label"),
        (",a,label\n0,1,0\n", {}, "column 1 has no name, expected one, or the features to read"),
        ("0.5,2\n1.5,3\n", {"label": None}, "the first line holds numbers (0.5, ...), expected column names"),
        ("\xe9,label\n1,0\n".encode("latin-1"), {}, "the header line is not UTF-8 text"),
    ],
)
def test_csv_columns_that_cannot_be_used(text, options, expected, tmp_path):
    assert message(read_table, csv_file(tmp_path, text), **options) == expected


def test_unnamed_column_is_no_matter_when_others_are_chosen(tmp_path):
    np.testing.assert_array_equal(read_table(csv_file(tmp_path, ",a\n0,1\n"), label=None, features=["a"]).x, [[1.0]])


def test_chunks_refuse_at_the_call(tmp_path):
    path = csv_file(tmp_path, TEXT)
    assert message(read_chunks, path, features=["a", "z"]) == "column z is missing; the columns are a, b, label"
    assert message(read_chunks, path, features=["a", "a"]) == "feature a is there twice, expected different names"
    assert message(read_chunks, path, features=[]) == "no feature is named, expected at least one"
    assert message(read_chunks, tmp_path / "no.csv", features=["a"]) == "there is no such file"
    headless = csv_file(tmp_path, "1,2\n3,4\n")
    assert message(read_chunks, headless, features=["a"]) == "column a is missing; the columns are 1, 2"
    with pytest.raises(InputError, match="chunk_rows is 0, expected at least 1"):
        read_chunks(path, features=["a"], chunk_rows=0)
    npz = npz_of_columns(tmp_path)
    assert message(read_chunks, npz, features=["a"]) == "unknown extension, expected one of .csv, .csv.gz, .parquet"


def test_path_that_is_no_readable_file(tmp_path):
    assert message(read_table, tmp_path / "no.csv") == "there is no such file"
    assert message(read_table, tmp_path) == "this is a directory, expected a file"
    other = csv_file(tmp_path, TEXT, "t.xlsx")
    assert message(read_table, other) == "unknown extension, expected one of .csv, .csv.gz, .parquet, .npz"
    assert read_table(csv_file(tmp_path, TEXT, "T.CSV")).name == "T"


def test_damaged_csv(tmp_path, monkeypatch):
    truncated = csv_file(tmp_path, gzip.compress(("a,b\n" + "1.5,2\n" * 5000).encode())[:-20], "t.csv.gz")
    assert message(read_table, truncated, label=None).startswith("cannot be read as CSV (")
    no_gzip = csv_file(tmp_path, TEXT, "u.csv.gz")
    assert message(read_table, no_gzip).startswith("cannot be read as CSV (")
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 100)
    long = csv_file(tmp_path, ",".join(f"column{i}" for i in range(30)) + "\n" + ",".join("1" * 30) + "\n")
    assert message(read_table, long) == "the first line is longer than 100 bytes, expected column names"


def test_parquet_cell_is_named(tmp_path):
    path = parquet_file(tmp_path, a=[1.0, 2.0, np.nan], b=[1.0, None, 3.0], label=[0, 1, 5])
    assert message(chunks, path, ["a"]) == "row 3, column a is nan, expected a finite number"
    assert message(chunks, path, ["b", "a"]) == "row 2, column b is empty, expected a finite number"
    path = parquet_file(tmp_path, a=[1, 2, 3], label=[0, 1, 5])
    assert message(read_table, path) == "row 3, column label is 5, expected 0 or 1"


def test_parquet_that_cannot_be_used(tmp_path):
    path = parquet_file(tmp_path, a=["x", "y"], label=[0, 1])
    assert message(read_table, path) == "column a holds string, expected numbers"
    assert message(read_table, path, label="a", features=["label"]) == "column a holds string, expected numbers"
    path = parquet_file(tmp_path, a=pa.array([], pa.float64()), label=pa.array([], pa.int64()))
    assert message(read_table, path) == "there are no rows, expected at least one"
    path.write_bytes(b"PAR1 and then something else PAR1")
    assert message(read_table, path).startswith("cannot be read as Parquet (")
    path.write_bytes(b"")
    assert message(read_table, path).startswith("cannot be read as Parquet (")
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    assert message(read_table, path) == "column a is there twice, expected different names"


def test_parquet_damaged_behind_its_footer(tmp_path):
    path = tmp_path / "t.parquet"
    values = np.random.default_rng(0).normal(size=5000)
    parquet.write_table(pa.table({"a": values}), path, compression="gzip", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[2000:6000] = bytes(4000)
    path.write_bytes(content)
    assert message(read_table, path, label=None).startswith("cannot be read as Parquet (")


ONE = np.array([1.0])


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (
            {"X": np.array([[1.0], [np.inf]]), "y": np.array([0, 1])},
            "row 2, column x0 is inf, expected a finite number",
        ),
        ({"X": np.array([[1.0], [2.0]]), "y": np.array([0, 3])}, "row 2, column y is 3.0, expected 0 or 1"),
        (
            {"X": np.array([[1.0], [2.0]]), "y": np.array([0])},
            "column x0 has 2 rows and column y has 1, expected the same number",
        ),
        ({"X": np.array([[1.0]])}, "label column y is missing; the columns are x0 (a table without one: label = null)"),
        ({"X": ONE, "y": ONE}, "array X has shape (1,), expected 2 dimension(s)"),
        ({"X": np.ones((1, 1)), "y": np.ones((1, 1))}, "array y has shape (1, 1), expected 1 dimension(s)"),
        ({"X": np.ones((0, 2)), "y": np.ones(0)}, "there are no rows, expected at least one"),
        ({"X": np.array([["a"]]), "y": ONE}, "array X holds <U1, expected numbers"),
        ({"X": np.array([[1j]]), "y": ONE}, "array X holds complex128, expected numbers"),
        ({"X": np.array([[{}]]), "y": ONE}, "array X holds Python objects, expected numbers"),
        ({"a": np.array([None]), "label": ONE}, "array a holds Python objects, expected numbers"),
        ({"a": np.ones((2, 2)), "label": ONE}, "array a has shape (2, 2), expected 1 dimension(s)"),
        ({"a": np.ones(2), "label": ONE}, "column a has 2 rows and column label has 1, expected the same number"),
        ({}, "there are no arrays, expected X and y or one array for each column"),
    ],
)
def test_npz_that_cannot_be_used(arrays, expected, tmp_path):
    assert message(read_table, npz_file(tmp_path, **arrays)) == expected


def test_damaged_npz(tmp_path):
    path = npz_file(tmp_path, X=np.random.default_rng(0).normal(size=(500, 4)), y=np.zeros(500))
    content = bytearray(path.read_bytes())
    content[3000:3100] = bytes(100)
    path.write_bytes(content)
    assert message(read_table, path).startswith("cannot be read as NPZ (")
    path.write_bytes(b"not an archive")
    assert message(read_table, path) == "cannot be read as NPZ (it is not a zip archive)"
    path.write_bytes(b"")
    assert message(read_table, path) == "cannot be read as NPZ (it is not a zip archive)"
