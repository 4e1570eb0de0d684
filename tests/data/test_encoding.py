from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxflow.config.spec import parse_spec
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.columns.discrete_maps import Categorical, Discrete, Levels
from jaxflow.data.columns.numeric_maps import Arcsinh, Circular, Continuous
from jaxflow.data.encoding import Encoding
from jaxflow.data.tables.frame import Frame, as_frame
from jaxflow.errors import InputError


def columns(**values) -> ColumnsSpec:
    return parse_spec(ColumnsSpec, values, "columns")


def table(n=200, **changes):
    rng = np.random.default_rng(0)
    cells = {
        "real": rng.normal(size=n),
        "count": rng.poisson(3, n),
        "tenths": rng.integers(0, 9, n) / 10,
        "uneven": rng.choice([0.0, 1.0, 3.7, 1000.0], n),
        "word": rng.choice(["a", "b", "c"], n, p=[0.2, 0.5, 0.3]),
        "hour": rng.uniform(6, 20, n),
    }
    return as_frame(pa.table(cells | changes))


def test_kinds_are_inferred():
    encoding = Encoding.fit(table(), columns())
    assert [type(column) for column in encoding.maps] == [
        Continuous,
        Discrete,
        Discrete,
        Levels,
        Categorical,
        Continuous,
    ]
    assert encoding.sources.tolist() == [0, 1, 2, 3, 4, 4, 5]
    assert encoding.on_grid.tolist() == [False, True, True, True, True, True, False]
    plain = Encoding.fit(table().pick(("real", "count", "tenths")), columns(infer=False))
    assert plain.is_identity
    assert {type(column) for column in plain.maps} == {Continuous}


def test_one_huge_value_makes_no_grid():
    x = np.random.default_rng(0).normal(size=(100, 1))
    x[7] = 1e30
    assert type(Encoding.fit(Frame(x, ("a",)), columns()).maps[0]) is Continuous


def test_the_spec_decides_where_it_says_something():
    spec = columns(
        types={"count": "continuous", "hour": {"kind": "circular", "period": 24}, "uneven": "categorical"},
        context=["hour"],
        tails="arcsinh",
    )
    encoding = Encoding.fit(table(), spec)
    assert [column.describe() for column in encoding.maps] == [
        "continuous, arcsinh",
        "continuous, arcsinh",
        "discrete",
        "categorical, 4 categories",
        "categorical, 3 categories",
        "circular, period 24",
    ]
    assert encoding.in_context.tolist() == [False] * 8 + [True] * 2
    hour: Circular = encoding.maps[5]  # type: ignore[assignment]
    assert hour.origin < 6 or hour.origin > 20


def test_there_and_back():
    frame = table()
    spec = columns(tails="rank_gaussian", context=["count"], types={"hour": {"kind": "circular", "period": 24}})
    encoding = Encoding.fit(frame, spec)
    codes = encoding.codes(frame)
    np.testing.assert_allclose(encoding.invert(encoding.expand(codes)), codes, atol=1e-9)


def test_texts_are_found_by_what_they_say():
    encoding = Encoding.fit(table(), columns())
    asked = as_frame(pa.table({name: [0.0, 0.0, 0.0] for name in ("real", "count", "tenths", "uneven")} | {
        "word": ["c", "zebra", "a"], "hour": [7.0, 7.0, 7.0]}))  # fmt: skip
    codes = encoding.codes(asked)
    assert codes[:, 4].tolist() == [2, -1, 0]
    np.testing.assert_array_equal(encoding.unseen(codes)[:, 4], [False, True, False])
    assert not np.delete(encoding.unseen(codes), 4, axis=1).any()


def test_numbers_that_are_categories():
    frame = Frame(np.array([[1.0], [2.0], [2.0]]), ("code",))
    encoding = Encoding.fit(frame, columns(types={"code": "categorical"}))
    assert encoding.categories == {"code": ("1", "2")}
    assert encoding.codes(Frame(np.array([[2.0], [1.0], [9.0]]), ("code",)))[:, 0].tolist() == [1, 0, -1]
    texts = Frame(np.array([[1.0], [0.0]]), ("code",), {"code": ("2.0", "x")})
    assert encoding.codes(texts)[:, 0].tolist() == [-1, 1]


