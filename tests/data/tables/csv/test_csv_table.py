import gc
import gzip

import numpy as np
import pytest

from jaxflow.data.tables import table_limits
from jaxflow.data.tables.csv import csv_table
from jaxflow.data.tables.read_table import read_chunks, read_table


def csv_file(folder, text, name="t.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def chunks(path, features, **options):
    return list(read_chunks(path, features=features, **options))


def test_booleans_quotes_spaces_and_line_ends_of_csv(tmp_path):
    text = '\ufeff"a",flag,label\r\n" 1.5 ",true,False\r\n\r\n"2",False,True\r\n'
    dataset = read_table(csv_file(tmp_path, text))
    np.testing.assert_array_equal(dataset.x, [[1.5, 1.0], [2.0, 0.0]])
    np.testing.assert_array_equal(dataset.y, [0, 1])


def test_whole_numbers_may_be_column_names(tmp_path):
    assert read_table(csv_file(tmp_path, "0,1,label\n1,2,0\n")).feature_names == ("0", "1")


CELLS = [
    ("a,label\n1,0\nabc,1\n", "row 2, column a is 'abc', expected a finite number"),
    ("a,label\n1,0\n,1\n", "row 2, column a is empty, expected a finite number"),
    ("a,label\n1,0\nNA,1\n", "row 2, column a is 'NA', expected a finite number"),
    ("a,label\n1,0\nnan,1\n", "row 2, column a is 'nan', expected a finite number"),
    ("a,label\n1,0\n-inf,1\n", "row 2, column a is '-inf', expected a finite number"),
    ("a,label\n1,0\n1e999,1\n", "row 2, column a is '1e999', expected a finite number"),
    ("a,label\n1_000,0\n2,0\n3,0\n", "row 1, column a is '1_000', expected a finite number"),
    *(
        (
            f"a,label\n{time},0\n{time},1\n",
            f"row 1, column a is '{time}', expected a finite number: make numbers of it, such as columns of the hour "
            "and the weekday (kind circular, period 24 and 7)",
        )
        for time in ("2024-05-01", "2024-05-01 12:00:07", "2024-05-01T12:00:07Z", "2024-05-01T12:00:07.25", "12:00:07")
    ),
    (
        'a,b,label\n"1,5",0.5,0\n2,1.5,0\n',
        "row 1, column a is '1,5', expected a finite number (another decimal is said by --data.decimal comma)",
    ),
    ("a,label\n1,0\n\n2,2\n", "row 2, column label is '2', expected 0 or 1"),
    ("a,label\n1,0\n2,0.5\n", "row 2, column label is '0.5', expected 0 or 1"),
    ("a,label\n1,0\n2,\n", "row 2, column label is empty, expected 0 or 1"),
    ("a,label\n1,normal\n2,fraud\n", "row 1, column label is 'normal', expected 0 or 1"),
    ("a,label\ntrue,0\n2,0\n", "row 2, column a is '2', expected true or false like the cells above it"),
    ("a,b,label\n1,2,0\n3,4\n", "row 2 has 2 cells, expected 3 as in the header"),
    ("a,b,label\n1,2,0,4\n", "row 1 has 4 cells, expected 3 as in the header"),
    ("a,label\n1,0\n\xe9,0\n".encode("latin-1"), "row 2, column a is 'é', expected a finite number"),
]


@pytest.mark.parametrize(("text", "expected"), CELLS)
def test_csv_cell_is_named(message, text, expected, tmp_path):
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
def test_csv_row_numbers_hold_in_later_blocks(message, call, bad, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 256)
    path = csv_file(tmp_path, "a,b\n" + "1.5,2\n" * 300 + "\n" + "1.5,2\n" * 400 + bad + "\n" + "1.5,2\n" * 300)
    if call == "read_table":
        assert message(read_table, path, label=None) == expected
    else:
        assert message(chunks, path, ["a", "b"]) == expected


def test_boolean_column_stays_boolean_in_later_blocks(message, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 256)
    text = "a,b\n" + "true,1\n" * 300
    np.testing.assert_array_equal(chunks(csv_file(tmp_path, text), ["a"])[0], np.ones((300, 1)))
    path = csv_file(tmp_path, text + "False,1\n2,1\n")
    assert message(chunks, path, ["a"]) == "row 302, column a is '2', expected true or false like the cells above it"


def test_a_cell_that_is_neither_true_nor_false_is_the_one_named(message, tmp_path):
    path = csv_file(tmp_path, "a,b\n" + "true,1\nFalse,1\n" * 5 + "maybe,1\n")
    assert message(chunks, path, ["a"]) == "row 11, column a is 'maybe', expected true or false like the cells above it"


def test_empty_line_is_a_cell_in_a_file_of_one_column(message, tmp_path):
    path = csv_file(tmp_path, "a\n1\n\n3\n")
    assert message(read_table, path, label=None) == "row 2, column a is empty, expected a finite number"


@pytest.mark.parametrize("text", ["", "\n", "a,label\n", "a,label"])
def test_csv_without_rows(message, text, tmp_path):
    expected = "there are no rows, expected a header line and at least one row below it"
    path = csv_file(tmp_path, text)
    assert message(read_table, path) == expected
    if "label" in text:
        assert message(chunks, path, ["a"]) == expected


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a,b\n1,2\n", {}, "label column label is missing; the columns are a, b (for none: --data.label null)"),
        (
            "a,b\n1,2\n",
            {"label": "c"},
            "label column c is missing; the columns are a, b (for none: --data.label null)",
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
        (",,label\n0.5,1,0\n", {}, "column 1 has no name, expected one, or the features to read"),
        ("a,,label\n0,1,0\n", {}, "column 2 has no name, expected one, or the features to read"),
        (
            ",a,label\n0,1,0\n1,1,0\n",
            {},
            "column 1 has no name, expected one, or the features to read; it counts the rows: to_csv(index=False) "
            "leaves such an index of pandas out",
        ),
        ("0.5,2\n1.5,3\n", {"label": None}, "the first line holds numbers (0.5, ...), expected column names"),
        (
            b"\x81,label\n1,0\n",
            {},
            "the text is neither UTF-8 nor cp1252: say how it is encoded, as in --data.encoding utf-16",
        ),
    ],
)
def test_csv_columns_that_cannot_be_used(message, text, options, expected, tmp_path):
    assert message(read_table, csv_file(tmp_path, text), **options) == expected


