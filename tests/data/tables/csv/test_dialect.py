"""How a CSV file is written is found out from its beginning, or said; else the file is refused, with the option."""

import csv as writer
import gzip
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxflow.config.spec import parse_spec
from jaxflow.data import DataSpec
from jaxflow.data.tables.csv import bounded_stream, csv_table
from jaxflow.data.tables.csv import dialect as csv_dialect
from jaxflow.data.tables.csv.dialect import CsvOptions
from jaxflow.data.tables.csv.dressed_numbers import is_dressed_number
from jaxflow.data.tables.csv.numbers import cell_number, decimal_of
from jaxflow.data.tables.read_table import read_chunks, read_table
from jaxflow.errors import InputError
from jaxflow.training import TableFiles

ROWS = np.array([[1.5, -2.25], [3.0, 0.125], [1234.5, 7.0]])


def csv_file(folder, text, encoding="utf-8", name="t.csv"):
    path = folder / name
    content = text if isinstance(text, bytes) else text.encode(encoding)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def written(number, decimal, thousands=""):
    text = f"{abs(number):,.3f}".rstrip("0").rstrip(".").replace(",", "T").replace(".", decimal)
    return ("-" if number < 0 else "") + text.replace("T", thousands)


def table_text(rows, separator, decimal=".", thousands="", names=("größe", "last"), end="\n"):
    text = io.StringIO()
    table = writer.writer(text, delimiter=separator, lineterminator=end)
    table.writerow(names)
    table.writerows([[written(cell, decimal, thousands) for cell in row] for row in rows])
    return text.getvalue()


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings_are_found_out(encoding, end, name, tmp_path):
    path = csv_file(tmp_path, table_text(ROWS, ";", ",", end=end), encoding, name)
    found = read_table(path, label=None)
    assert found.feature_names == ("größe", "last")
    np.testing.assert_array_equal(found.x, ROWS)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.floats(-9e5, 9e5).map(lambda v: round(v, 3)), min_size=3, max_size=3), min_size=2, max_size=5),
    st.sampled_from([",", ";", "\t", "|", " "]),
    st.sampled_from([".", ","]),
    st.booleans(),
)
def test_what_is_written_in_one_way_is_read_or_refused_with_the_option(tmp_path, rows, separator, decimal, grouped):
    thousands = "," if decimal == "." else "."
    path = csv_file(tmp_path, table_text(rows, separator, decimal, thousands if grouped else "", ("a", "b", "c")))
    expected = np.array(rows) + 0.0
    np.testing.assert_array_equal(read_table(path, label=None, csv=CsvOptions(decimal=decimal)).x, expected)
    cells = [written(cell, decimal, thousands if grouped else "") for row in rows for cell in row]
    if decimal_of([cells]) == (decimal, True) or (decimal == "." and not any("," in cell for cell in cells)):
        found = read_table(path, label=None)
        assert found.feature_names == ("a", "b", "c")
        np.testing.assert_array_equal(found.x, expected)
    elif decimal == ".":  # 1,234 without any cell that shows what its comma is
        with pytest.raises(InputError, match=r"--data\.decimal"):
            read_table(path, label=None)


def test_texts_stand_between_all_separators(tmp_path):
    for separator in ",;\t|":
        text = f"kind{separator}load\nred{separator}1\nblue{separator}2\n"
        found = read_table(csv_file(tmp_path, text), label=None)
        assert found.feature_names == ("kind", "load")
        assert found.categories == {"kind": ("blue", "red")}


@pytest.mark.parametrize(
    "text",
    [
        "v\n1\n2\n",
        "full name\nJohn Smith\nJane Doe\n",
        "note\na;b\nc|d\n",
        "a;b\nx\ny\n",
        '"a;b"\n"x;y"\nz\n',
        "word\n\nx\n",
    ],
)
def test_one_column_is_one(text, tmp_path):
    assert len(read_table(csv_file(tmp_path, text), label=None, missing=True).feature_names) == 1


