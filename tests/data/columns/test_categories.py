"""Texts that differ are of different categories, and a number is the one that is written as it is."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from jaxflow.data.columns.categories import UNSEEN, Categories, number_text
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.columns.discrete_maps import Categorical
from jaxflow.data.encoding import Encoding
from jaxflow.data.tables.frame import as_frame
from jaxflow.data.tables.read_table import read_chunks, read_table

# Ways to write a few numbers, so that many of the texts that are drawn are the same number.
WRITTEN = st.one_of(
    st.sampled_from(
        ["1", "1.0", "1.00", "01", "+1", "1e0", "1E0", "12000", "12E3", "1.1", "1.10", "0x1", "-0", "0", "0.0", "true"]
    ),
    st.integers(2**53, 2**53 + 3).map(str),
    st.integers(2**63 - 2, 2**64 + 2).map(str),
    st.text("0123456789.eE+-", min_size=1, max_size=4),
)
CATEGORICAL = ColumnsSpec.model_validate({"types": {"c": "categorical"}})


def fitted(cells, spec=CATEGORICAL) -> Any:
    """The map of a column of such cells, all of which are in the training rows."""
    return Encoding.fit(as_frame(pa.table({"c": cells}) if isinstance(cells, list) else cells), spec)


@settings(deadline=None)
@given(st.lists(WRITTEN, unique=True, min_size=2, max_size=6), WRITTEN)
def test_texts_that_differ_are_of_different_categories(texts, new):
    column = fitted(texts).maps[0]
    assert len(column.categories) == len(texts)
    places = [column.place(text) for text in texts]
    assert len(set(places)) == len(texts)
    ways = {"1", "true", "0"}  # of writing true and false, which stand for each other where there is but one
    assert new in texts or new in ways or column.place(new) == UNSEEN


NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(2**53 - 2, 2**53 + 3),
    st.integers(2**63 - 2, 2**63 - 1),
    st.sampled_from([1.5, 1.1, 1e300, -2.0]),
)


@settings(deadline=None)
@given(st.lists(NUMBERS, unique=True, min_size=1, max_size=6), NUMBERS)
def test_numbers_that_differ_are_of_different_categories(numbers, new):
    known = Categories([number_text(number) for number in numbers], "number")
    assert [known.place(number) for number in numbers] == list(range(len(numbers)))
    assert [known.place(number_text(number)) for number in numbers] == list(range(len(numbers)))
    assert new in numbers or known.place(new) == UNSEEN
    learned = Categories([str(number) for number in numbers])
    assert [learned.place(number) for number in numbers] == list(range(len(numbers)))
    assert new in numbers or learned.place(new) == UNSEEN


@pytest.mark.parametrize(
    ("texts", "spelling", "cell", "place"),
    [
        (("3", "4"), "text", 3, 0),
        (("3", "4"), "text", 3.0, 0),
        (("3", "4"), "text", Decimal("3.00"), 0),
        (("3.0", "4.0"), "text", 3, 0),
        (("3.0", "3"), "text", 3.0, 1),
        (("3", "4"), "text", "3.0", UNSEEN),
        (("03", "4"), "text", 3, UNSEEN),
        (("3", "4"), "number", "3.0", 0),
        (("3", "4"), "number", "3.00", UNSEEN),
        (("3", "4"), "number", " 3 ", 0),
        (("1.1", "4"), "number", "1.10", UNSEEN),
        (("0", "1"), "number", "True", 1),
        (("True", "False"), "text", 1.0, 0),
        (("0.1", "4"), "text", Decimal("0.1"), 0),
        (("0.1", "4"), "number", Decimal("0.10000000000000000001"), UNSEEN),
        # Saved before texts and numbers were told apart.
        (("1.1", "3"), "merged", "1.10", 0),
        (("1.1", "3"), "merged", "03", 1),
        (("1.1", "3"), "merged", "x", UNSEEN),
    ],
)
def test_a_number_is_what_is_written_like_it(texts, spelling, cell, place):
    assert Categories(texts, spelling).place(cell) == place


def test_a_column_that_was_saved_without_a_spelling_merges_as_it_did():
    column = Categorical.model_validate({"name": "c", "fill": 0, "categories": ["1.1", "12000"]})
    assert [column.place(cell) for cell in ("1.10", "12E3", 1.1, "x")] == [0, 1, 0, UNSEEN]


IDS = [1234567890123456781, 1234567890123456782]


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"c": pa.array(IDS)}),
        pa.table({"c": pa.array([*IDS, None])}),
        pa.table({"c": pa.array(IDS, pa.uint64())}),
        pa.table({"c": pa.array([2**64 - 1, 2**64 - 2], pa.uint64())}),
        pa.table({"c": pa.array(IDS).dictionary_encode()}),
        pa.table({"c": pa.array([Decimal(10**30), Decimal(10**30 + 1)])}),
        pd.DataFrame({"c": IDS}),
        pd.DataFrame({"c": pd.Categorical(IDS)}),
        pd.DataFrame({"c": pd.Series([10**30, 10**30 + 1], dtype=object)}),
        pd.DataFrame({"c": pd.array(IDS, "UInt64")}),
    ],
)
def test_long_identifiers_are_kept_apart(table):
    spec = ColumnsSpec.model_validate({"types": {"c": "categorical"}, "missing": "median"})
    encoding = fitted(table, spec)
    assert len(encoding.maps[0].categories) == 2
    frame = as_frame(table)
    assert encoding.codes(frame)[:2, 0].tolist() == [0, 1] or encoding.codes(frame)[:2, 0].tolist() == [1, 0]
    # Some of the rows, in another order, under another name.
    turned = frame[::-1].pick(("c",)).renamed(("c",))
    np.testing.assert_array_equal(encoding.codes(turned), encoding.codes(frame)[::-1])
    other = int(encoding.maps[0].categories[0]) + 5
    assert encoding.codes(as_frame(pa.table({"c": [Decimal(other)]})))[0, 0] == UNSEEN


def test_arrays_keep_long_identifiers_apart():
    spec = ColumnsSpec.model_validate({"types": {"x0": "categorical"}})
    for array in (np.array([IDS]).T, np.array([IDS], np.uint64).T, [[IDS[0], 0.5], [IDS[1], 0.5]]):
        frame = as_frame(array)
        assert len(fitted(frame, spec).maps[0].categories) == 2
        assert frame.text(1, "x0") == str(IDS[1])


def test_the_same_cells_are_the_same_categories_in_every_file(tmp_path):
    versions = ["1.1", "1.10", "01", "1"]
    numbers = pa.table({"c": pa.array([1.0, 2.0, 4.0, 8.0])})
    pd.DataFrame({"c": versions, "v": [1.0] * 4}).to_csv(tmp_path / "texts.csv", index=False)
    numbers.append_column("v", numbers.column("c")).to_pandas().to_csv(tmp_path / "numbers.csv", index=False)
    parquet.write_table(pa.table({"c": versions, "v": [1.0] * 4}), tmp_path / "texts.parquet")
    parquet.write_table(pa.table({"c": pa.array(IDS), "v": [1.0] * 2}), tmp_path / "ids.parquet")
    for file in ("texts.csv", "texts.parquet"):
        found = read_table(tmp_path / file, label=None, categorical=["c"])
        assert found.categories == {"c": ("01", "1", "1.1", "1.10")}
        known = {"c": Categories(found.categories["c"])}
        (codes,) = read_chunks(tmp_path / file, features=["c"], categories=known)
        assert codes[:, 0].tolist() == [2, 3, 0, 1]
    found = read_table(tmp_path / "ids.parquet", label=None, categorical=["c"])
    assert found.categories == {"c": tuple(map(str, IDS))}
    # What pandas writes of a column of floats are these floats.
    learned = fitted(numbers).maps[0]
    (codes,) = read_chunks(tmp_path / "numbers.csv", features=["c"], categories={"c": learned.known})
    assert codes[:, 0].tolist() == [0, 1, 2, 3]