def test_unnamed_column_is_no_matter_when_others_are_chosen(tmp_path):
    for text in (",a\n0,1\n", ",a,\n0,1,2\n"):
        np.testing.assert_array_equal(read_table(csv_file(tmp_path, text), label=None, features=["a"]).x, [[1.0]])


def test_damaged_csv(message, tmp_path, monkeypatch):
    truncated = csv_file(tmp_path, gzip.compress(("a,b\n" + "1.5,2\n" * 5000).encode())[:-20], "t.csv.gz")
    assert message(read_table, truncated, label=None).startswith("cannot be read as CSV (")
    no_gzip = csv_file(tmp_path, "a,label\n1,0\n", "u.csv.gz")
    assert message(read_table, no_gzip).startswith("cannot be read as CSV (")
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 100)
    long = csv_file(tmp_path, ",".join(f"column{i}" for i in range(30)) + "\n" + ",".join("1" * 30) + "\n")
    assert message(read_table, long) == "the first line is longer than 100 bytes, expected column names"


def test_rows_that_are_no_text_are_named_and_nothing_is_printed(message, tmp_path, capfd):
    """pyarrow hands rows of another length over as text, and writes a traceback for those that are none."""
    path = csv_file(tmp_path, b"\xef\xbb\xbfgr\xc3\xb6\xc3\x9fe,b\n1,\xff\n")
    assert message(chunks, path, ["größe", "b"]) == "row 1, column b is '\ufffd', expected a finite number"
    path = csv_file(tmp_path, b"a,b\n1,2\n1,\xff,3\n")
    assert message(chunks, path, ["a"]) == "row 2 has 3 cells, expected 2 as in the header"
    assert capfd.readouterr() == ("", "")


def test_text_that_breaks_off_within_a_letter_leaves_no_file_open(message, tmp_path):
    path = csv_file(tmp_path, "speed".encode("utf-16")[:5])
    assert message(read_table, path, label=None).startswith("the text is not utf-16")
    gc.collect()  # says in a warning what nobody has closed


def test_different_texts_of_a_column_are_few(message, tmp_path, monkeypatch):
    monkeypatch.setattr(table_limits, "MOST_TEXTS", 50)
    texts = csv_file(tmp_path, "a,b\n" + "".join(f"x{row},1\n" for row in range(51)))
    assert message(read_table, texts, label=None).startswith("column a holds more than 50 different texts, expected")
    declared = csv_file(tmp_path, "a,b\n" + "".join(f"{row},1\n" for row in range(51)), "declared.csv")
    assert "column a holds more than 50 different" in message(read_table, declared, label=None, categorical=["a"])
    thousands = csv_file(tmp_path, "a,b\n" + "".join(f'"{row},000.5",1\n' for row in range(1, 60)), "thousands.csv")
    assert len(read_table(thousands, label=None).x) == 59
