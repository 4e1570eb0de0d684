"""Rows that a mark divides are never read as one column of texts without a word, nor is a title as the header."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxflow.data.tables.csv.dialect import CsvOptions
from jaxflow.data.tables.csv.separator import named_separator, shown_separator
from jaxflow.data.tables.read_table import read_table
from jaxflow.errors import InputError

TITLES = [
    "# exported 2024-01-02",
    "Report of March",
    "Report, of March",
    "# a b c",
    "Sales",
    "Report;;",
    "one\ntwo\n",
]
FOUND_OUT = ",;\t|"
REFUSED = ":^~\x01\x1f@/!#&*=_"


def csv_file(folder, text):
    path = folder / "t.csv"
    path.write_text(text)
    return path


def lines(separator, rows, names=("volt", "amp", "watt")):
    return "".join(separator.join(row) + "\n" for row in (names, *rows))


NUMBERS = st.integers(-(10**6), 10**6).map(lambda value: f"{value / 1000}")
WORDS = st.sampled_from(["red", "blue", "dark green", "n17"])
TABLES = st.lists(st.sampled_from([NUMBERS, NUMBERS, WORDS]), min_size=1, max_size=4).flatmap(
    lambda kinds: st.lists(st.tuples(NUMBERS, *kinds), min_size=2, max_size=30)
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TABLES, st.sampled_from(FOUND_OUT + REFUSED), st.sampled_from(["", *TITLES]))
def test_a_table_is_read_with_all_its_columns_or_refused(tmp_path, rows, separator, title):
    names = [f"name {place}" for place in range(len(rows[0]))]
    text = lines(separator, rows, names)
    if not title and separator in FOUND_OUT:
        assert read_table(csv_file(tmp_path, text), label=None).feature_names == tuple(names)
        return
    if separator in "_/" and any(not cell[-1].isdigit() for row in rows for cell in row):
        return  # as paths and names are
    with pytest.raises(InputError) as error:
        read_table(csv_file(tmp_path, f"{title}\n{text}" if title else text), label=None)
    said = str(error.value).removeprefix(f"{tmp_path / 't.csv'}: ")
    if title:
        assert said.startswith(("the first line (", "column ", "row 1, column "))
    else:
        assert said.startswith(f"the rows may be of {len(names)} cells separated by ")
        options = CsvOptions(separator=shown_separator(separator))
        assert read_table(csv_file(tmp_path, text), label=None, csv=options).feature_names == tuple(names)


@pytest.mark.parametrize("separator", [*FOUND_OUT, *REFUSED])
def test_all_separators_have_a_name_that_says_them(separator, tmp_path):
    assert named_separator(shown_separator(separator)) == separator
    path = csv_file(tmp_path, lines(separator, [("1.5", "x", "2"), ("2.5", "y", "3")]))
    found = read_table(path, label=None, csv=CsvOptions(separator=shown_separator(separator)))
    assert found.feature_names == ("volt", "amp", "watt")
    np.testing.assert_array_equal(found.x, [[1.5, 0, 2], [2.5, 1, 3]])


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("separator", [*FOUND_OUT, " ", ":"])
def test_a_title_is_named(separator, title, message, tmp_path):
    path = csv_file(tmp_path, title + "\n" + lines(separator, [("1.5", "20.25", "3"), ("0.5", "7.5", "4")]))
    said = message(read_table, path, label=None)
    if title == "Report;;" and separator == ";":  # as many cells as the names below it have
        assert said == "column 2 has no name, expected one, or the features to read"
    else:
        assert said.startswith(f"the first line ({title.splitlines()[0]!r}) is not the header")
        assert said.partition(" above ")[0].endswith("take away what stands")


def test_a_title_is_named_where_the_separator_is_said(message, tmp_path):
    path = csv_file(tmp_path, "Report\n" + lines(":", [("1.5", "x", "2"), ("2.5", "y", "3")]))
    said = message(read_table, path, label=None, csv=CsvOptions(separator="colon"))
    assert said.startswith("the first line ('Report') has 1 cell, separated by colon, and those below it have 3, exp")


def test_a_mark_that_cannot_be_said_is_not_offered(message, tmp_path):
    path = csv_file(tmp_path, lines("§", [("1.5", "x", "2"), ("2.5", "y", "3")]))
    assert message(read_table, path, label=None).endswith("as in --data.separator comma, or write the file with commas")


@pytest.mark.parametrize(
    "cells",
    [
        ["full name", "John Smith", "Jane Doe", "Jack Black"],
        ["ip", "10.0.0.1", "10.0.0.2"],
        ["a:b", "x", "y"],
        ["sensor_id", "sensor_1", "sensor_2", "sensor_12"],
        ["path", "/usr/1/x", "/usr/2/x", "/usr/3/x"],
        ["day", "2024/01/02", "2024/01/03", "2024/01/04"],
        ["note", '"a;b"', '"c;d"', '"e;f"'],
        ["note", "a;b", "c", "d", "e;f;g"],
        ["mail", "ann@x.org", "bob@x.org", "eve@x.org"],
    ],
)
def test_texts_that_hold_marks_are_one_column(cells, tmp_path):
    assert read_table(csv_file(tmp_path, "\n".join(cells) + "\n"), label=None).feature_names == (cells[0],)
