"""One door for arrays and frames: what numbers, texts and gaps are, and what is refused, with its place."""

import datetime
import fractions
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse

from jaxflow.config.spec import parse_spec
from jaxflow.data.columns.categories import number_text
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.columns.discrete_maps import Categorical
from jaxflow.data.encoding import Encoding
from jaxflow.data.tables.frame import as_frame
from jaxflow.errors import InputError

MASK = np.array([[False, True], [False, False], [True, False]])


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1.0, -9999.0], [2.0, 3.0], [-9999.0, 4.0]]),
        np.array([[1, -9999], [2, 3], [-9999, 4]]),
        np.array([[1, 99], [2, 3], [99, 4]], np.uint8),
        np.array([[1, np.inf], [2, 3], ["?", 4]], dtype=object),
        np.array([["1", "?"], ["2", "3"], ["?", "4"]]),
    ],
)
def test_what_a_mask_hides_is_missing(values):
    frame = as_frame(np.ma.masked_array(values, mask=MASK))
    np.testing.assert_array_equal(np.isnan(frame.x), MASK)
    if not frame.categories:
        np.testing.assert_array_equal(frame.x, [[1, np.nan], [2, 3], [np.nan, 4]])
    nothing_hidden = np.ma.masked_array(np.ones((2, 2)), mask=False)
    np.testing.assert_array_equal(as_frame(nothing_hidden).x, np.ones((2, 2)))


GAPS = [
    None,
    np.nan,
    pd.NA,
    pd.NaT,
    np.datetime64("NaT"),
    np.timedelta64("NaT"),
    np.ma.masked,
    Decimal("NaN"),
    Decimal("sNaN"),
]


@pytest.mark.parametrize("gap", GAPS, ids=str)
@pytest.mark.parametrize("others", [[1.0, 2.0], [1, 2], ["x", "y"], [Decimal(1), 2.0], [True, False]])
def test_a_gap_is_one_however_it_is_written(gap, others):
    cells = np.empty((3, 1), dtype=object)
    cells[:, 0] = [others[0], gap, others[1]]
    frame = as_frame(cells)
    np.testing.assert_array_equal(np.isnan(frame.x[:, 0]), [False, True, False])
    assert frame.categories == ({"x0": ("x", "y")} if others == ["x", "y"] else {})
    column = pd.Series(cells[:, 0], dtype=object)
    np.testing.assert_array_equal(as_frame(pd.DataFrame({"c": column})).x, frame.x)


@pytest.mark.parametrize(
    "cells",
    [
        [10**20, -(10**19)],
        [2**64 - 1, -1],
        [Decimal("1.50"), 0.5],
        [Decimal("1.50"), 1],
        [fractions.Fraction(1, 2), 1.5],
        [np.float16(0.5), np.int8(3)],
        [np.longdouble(0.5), True],
    ],
)
def test_numbers_of_all_kinds_are_numbers(cells):
    expected = [[float(cell)] for cell in cells]
    column = pd.Series(cells, dtype=object)
    for table in (np.array([cells], dtype=object).T, pd.DataFrame({"c": column}), [[cell] for cell in cells]):
        frame = as_frame(table)
        np.testing.assert_array_equal(frame.x, expected)
        assert frame.categories == {}


TIMES = "is .*, expected a number or a text: make numbers of it"
REFUSED = [
    (10**400, "is a number beyond 1e308, expected a finite number"),
    (-(10**5000), "is a number beyond 1e308, expected a finite number"),
    (Decimal("1e400"), "is a number beyond 1e308, expected a finite number"),
    (1 + 2j, "is \\(1\\+2j\\), expected a number or a text"),
    (b"x", "is b'x', expected a number or a text"),
    ([1, 2], "is \\[1, 2\\], expected a number or a text"),
    ({}, "is {}, expected a number or a text"),
    (np.datetime64("2024-01-01"), TIMES),
    (np.timedelta64(1, "s"), TIMES),
    (pd.Timestamp("2024-01-01"), TIMES),
    (datetime.time(1), TIMES),
    ("x\ud800", "is 'x.ud800', which UTF-8 cannot hold"),
]