def test_missing_values_take_the_median_and_are_marked():
    frame = table()
    frame.x[::4, 0] = np.nan
    frame.x[::5, 4] = np.nan
    encoding = Encoding.fit(frame, columns(missing="median"))
    z = encoding.expand(encoding.codes(frame))
    assert encoding.sources.tolist() == [0, 0, 1, 2, 3, 4, 4, 4, 5]
    np.testing.assert_array_equal(z[::4, 0], np.nanmedian(frame.x[:, 0]))
    np.testing.assert_array_equal(z[:, 1], np.isnan(frame.x[:, 0]))
    np.testing.assert_array_equal(z[::5, 5:7], 0.0)  # the most frequent one
    back = encoding.invert(z)
    np.testing.assert_array_equal(np.isnan(back), np.isnan(frame.x))
    # Where none was missing before, a missing value was never seen.
    frame.x[3, 1] = np.nan
    unseen = encoding.unseen(encoding.codes(frame))
    assert np.argwhere(unseen).tolist() == [[3, 1]]


def fitted(values, **spec):
    values = np.asarray(values, float)
    return Encoding.fit(Frame(values[:, None], ("a",)), columns(**spec)).maps[0]


def unseen(column, *values):
    return column.unseen(np.array(values, float)).tolist()


def test_a_grid_that_was_inferred_is_sure_with_enough_rows_for_each_value():
    counts = np.repeat(np.arange(5), 10)
    assert unseen(fitted(counts), 4.5, 4.0, -1.0, 9.0) == [True, False, False, False]
    assert unseen(fitted(counts[:-1]), 4.5) == [False]
    # What most rows have says nothing about how far apart the others are.
    assert unseen(fitted([0] * 1000 + [2] * 9), 1.0) == [False]
    assert unseen(fitted([0] * 1000 + [2] * 10), 1.0) == [True]
    # Not every place need be taken.
    assert unseen(fitted(np.append(counts, [8] * 10)), 6.0, 7.5) == [False, True]


def test_a_grid_that_one_row_made_finer_is_not_sure():
    assert unseen(fitted([0.0] * 50 + [1.0] * 50 + [0.5]), 0.25) == [False]
    assert unseen(fitted([0.0] * 50 + [1.0] * 50 + [0.5] * 2), 0.25) == [True]


def test_a_grid_that_was_said_to_be_one_is():
    assert unseen(fitted([0, 1, 2], types={"a": "discrete"}), 0.5, 1.0, 7.0) == [True, False, False]
    assert unseen(fitted([0.0] * 50 + [1.0] * 50 + [0.5], types={"a": "discrete"}), 0.25) == [True]
    assert unseen(fitted([0] * 50 + [1] * 50, types={"a": "continuous"}), 0.5) == [False]


def test_levels_are_all_there_are_if_each_has_enough_rows():
    levels = np.repeat([1.0, 10.0, 1000.5], 10)
    assert unseen(fitted(levels), 10.0, 500.0, 2000.0) == [False, True, True]
    assert type(fitted(np.append(levels, [1.0] * 9)[1:])) is Levels
    assert unseen(fitted(np.append(levels[:-1], [1.0] * 9)), 500.0) == [False]
    assert unseen(fitted(levels[8:22], types={"a": "discrete"}), 500.0) == [True]
    assert unseen(fitted(levels[9:21], types={"a": "discrete"}), 500.0) == [False]


@pytest.mark.parametrize(
    "chosen", [("real",), ("real", "word"), ("count", "real"), ("word", "count", "uneven", "tenths", "real")]
)
def test_what_was_never_seen_is_so_in_a_program_of_jax(chosen):
    frame = table().pick(chosen)
    encoding = Encoding.fit(frame, columns(missing="median", types={"count": "discrete"} if "count" in chosen else {}))
    x = np.array([[place, place + 0.5, -1.0, np.nan, 9.0] for place in range(len(chosen))], float).T
    expected = np.stack(
        [
            column.unseen(x[:, index]) | (np.isnan(x[:, index]) & ~np.array(column.indicator))
            for index, column in enumerate(encoding.maps)
        ],
        axis=1,
    )
    np.testing.assert_array_equal(encoding.unseen(x), expected)
    assert expected[3].all()
    with jax.enable_x64(True):
        np.testing.assert_array_equal(jax.jit(encoding.unseen)(x), expected)


def test_a_context_is_not_judged_but_one_that_was_always_there_must_be():
    frame = table()
    frame.x[::4, 0] = np.nan
    for missing in ("median", "model"):
        encoding = Encoding.fit(frame, columns(missing=missing, context=["real", "count", "word"]))
        asked = table()
        asked.x[0, 0] = asked.x[1, 1] = asked.x[2, 4] = np.nan  # only the first had none in training rows
        asked.x[3, 1] = 0.5
        found = encoding.unseen(encoding.codes(asked))
        assert np.argwhere(found).tolist() == [[1, 1], [2, 4]]


