import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jaxflow.config.spec import parse_spec
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.columns.discrete_maps import Categorical, Discrete, Levels, Steps
from jaxflow.data.columns.numeric_maps import Circular, Continuous
from jaxflow.data.encoding import Encoding
from jaxflow.data.tables.frame import Frame, as_frame
from jaxflow.data.tables.table_form import ColumnForm, TableForm
from jaxflow.errors import InputError

PLACES = np.array(["north", "south", None, "east"] * 10, dtype=object)
NUMBERS = np.arange(40)
SIZES = "dictionary<values={}, indices=int8, ordered=1>"


def given_back(X, names=None):
    """What comes of a table whose codes are drawn exactly as they are, after a way through a saved description."""
    frame = as_frame(X, names)
    encoding = Encoding.fit(frame, ColumnsSpec(missing="median"))
    form = parse_spec(TableForm, TableForm.of(X, frame).model_dump(mode="json"), "saved")
    codes = encoding.codes(frame)
    return form.native(form.arrow(encoding.nearest(codes), encoding.maps))


def test_frames_of_pandas_come_back_with_their_types():
    table = pd.DataFrame(
        {
            "a": np.linspace(-1, 1, 40),
            "small": NUMBERS.astype("uint8"),
            "flag": NUMBERS % 2 == 0,
            "place": pd.Series(PLACES, dtype="object"),
            "string": pd.Series(PLACES, dtype="string"),
            "kind": pd.Categorical(PLACES),
            "numbers": pd.Categorical(NUMBERS % 3),
            "nullable": pd.Series([None, *range(39)], dtype="Int64"),
            "known": pd.Series([None, True] * 20, dtype="boolean"),
            "single": np.linspace(0, 1, 40, dtype="float32"),
            "arrow": pd.Series(NUMBERS, dtype="int64[pyarrow]"),
            "mixed": pd.Series(list(range(40)), dtype="object"),
        }
    )
    found = given_back(table)
    assert isinstance(found, pd.DataFrame)
    assert found.dtypes.to_dict() == table.dtypes.to_dict()
    pd.testing.assert_frame_equal(found, table, check_frame_type=False)
    assert list(given_back(pd.DataFrame(np.ones((3, 2)) * [1, 2])).columns) == [0, 1]


def test_categories_of_pandas_come_back_in_their_order_with_those_that_no_row_has():
    sizes = pd.CategoricalDtype(["small", "medium", " large ", "huge"], ordered=True)
    table = pd.DataFrame(
        {
            "size": pd.Series(["small", " large ", None, "medium"] * 10, dtype=sizes),
            "plain": pd.Series(["b", "a"] * 20, dtype=pd.CategoricalDtype(["c", "b", "a"])),
            "number": pd.Series([2, 10] * 20, dtype=pd.CategoricalDtype([10, 2, 7], ordered=True)),
            "share": pd.Series([0.5, 0.1] * 20, dtype=pd.CategoricalDtype([0.5, 0.25, 0.1])),
            "flag": pd.Series([True] * 40, dtype=pd.CategoricalDtype([True, False])),
        }
    )
    pd.testing.assert_frame_equal(given_back(table), table, check_frame_type=False)


def test_frames_of_pandas_can_be_indexed_as_arrays_are():
    table = pd.DataFrame({"a": NUMBERS, "b": NUMBERS * 2.0})
    found = given_back(table)
    np.testing.assert_array_equal(found[:, 1], table["b"])
    np.testing.assert_array_equal(found[3:5, :], table.iloc[3:5])
    assert type(found[["b"]]) is type(found.copy()) is type(pickle.loads(pickle.dumps(found))) is pd.DataFrame


def test_tables_of_arrow_come_back_with_their_schema():
    table = pa.table(
        {
            "place": pa.array(PLACES).dictionary_encode(),
            "text": pa.array(PLACES, pa.large_string()),
            "count": pa.array([None, *range(39)], pa.int16()),
            "flag": pa.array([True, False] * 20),
            "price": pa.array(NUMBERS / 4).cast(pa.decimal128(10, 2)),
            "half": pa.array((NUMBERS / 2).astype(np.float16)),
        }
    )
    found = given_back(table)
    assert found.schema == table.schema
    assert found.to_pydict() == table.to_pydict()


def test_frames_of_polars_come_back_with_their_schema():
    table = pl.DataFrame({"place": PLACES.tolist(), "count": NUMBERS, "flag": NUMBERS % 2 == 0, "a": NUMBERS / 4})
    assert given_back(table).equals(table)
    assert given_back(table).schema == table.schema


def test_an_enum_of_polars_keeps_its_categories_and_their_order():
    kinds = pl.DataFrame({"kind": ["x", "y", None, "x"] * 10}, schema={"kind": pl.Enum(["z", "y", "x"])})
    assert given_back(kinds).equals(kinds)
    assert given_back(kinds).schema == kinds.schema


@pytest.mark.parametrize(("library", "dtype"), [("numpy", "category"), ("pandas", "enum"), ("polars", "int64")])
def test_a_type_is_one_of_the_library(library, dtype):
    with pytest.raises(ValidationError, match=f"dtype {dtype}: expected one of {library}"):
        TableForm(library=library, columns=(ColumnForm(name="a", type="double", dtype=dtype),))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, np.bool_])
