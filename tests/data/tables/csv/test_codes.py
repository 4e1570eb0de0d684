"""Codes made of digits are never taken for one number: the file is refused until it says that they are categories."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxflow.data.tables.csv import csv_table
from jaxflow.data.tables.read_table import read_table
from jaxflow.errors import InputError


def csv_file(folder, cells):
    path = folder / "t.csv"
    path.write_text("zip,a\n" + "".join(f"{cell},{row}.5\n" for row, cell in enumerate(cells)))
    return path


DIGITS = st.text(st.sampled_from("0123"), min_size=1, max_size=4)
LARGE = st.integers(2**53 - 3, 2**64).map(str)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(DIGITS, min_size=2, max_size=30) | st.lists(LARGE, min_size=2, max_size=5))
def test_codes_stay_apart_or_are_refused(tmp_path, codes):
    path = csv_file(tmp_path, codes)
    found = read_table(path, label=None, categorical=["zip"])
    assert [found.categories["zip"][int(place)] for place in found.x[:, 0]] == codes
    merged = len({float(code) for code in codes}) < len(set(codes))
    if merged or any(int(float(code)) != int(code) for code in codes):
        with pytest.raises(InputError, match=r"say that these are codes \(columns\.types\.zip = categorical\)"):
            read_table(path, label=None)
    else:
        assert read_table(path, label=None).x[:, 0].tolist() == [float(code) for code in codes]


def test_the_row_and_both_texts_are_named(message, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 256)
    path = csv_file(tmp_path, [*["01234"] * 400, "1234", "01234"])
    assert message(read_table, path, label=None) == (
        "row 401, column zip is '1234', expected another number than that of the text '01234' above it: say that these "
        "are codes (columns.types.zip = categorical), or write the number in one way"
    )


def test_numbers_that_float64_rounds_are_named_in_later_blocks(message, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", 256)
    path = csv_file(tmp_path, [*["1"] * 400, "1152921504606846976", "1152921504606846977"])
    assert message(read_table, path, label=None) == (
        "row 402, column zip is '1152921504606846977', expected a number that float64 does not round: say that these "
        "are codes (columns.types.zip = categorical), or leave it out"
    )


def test_large_floats_are_numbers(tmp_path):
    cells = ["1e300", "123456789012345678901.5", "1152921504606846976"]
    assert read_table(csv_file(tmp_path, cells), label=None).x[:, 0].tolist() == [float(cell) for cell in cells]