@pytest.mark.parametrize(
    ("changes", "spec", "sentence"),
    [
        ({}, {"context": ["week"]}, "columns: there is no column week; the columns are real, count"),
        ({}, {"types": {"week": "discrete"}}, "columns: there is no column week; the columns are real, count"),
        ({}, {"types": {"real": "discrete"}}, "column real is to be discrete, but its 200 values lie on no regular"),
        ({}, {"types": {"word": "continuous"}}, "column word is 'a', expected a finite number"),
        ({"word": [str(i) for i in range(1000, 1200)] * 2, "real": [0.0] * 400}, {}, ""),
    ],
)
def test_what_does_not_suit_is_refused(changes, spec, sentence):
    frame = table(400, **changes) if changes else table()
    if not sentence:
        assert "categorical, 200 categories" in dict(Encoding.fit(frame, columns(**spec)).describe())["word"]
        return
    with pytest.raises(InputError, match=sentence.split(";")[0]):
        Encoding.fit(frame, columns(**spec))


def test_values_that_cannot_be_coded_are_named():
    encoding = Encoding.fit(table(), columns())
    frame = table()
    frame.x[2, 0] = np.nan
    with pytest.raises(InputError, match="row 3, column real is missing, expected a value"):
        encoding.codes(frame)
    frame.x[2, 0] = -np.inf
    with pytest.raises(InputError, match="row 3, column real is -inf, expected a number"):
        encoding.codes(frame)
    gone = table()
    gone.x[:, 0] = np.nan
    with pytest.raises(InputError, match="column real has no value in any of 200 training rows"):
        Encoding.fit(gone, columns(missing="median"))


def test_too_many_categories_are_no_categories():
    words = pa.table({"id": [f"user{i}" for i in range(300)]})
    with pytest.raises(InputError, match="column id has 300 categories in 300 training rows, expected at most 256"):
        Encoding.fit(as_frame(words), columns())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"types": {"a": "circular"}}, "period = None: expected a number for kind circular"),
        ({"types": {"a": {"kind": "discrete", "period": 3}}}, "period = 3.0: expected no value unless kind is"),
        ({"types": {"a": {"kind": "discrete", "tails": "arcsinh"}}}, "tails = arcsinh: expected no value"),
        ({"context": ["a", "a"]}, "context column a is there twice"),
        ({"types": {"a": "round"}}, "types.a"),
    ],
)
def test_specs_that_contradict_themselves(values, sentence):
    with pytest.raises(InputError, match=sentence):
        columns(**values)


def test_slopes_belong_to_the_columns_of_numbers_alone():
    common: dict[str, Any] = {"fill": 0.0, "centre": 0.0, "scale": 2.0}
    encoding = Encoding(
        (
            Categorical(name="alone", fill=0.0, categories=("x",)),  # nothing comes out
            Arcsinh(name="load", context=True, indicator=True, **common),
            Categorical(name="word", fill=0.0, categories=("a", "b", "c")),
            Arcsinh(name="heat", indicator=True, **common),
            Categorical(name="only", fill=0.0, categories=("x",), indicator=True),
        ),
        "median",
    )
    slopes = encoding.log_slopes(np.array([[0.0, 0.0, 1.0, 0.0, 0.0], [0.0, np.nan, 2.0, np.nan, np.nan]]))
    slope = -np.log(2.0)
    np.testing.assert_array_equal(slopes, [[0, 0, slope, 0, 0, slope, 0]] * 2)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=40, max_size=60, unique=True),
    st.sampled_from(["none", "arcsinh", "rank_gaussian"]),
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20),
)
def test_whatever_is_drawn_of_whole_numbers_is_one_of_their_range(numbers, tails, z):
    x = np.array(numbers, np.float64)[:, None]
    encoding = Encoding.fit(as_frame(x, ("a",)), columns(tails=tails))
    for fitted in (encoding, encoding.refitted(x[: len(x) // 2])):
        drawn = fitted.nearest(fitted.invert(np.array(z)[:, None]))
        assert (drawn >= x.min()).all()
        assert (drawn <= x.max()).all()
        np.testing.assert_array_equal(drawn, np.round(drawn))


@pytest.mark.parametrize("x", [[0.5, 1, 700, 3000], [1e300, 1, 2e300, 5], [7, 7, 7, 7]])
def test_numbers_that_are_not_whole_are_drawn_as_far_as_a_density_has_them(x):
    encoding = Encoding.fit(as_frame(np.array(x)[:, None], ("a",)), columns(infer=False))
    np.testing.assert_array_equal(encoding.nearest(np.array([[0.25], [-4e9]])), [[0.25], [-4e9]])