@pytest.mark.parametrize(
    ("text", "names", "x"),
    [
        ("sep=;\na;b\n1;2\n", ("a", "b"), [[1, 2]]),
        ("'a','b'\n'1','2'\n'3','4'\n", ("a", "b"), [[1, 2], [3, 4]]),
        ('a,b\n"1","x\ny"\n2,z\n', ("a", "b"), [[1, 0], [2, 1]]),
        ('a;b\n"1;0";2\nx;3\n', ("a", "b"), [[0, 2], [1, 3]]),
        ("temp, °C;load\n1,5;2,5\n", ("temp, °C", "load"), [[1.5, 2.5]]),
        ("a,b\n1,2\n3\n".replace("3\n", "3,4\n"), ("a", "b"), [[1, 2], [3, 4]]),
        ('a,b\n"1,234",0.5\n12,1.5\n', ("a", "b"), [[1234, 0.5], [12, 1.5]]),
        ('a,b\n"1,234,567",5\n12,1\n', ("a", "b"), [[1234567, 5], [12, 1]]),
        ("a;b\n1.234;0,5\n12;1,5\n", ("a", "b"), [[1234, 0.5], [12, 1.5]]),
        ("a;label\n1,5;1\n2,5;0\n", ("a", "label"), [[1.5, 1], [2.5, 0]]),
    ],
)
def test_quotes_lines_and_thousands(text, names, x, tmp_path):
    found = read_table(csv_file(tmp_path, text), label=None)
    assert found.feature_names == names
    np.testing.assert_array_equal(found.x, x)


@pytest.mark.parametrize("cell", ["$12.5", "12%", "12.5 €", "CHF 12.50", "1 234", "1'234.50", "(12)", "-5 kg", "7.5°C"])
def test_numbers_with_signs_about_them_are_no_categories(cell, message, tmp_path):
    path = csv_file(tmp_path, f"load,price\n0.5,\n1.5,{cell}\n2.5,3\n3.5,{cell}\n")
    said = message(read_table, path, label=None, missing=True)
    assert said.startswith(f"row 2, column price is {cell!r}, expected a plain number: ")
    assert "columns.types.price = categorical" in said
    found = read_table(path, label=None, missing=True, categorical=["price"])
    assert set(found.categories["price"]) == {"3", cell}


@pytest.mark.parametrize(
    "cell", ["1.2.3", "A1", "10.0.0.1", "01.02.2024", "2024-01-02", "12:30", "1st", "4WD", "x", "-"]
)
def test_codes_are_categories(cell, tmp_path):
    assert not is_dressed_number(cell)
    found = read_table(csv_file(tmp_path, f"load,code\n0.5,{cell}\n1.5,y\n"), label=None)
    assert set(found.categories["code"]) == {cell, "y"}


REFUSED = [
    (
        'a,b\n"1,234",5\n2,1\n',
        "row 1, column a is '1,234', expected to be told what its comma is: --data.decimal",
    ),
    ("a;b\n1,234;5\n2;1\n", "row 1, column a is '1,234', expected to be told what its comma is: --data.decimal"),
    ("a b\nx 1\ny 2\n", "the rows may be of 2 cells separated by spaces or of one: say which, as in --data.separator "),
    (
        "a  b\n1  1\n2  2\n",
        "the first line has 2 words with several spaces between them, expected columns",
    ),
    (
        "temp\n1,5\n2,5\n",
        "row 1 has 2 cells, expected 1 as in the header; the cells are taken",
    ),
    ('a,b\nx,"y\n1,2\n', "row 1, column b is 'y\\\\n1,2', expected a text of one line"),
    ("a,b\nx\0,1\n", "row 1, column a is 'x\\\\x00', expected a text without zero bytes"),
    ("a\0,b\nx,1\n", "the header line holds a zero byte, expected text"),
    ("\0\0\0\0", "there are no rows"),
    (
        "a;b\n51,26;x\n?;0.5\n",
        "row 1, column a is '51,26', expected a finite number (another decimal is said by --data",
    ),
    ("a,b\n1,2\n3\n", "row 2 has 1 cells, expected 2 as in the header"),
    ("a;b\n1;2\n3;4;5\n", "row 2 has 3 cells, expected 2 as in the header"),
    (",".join(map(str, range(20_000))) + "\n", "the first line has 20,000 columns, expected at most 16,384"),
    (";".join(map(str, range(20_000))) + "\n", "the first line has 20,000 columns, expected at most 16,384"),
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_told_is_refused_in_a_sentence(text, sentence, message, tmp_path):
    assert message(read_table, csv_file(tmp_path, text), label=None).replace("\\", "\\\\").startswith(sentence)


def test_an_encoding_that_shows_late_is_named_with_its_option(message, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_dialect, "HEAD_BYTES", 1 << 10)
    monkeypatch.setattr(csv_table, "HEAD_BYTES", 1 << 10)
    content = ("a,b\n" + "x,2\n" * 5000 + "é,1\n").encode("cp1252")
    said = message(read_table, csv_file(tmp_path, content), label=None)
    assert said.startswith("row 5001, column a is '\ufffd', expected a text in UTF-8 (")
    assert "--data.encoding cp1252" in said
    found = read_table(csv_file(tmp_path, content), label=None, csv=CsvOptions(encoding="cp1252"))
    assert found.categories == {"a": ("x", "é")}


def test_the_pieces_in_which_a_file_is_read_make_no_difference(tmp_path, monkeypatch):
    """Thousands that come late, after blocks that pyarrow has converted by itself."""
    rng = np.random.default_rng(0)
    rows = np.sort(np.round(rng.uniform(0, 2000, (3000, 2)), 3), axis=0)
    path = csv_file(tmp_path, table_text(rows, ",", thousands=",", names=("a", "b")))
    whole = read_table(path, label=None).x
    np.testing.assert_array_equal(whole, rows)
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 2000)
    for chunk_rows in (7, 1000):
        parts = list(read_chunks(path, features=["b", "a"], chunk_rows=chunk_rows))
        assert {len(part) for part in parts[:-1]} == {chunk_rows}
        np.testing.assert_array_equal(np.concatenate(parts), rows[:, ::-1])


