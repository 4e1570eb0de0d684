"""Whole amounts of which some are grouped by points are never read as fractions unless something says so."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxflow.data.tables.csv import csv_table
from jaxflow.data.tables.csv.dialect import CsvOptions
from jaxflow.data.tables.read_table import read_chunks, read_table
from jaxflow.errors import InputError

QUIET = pytest.mark.filterwarnings("ignore:.* is read as fractions")


def csv_file(folder, cells, other=None, separator=";"):
    path = folder / "t.csv"
    pairs = zip(cells, ["0"] * len(cells) if other is None else other, strict=True)
    path.write_text(f"a{separator}b\n" + "".join(f"{cell}{separator}{beside}\n" for cell, beside in pairs))
    return path


def grouped(number):
    return f"{number:,}".replace(",", ".")


@QUIET
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-(10**4), 10**6 - 1), min_size=1, max_size=400), st.sampled_from(";\t|"))
def test_whole_amounts_are_read_as_such_or_refused(tmp_path, numbers, separator):
    numbers = [number // 1000 if number % 3 else number for number in numbers]
    path = csv_file(tmp_path, [grouped(number) for number in numbers], separator=separator)
    expected = np.array(numbers, float)
    found = read_table(path, label=None, csv=CsvOptions(decimal="comma")).x[:, 0]
    np.testing.assert_array_equal(found, expected)
    large = [abs(number) >= 1000 for number in numbers]
    # All in thousands, they may be fractions with three decimals, of which a warning tells.
    if all(large) or not any(large):
        read_table(path, label=None)
        return
    with pytest.raises(InputError) as error:
        read_table(path, label=None)
    said = str(error.value).removeprefix(f"{path}: ")
    assert said.startswith(
        f"row {large.index(True) + 1}, column a is {grouped(numbers[large.index(True)])!r}, expected "
    )
    assert "--data.decimal comma for thousands, point for a fraction" in said


def test_thousands_that_come_late_are_refused_in_chunks_too(message, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 256)
    path = csv_file(tmp_path, [*["312"] * 500, "", "1.234", *["7"] * 500])
    said = message(lambda file: list(read_chunks(file, features=["b", "a"], missing=True)), path)
    assert said.startswith("row 502, column a is '1.234', expected to be told what its point is")
    assert message(read_table, path, label=None, missing=True) == said


@pytest.mark.parametrize(
    ("cells", "other", "separator"),
    [
        (["500", "1.000"], ["0", "0.5"], ";"),
        (["312", "1.234"], ["0", "0.5"], ";"),  # a fraction beside it
        (["312"] * 300 + ["1.234", "2.5"], None, ";"),
        (["312"] * 300 + ["1.234", "1234"], None, ";"),
        (["312"] * 300 + ["1.234", "0.125"], None, ";"),
        (["312", "1.234"], None, ","),  # a comma that separates stands before no fraction
        (["312.000", "1.234"], None, ";"),
    ],
)
def test_points_that_something_tells_are_before_fractions(cells, other, separator, tmp_path):
    found = read_table(csv_file(tmp_path, cells, other, separator), label=None).x[:, 0]
    np.testing.assert_array_equal(found, [float(cell) for cell in cells])