@pytest.mark.parametrize(
    ("cell", "sentence"), REFUSED, ids=[repr(type(cell)) + str(n) for n, (cell, _) in enumerate(REFUSED)]
)
@pytest.mark.parametrize("beside", [0.5, "y"])
def test_a_cell_that_is_neither_is_named(cell, sentence, beside):
    array = np.empty((3, 2), dtype=object)
    array[:] = 1.0
    array[0, 1] = beside
    array[1, 1] = cell
    with pytest.raises(InputError, match="^X: row 2, column x1 " + sentence):
        as_frame(array)
    with pytest.raises(InputError, match="^X: row 2, column c " + sentence):
        as_frame(pd.DataFrame({"a": [1.0] * 3, "c": pd.Series(array[:, 1], dtype=object)}))
    with pytest.raises(InputError, match="^X: row 2, column x1 " + sentence):
        as_frame(array.tolist())


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        (
            np.array([["2024-01-01", "NaT"]], "M8[h]"),
            "X: column x0 holds datetime64.h., expected numbers or texts: make",
        ),
        (np.array([[1, 2]], "m8[s]"), "X: column x0 holds timedelta64.s."),
        (np.ma.masked_array(np.array([[1, 2]], "m8[s]"), mask=[[False, True]]), "X: column x0 holds timedelta64.s."),
        (np.ones((2, 2), complex), "Complex data not supported: X holds complex128"),
        (np.zeros(3, [("a", float), ("b", int)]), "X is a structured array of a, b, expected rows of cells"),
        (np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)]), "X is a structured array of a, b"),
        (np.zeros((2, 2), "V4"), "X holds .V4, expected numbers or texts"),
        (np.array([[b"\xff"]]), "X holds bytes that are not UTF-8"),
        (scipy.sparse.csr_matrix(np.eye(3)), "X is a sparse matrix of shape .3, 3., expected a dense one"),
        (scipy.sparse.coo_array(np.eye(3)), "X is a sparse matrix"),
        ([[1, 2], [3, 4], [5]], "X: row 3 has 1 cells and row 1 has 2 cells, expected the same number"),
        (np.array([[1, 2], [3]], dtype=object), "X: row 2 has 1 cells and row 1 has 2 cells"),
        ([[1, 2], 3], "X: row 2 has no cells and row 1 has 2 cells"),
        ([np.ones(2), np.ones(3)], "X: row 2 has 3 cells and row 1 has 2 cells"),
        ([[[1], [2, 3]], [[4], [5]]], "X: row 1, column x0 is .1., expected a number"),
        ([{"a": 1}], "X is a list of dict, expected a list of rows"),
        ({"a": 1}, "X is a dict, expected a table or an array"),
        ("abc", "X has shape .., expected .rows, columns."),
        (
            pd.DataFrame([[1.0]], columns=pd.Index(["a\ud800"], dtype=object)),
            "X: there is a column 'a.ud800', which UTF-8 cannot hold",
        ),
        (pd.DataFrame({"a": pd.Categorical([b"x", b"y"])}), "X: column a holds dictionary"),
    ],
    ids=range(20),
)
def test_what_cannot_hold_numbers_and_texts_is_refused(X, sentence):
    with pytest.raises(InputError, match=f"^{sentence}"):
        as_frame(X)


def test_texts_of_all_widths_are_texts():
    cells = np.array([["x", "1"], ["y", "2"]])
    for array in (
        cells,
        cells.astype(object),
        cells.astype(np.dtypes.StringDType()),
        cells.astype("S1"),
        cells.tolist(),
    ):
        frame = as_frame(array)
        assert frame.categories == {"x0": ("x", "y"), "x1": ("1", "2")}
        np.testing.assert_array_equal(frame.x, [[0, 0], [1, 1]])


def test_an_array_of_nothing_but_numbers_in_texts_holds_numbers_unless_they_are_said_to_be_texts():
    cells = np.array([["1.10", "2"], ["1.1", " "]])
    np.testing.assert_array_equal(as_frame(cells).x, [[1.1, 2], [1.1, np.nan]])
    frame = as_frame(cells, textual=[0])
    assert frame.categories == {"x0": ("1.1", "1.10")}
    # Beside numbers a text is one.
    mixed = np.array([["1.10", 0.5], ["1.1", 0.5]], dtype=object)
    assert as_frame(mixed).categories == {"x0": ("1.1", "1.10")}