def test_arrays_come_back_with_their_type(dtype):
    x = (np.random.default_rng(0).integers(0, 2, (40, 3))).astype(dtype)
    found = given_back(x)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, x)


def test_arrays_of_objects_and_lists_come_back_with_their_cells():
    x = np.array([PLACES, NUMBERS.tolist(), (NUMBERS % 2 == 0).tolist(), (NUMBERS / 4).tolist()], dtype=object).T
    found = given_back(x)
    assert found.dtype == object
    assert [type(cell) for cell in found[0]] == [str, int, bool, float]
    np.testing.assert_array_equal(found, x)
    assert given_back([[1, 2], [3, 5], [4, 5]]).dtype == np.int64
    assert given_back(np.array([["a", "b"], ["b", "a"]])).dtype.kind == "U"


def test_rows_of_a_file_have_whole_numbers_where_all_are():
    frame = Frame(np.array([[0.0, 1.0, 0.5], [1.0, np.nan, 2.0]]), ("text", "count", "a"), {"text": ("x", "y")})
    assert [column.type for column in TableForm.of(frame, frame).columns] == ["string", "int64", "double"]


def test_a_gap_among_whole_numbers_of_an_array_makes_them_floats():
    x = np.ma.masked_array(NUMBERS.reshape(20, 2), mask=np.arange(40).reshape(20, 2) == 3)
    frame = Frame(np.where(x.mask, np.nan, x.data), ("a", "b"))
    form, maps = TableForm.of(x, frame), Encoding.fit(frame, ColumnsSpec(missing="median")).maps
    found = form.native(form.arrow(frame.x, maps))
    np.testing.assert_array_equal(found, frame.x)


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    form = TableForm.plain([Continuous(name="a", fill=0.0)]).model_copy(update={"library": "polars"})
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(InputError, match="fitted to a frame of polars, which is not installed: sample_table gives"):
        form.native(pa.table({"a": [1.0]}))


@pytest.mark.parametrize(
    "change",
    [
        {"columns": []},
        {"columns": [{"name": "a", "type": "timestamp[ns]"}]},
        {"columns": [{"name": "a", "type": "list<item: int64>"}]},
        {"columns": [{"name": "a", "type": "decimal128(99, 2)"}]},
        {"columns": [{"name": "a", "type": "double", "dtype": "interval[int64]"}]},
        {"columns": [{"name": "a", "type": "double", "levels": ["1"]}]},
        {"columns": [{"name": "a", "type": SIZES.format("string"), "levels": ["x", "x"]}]},
        {"columns": [{"name": "a", "type": SIZES.format("int64"), "levels": ["1", "x"]}]},
        {"library": "os"},
        {"numbered": True},
    ],
)
def test_a_form_that_no_table_has_is_refused(change):
    with pytest.raises(InputError):
        parse_spec(TableForm, {"columns": [{"name": "a", "type": "double"}]} | change, "saved")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-1e9, 1e9) | st.just(np.nan), min_size=1, max_size=20),
    st.tuples(st.integers(-50, 50), st.integers(1, 40), st.sampled_from([1.0, 0.1, 0.25, 5.0, 1e-3])),
)
def test_draws_of_a_grid_are_its_nearest_values(draws, grid):
    start, places, step = grid
    values = np.round(start * step + step * np.arange(places + 1), 9)
    discrete = Discrete(name="a", fill=0.0, steps=Steps(low=values[0], high=values[-1], places=places + 1))
    levels = Levels(name="a", fill=0.0, levels=tuple(values))
    draws = np.array(draws)
    for column in (discrete, levels):
        found = column.nearest(draws)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(draws))
        found, near = found[~np.isnan(draws)], draws[~np.isnan(draws)]
        assert np.isin(found, values).all()
        assert (np.abs(found - near) <= np.abs(values[:, None] - near).min(axis=0) + 1e-6 * np.abs(near)).all()
        assert not column.unseen(found).any()
        np.testing.assert_array_equal(column.nearest(found), found)


def test_draws_stay_within_a_period_and_beyond_what_continuous_columns_have():
    circle = Circular(name="hour", fill=0.0, period=24.0, origin=3.0)
    assert circle.nearest(circle.invert(np.array([[21.0 - 1e-16], [20.9], [-1e-18]]))).tolist()[0] < 24
    assert (circle.nearest(np.array([24.0, 0.0, 23.9])) == [0.0, 0.0, 23.9]).all()
    below = np.array([[23.7, np.nan, 0.2, 24 - 1e-9]]).T
    for kind in ("int64", "uint8", "decimal128(5, 1)", "float", "dictionary<values=int8, indices=int8, ordered=0>"):
        form = parse_spec(TableForm, {"columns": [{"name": "hour", "type": kind}]}, "saved")
        found = form.arrow(below, [circle])["hour"].to_pylist()
        assert found[1] is None
        assert all(0 <= hour < 24 for hour in (found[0], *found[2:]))
        assert found[3] == 0
    np.testing.assert_array_equal(Continuous(name="a", fill=0.0).nearest(np.array([1e9, np.nan])), [1e9, np.nan])
    lone = Categorical(name="a", fill=0.0, categories=("x",))
    np.testing.assert_array_equal(lone.nearest(lone.invert(np.empty((2, 0)))), [0, 0])
