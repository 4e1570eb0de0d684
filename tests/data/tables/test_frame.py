import json

import numpy as np
import pyarrow as pa
import pytest

from jaxflow.data.tables.frame import Frame, as_frame, category_text
from jaxflow.errors import InputError


def test_a_table_of_numbers_and_texts_is_a_matrix_with_categories():
    table = pa.table(
        {
            "count": pa.array([1, None, 3]),
            "word": pa.array(["b", "a", None]),
            "flag": [True, False, True],
            "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
            "nothing": pa.nulls(3),
        }
    )
    frame = as_frame(table)
    expected = [[1, 1, 1, 0, np.nan], [np.nan, 0, 0, 1, np.nan], [3, np.nan, 1, 0, np.nan]]
    np.testing.assert_array_equal(frame.x, expected)
    assert frame.names == ("count", "word", "flag", "kind", "nothing")
    assert frame.categories == {"word": ("a", "b"), "kind": ("u", "v")}
    assert [frame.text(row, "word") for row in range(3)] == ["b", "a", ""]
    assert frame.text(2, "count") == "3"


def test_what_speaks_arrow_is_a_table():
    class Speaker:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table({"a": [1.5], "b": ["x"]}).__arrow_c_stream__(requested_schema)

    frame = as_frame(Speaker())
    np.testing.assert_array_equal(frame.x, [[1.5, 0.0]])
    assert frame.categories == {"b": ("x",)}


def test_an_array_of_objects_has_columns_of_numbers_and_of_texts():
    cells = np.array([[1, "b", None], [2.5, None, 4], [None, 3, True]], dtype=object)
    frame = as_frame(cells)
    np.testing.assert_array_equal(frame.x, [[1, 1, np.nan], [2.5, np.nan, 4], [np.nan, 0, 1]])
    assert frame.categories == {"x1": ("3", "b")}


def test_rows_and_columns_can_be_taken():
    frame = as_frame(pa.table({"a": [1.0, 2.0, 3.0], "b": ["x", "y", "x"]}))
    np.testing.assert_array_equal(frame[[2, 0]].x, [[3, 0], [1, 0]])
    assert len(frame[1:]) == 2
    turned = frame.pick(("b", "a"))
    np.testing.assert_array_equal(turned.x[0], [0, 1])
    assert frame.pick(("a",)).categories == {}
    assert turned.renamed(("c", "d")).categories == {"c": ("x", "y")}


@pytest.mark.parametrize(
    ("cell", "text"), [(3, "3"), (3.0, "3"), ("3.0", "3.0"), (" 3 ", "3"), ("x ", "x"), (0.5, "0.5"), ("1_0", "1_0")]
)
def test_the_same_category_has_one_text(cell, text):
    assert category_text(cell) == text


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (np.zeros(3), "X has shape (3,), expected (rows, columns)"),
        (pa.table([[1], [2]], names=["a", "a"]), "X: column a is there twice, expected different names"),
        (pa.table({"a": [[1], [2]]}), "X: column a holds list<item: int64>, expected numbers or texts"),
        (
            pa.table({"t": pa.array([0], pa.timestamp("us"))}),
            "X: column t holds timestamp[us], expected numbers or texts: make numbers of it, such as columns of the "
            "hour and the weekday (kind circular, period 24 and 7)",
        ),
        (np.array([[{}]], dtype=object), "X: row 1, column x0 is {}, expected a number or a text"),
    ],
)
def test_what_is_no_table_is_refused(table, sentence):
    with pytest.raises(InputError) as error:
        as_frame(table)
    assert str(error.value).startswith(sentence[:30])
    assert sentence.split(",")[-1] in str(error.value)


def test_a_column_of_times_is_refused_with_what_to_do():
    sentence = "X: column t holds timestamp.us., expected numbers or texts: make numbers of it, such as columns of"
    with pytest.raises(InputError, match=sentence):
        as_frame(pa.table({"t": pa.array([0], pa.timestamp("us"))}))


def described_by_pandas(index, **columns):
    """A table with the description that pandas gives it, as if the columns named in `index` were its index."""
    return pa.table(columns).replace_schema_metadata({"pandas": json.dumps({"index_columns": index})})


@pytest.mark.parametrize("index", [["id"], ["id", {"kind": "range", "name": None, "start": 0, "stop": 2, "step": 1}]])
def test_the_index_of_a_frame_of_pandas_is_no_column(index):
    frame = as_frame(described_by_pandas(index, a=[1.0, 2.0], id=[7, 9], __index_level_0__=["x", "y"]))
    assert frame.names == ("a",)
    np.testing.assert_array_equal(frame.x, [[1.0], [2.0]])


@pytest.mark.parametrize("metadata", [b"", b"{", b"[]", b"{}", b'{"index_columns": 3}', b"\xff", b"[" * 100_000])
def test_a_description_that_is_none_of_pandas_says_nothing(metadata):
    table = pa.table({"a": [1.0], "id": [7.0]}).replace_schema_metadata({"pandas": metadata})
    assert as_frame(table).names == ("a", "id")


def test_a_query_that_has_not_been_carried_out_is_no_table():
    class LazyFrame:
        def collect_schema(self):
            raise AssertionError("it is not looked at")

        lazy = collect_schema

    with pytest.raises(InputError, match=r"X is a LazyFrame, whose rows are yet to be computed, .* X.collect\(\)"):
        as_frame(LazyFrame())


def test_numbers_of_numpy_in_an_array_of_objects_are_numbers():
    frame = as_frame(np.array([[np.int64(1), np.bool_(True)], [np.float32(0.5), "x"]], dtype=object))
    np.testing.assert_array_equal(frame.x, [[1.0, 0.0], [0.5, 1.0]])
    assert frame.categories == {"x1": ("1", "x")}


def test_a_frame_is_left_as_it_is():
    frame = Frame(np.zeros((1, 1)), ("a",))
    assert as_frame(frame) is frame