def test_what_convert_dtypes_makes_is_read_as_an_array_too():
    frame = pd.DataFrame({"a": [1, None, 3], "b": [0.5, 1.5, None], "c": [True, False, True]}).convert_dtypes()
    np.testing.assert_array_equal(as_frame(frame.to_numpy()).x, as_frame(frame).x)


@pytest.mark.parametrize(
    "cells",
    [
        [Decimal(2**60), Decimal(2**60 + 1), 1.5],
        [Decimal(2**60), 2**60 + 1, 1.0],
        [Decimal(2**60), Decimal(2**60 + 1), Decimal(3)],
        [Decimal("1.10"), Decimal("1.1000000000000000001"), 2.5],
        [Decimal("1.10"), Decimal("1.1000000000000000001"), Decimal("-0.5")],
    ],
    ids=str,
)
def test_decimals_that_float64_rounds_are_different_categories(cells):
    spec = {"types": {"c": {"kind": "categorical"}}, "missing": "median"}
    column = np.array([*cells, None] * 5, dtype=object)
    texts = {number_text(cell) for cell in cells}
    assert len(texts) == 3
    for X in (column[:, None], pd.DataFrame({"c": column})):
        frame = as_frame(X, ["c"])
        encoding = Encoding.fit(frame, parse_spec(ColumnsSpec, spec, "columns"))
        (found,) = encoding.maps
        assert isinstance(found, Categorical)
        assert set(found.categories) == texts
        codes = encoding.codes(frame)[:, 0]
        assert [None if np.isnan(code) else found.categories[int(code)] for code in codes[:4]] == [
            *map(number_text, cells),
            None,
        ]
        # One row is of the category that it is of among others.
        assert [encoding.codes(as_frame(X[place : place + 1], ["c"])).item() for place in range(3)] == codes[
            :3
        ].tolist()


def test_decimals_that_float64_holds_are_plain_numbers():
    cells = [Decimal("0.10"), Decimal("123456789012.34"), None]
    for X in (np.array([cells], dtype=object).T, pd.DataFrame({"x0": pd.Series(cells, dtype=object)})):
        assert as_frame(X).exact == {}


@pytest.mark.parametrize("ways", [("01234", "1234"), ("1.10", "1.1"), ("12E3", "12000"), ("9" * 19, "9" * 18 + "8")])
def test_texts_that_are_one_number_in_two_spellings_are_not_merged_without_a_word(ways):
    array = np.array([[" 5 ", ways[0]], ["6", "8"], ["5", ways[0]], ["7", ways[1]]])
    sentence = f"^X: row 4, column x1 is '{ways[1]}', expected another number than that of the text '{ways[0]}' above"
    for X in (array, array.astype(object), array.tolist()):
        with pytest.raises(InputError, match=sentence + r".*columns\.types\.x1 = categorical"):
            as_frame(X, learned=True)
        assert set(as_frame(X, learned=True, textual=[1]).categories["x1"]) == {*ways, "8"}
        assert not as_frame(X).categories  # by then the columns are numbers for sure


def test_numbers_of_more_than_64_bits_of_polars_are_refused_with_their_column():
    frame = pl.DataFrame({"a": [1.0], "w": pl.Series([10**25], dtype=pl.Int128)})
    with pytest.raises(InputError, match="X: column w holds Int128, expected numbers of at most 64 bits"):
        as_frame(frame)


def test_names_of_several_levels_are_refused():
    frame = pd.DataFrame({("x", "a"): [1.0], ("x", "b"): [2.0]})
    with pytest.raises(InputError, match=r"^X: the names of the columns have 2 levels, .*columns\.map\(str\)"):
        as_frame(frame)
    frame.columns = frame.columns.map(str)
    assert as_frame(frame).names == ("('x', 'a')", "('x', 'b')")