def test_streams_and_configs_say_how_files_are_written(tmp_path):
    for number in range(2):
        csv_file(tmp_path, table_text(ROWS, "~", ",", names=("a", "b")), "utf-16", f"{number}.csv")
    source = TableFiles(tmp_path, csv=CsvOptions(separator="~"))
    np.testing.assert_array_equal(source.read(1), ROWS)
    spec = parse_spec(DataSpec, {"path": "t.csv", "separator": "tab", "decimal": "comma", "encoding": "Latin-1"}, "s")
    assert spec.csv == CsvOptions(separator="\t", decimal=",", encoding="iso8859-1")
    assert parse_spec(DataSpec, spec.model_dump(mode="json"), "s") == spec
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"t\.parquet: separator is said of the file, expected no value"):
        read_table(tmp_path / "t.parquet", csv=spec.csv)


@pytest.mark.parametrize(
    ("key", "value"),
    [("separator", ";;"), ("separator", "ü"), ("separator", '"'), ("separator", "5"), ("decimal", "x"), ("decimal", ""),
     ("encoding", "utf-99"), ("encoding", "base64"), ("encoding", "\0"), ("encoding", "ü"),
     ("encoding", "punycode"), ("encoding", "idna")],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(key, value):
    with pytest.raises(InputError, match=f"data: {key} = "):
        parse_spec(DataSpec, {"path": "t.csv", key: value}, "data")
    with pytest.raises(InputError, match="wine is no CSV file"):
        parse_spec(DataSpec, {"name": "wine", "decimal": "comma"}, "data")


def test_a_compressed_file_that_is_a_bomb_is_refused(message, tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_stream, "MOST_UNPACKED", (1 << 16, 100))
    bomb = csv_file(tmp_path, "a,b\n" + "1,1\n" * 200_000, name="t.csv.gz")
    sentence = "it holds more than 100 times its size, expected it unpacked, as .csv"
    assert message(read_table, bomb, label=None) == sentence
    assert len(read_table(csv_file(tmp_path, "a,b\n" + "1,1\n" * 10_000, name="s.csv.gz"), label=None).x) == 10_000


def test_a_long_first_line_of_a_compressed_file_is_named(message, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 1000)
    path = csv_file(tmp_path, "a" * 3000 + ",b\n1,2\n", name="t.csv.gz")
    assert message(read_table, path) == "the first line is longer than 1000 bytes, expected column names"
    path = csv_file(tmp_path, "a,b\n1,2\n" + "x" * 3000 + ",2\n", name="t.csv.gz")
    assert message(read_table, path, label=None).startswith("a row is longer than 1000 bytes, expected shorter ones")


@settings(deadline=None)
@given(st.text("0123456789.,-e+", max_size=8))
def test_a_number_is_read_with_one_decimal_mark_as_with_the_other(text):
    turned = text.translate(str.maketrans(".,", ",."))
    assert cell_number(text, ".") == cell_number(turned, ",")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([["1,5", "2"]], (",", True)),
        ([["1.5", "2"]], (".", True)),
        ([["1,5"], ["1.5"]], (".", True)),
        ([["1,234"]], (".", False)),
        ([["0,234"]], (",", True)),
        ([["1.234.567"]], (",", True)),
        ([["1.234,5"], ["1.234"]], (",", True)),
        ([["1,5", "x"], ["2", "3"]], (".", False)),
        ([["1,5", "NA"], ["nan", "0,25"], ["null", " n/a "]], (",", True)),
        ([["1.5", "NA"], ["1,5", "#N/A"]], (".", True)),
        ([["1", ""], []], (".", False)),
    ],
)
def test_the_decimal_mark_is_what_some_cells_need_and_none_refutes(columns, expected):
    assert decimal_of(columns) == expected


def thousands(cells):
    return "a;b\n" + "".join(f"{cell};{row % 3}\n" for row, cell in enumerate(cells))


GROUPED = ["51.358", "7.120", "1.358.112", "-12.400", "312", "0", "99.250", "8.001"]


def test_points_that_may_be_of_thousands_are_said_to_be_taken_for_fractions(tmp_path):
    path = csv_file(tmp_path, thousands([cell for cell in GROUPED if cell.count(".") == 1]))
    with pytest.warns(UserWarning, match=r"t\.csv: column a is read as fractions, as in 51\.358, .* --data\.decimal"):
        read_table(path, label=None)
    assert read_table(path, label=None, csv=CsvOptions(decimal="comma")).x[0, 0] == 51358
    assert read_table(path, label=None, csv=CsvOptions(decimal="point")).x[0, 0] == 51.358


@pytest.mark.parametrize(
    "text",
    [
        thousands(GROUPED),  # several groups are thousands for sure
        thousands([*GROUPED[:2], *GROUPED[3:], "0.5"]),  # and a fraction is one
        thousands([*GROUPED[:2], *GROUPED[3:], "51.26"]),
        thousands([*GROUPED[:2], *GROUPED[3:], "1234.125"]),
        thousands(GROUPED[:2]),
        thousands([*GROUPED[:2], *GROUPED[3:]]).replace(";", ","),
        thousands([*GROUPED[:2], *GROUPED[3:]]).replace(";2", ";2,5"),
        thousands(["10.0.100", "10.200.300", "10.0.200", "10.0.300", "10.0.400", "10.0.500"]),
    ],
)
def test_points_without_doubt_pass_without_a_word(text, tmp_path):
    read_table(csv_file(tmp_path, text), label=None)


QUOTED = st.text(st.sampled_from("abx "), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.booleans(), QUOTED), min_size=2, max_size=6),
    st.sampled_from([" ", "  ", "\t"]),
    st.sampled_from([",", ";", "|"]),
    st.sampled_from(['"', "'"]),
    st.booleans(),
)
def test_quotes_behind_a_blank_are_refused_and_never_read_as_text(tmp_path, cells, blank, separator, quote, header):
    apart = [header, *(flag for flag, _ in cells)]
    names = ("n", *(text for _, text in cells))
    between = [separator + (blank if flag else "") for flag in apart]
    lines = [f"{quote}{text}{quote}" for text in names]
    first = [f"{quote}{text}{quote}" for text in ("a", *["0.5"] * len(cells))]
    text = "".join(f"{a}{mark}{b}\n" for a, mark, b in zip(first, between, lines, strict=True))
    path = csv_file(tmp_path, text)
    if any(apart):
        with pytest.raises(InputError, match="a blank stands before the quote of a cell"):
            read_table(path, label=None, missing=True)
        return
    assert read_table(path, label=None, missing=True).feature_names == ("a", "n")


@pytest.mark.parametrize(
    "text",
    [
        '"a", "n"\n1, "30"\n2, "40"\n',
        'a,n\n0.12, "30"\n0.13, "40"\n',
        ' "a", "n"\n1,30\n',
        "a,n\n1, '30'\n2, '40'\n",
    ],
)
def test_a_quote_behind_a_blank_is_named_with_what_to_do(text, message, tmp_path):
    said = message(read_table, csv_file(tmp_path, text), label=None)
    assert said.startswith("a blank stands before the quote of a cell (")
    assert "skipinitialspace=True" in said


def test_a_text_that_begins_with_a_blank_and_a_quote_is_one(tmp_path):
    path = csv_file(tmp_path, 'a,n\n1," ""x"" y"\n2,z\n')
    assert len(read_table(path, label=None).categories["n"]) == 2
