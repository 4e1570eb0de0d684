from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from jaxflow.data.columns.discrete_maps import UNSEEN, Categorical, Discrete, Levels, Steps
from jaxflow.data.columns.infer_columns import fit_arcsinh, fit_rank_gaussian
from jaxflow.data.columns.numeric_maps import AnyColumnMap, Arcsinh, Circular, Continuous, RankGaussian

COMMON: dict[str, Any] = {"name": "a", "fill": 0.0}
HEAVY = np.exp(2 * np.random.default_rng(0).normal(size=3000))
MAPS = {
    "arcsinh": fit_arcsinh(HEAVY, **COMMON),
    "rank_gaussian": fit_rank_gaussian(HEAVY, **COMMON),
    "rank_gaussian of few": fit_rank_gaussian(np.array([1.0, 2.0, 7.0]), **COMMON),
    "rank_gaussian of two": fit_rank_gaussian(np.array([1.0, 1.0, 7.0]), **COMMON),
    "continuous": Continuous(**COMMON),
    "levels": Levels(levels=(-1.0, 0.0, 0.5, 100.0), **COMMON),
}
ALL_MAPS = MAPS | {
    "discrete": Discrete(**COMMON),
    "discrete on steps": Discrete(steps=Steps(low=-0.5, high=2.0, places=6), **COMMON),
    "closed levels": Levels(levels=(-1.0, 0.0, 7.0), closed=True, **COMMON),
    "categorical": Categorical(name="a", fill=1.0, categories=("x", "y", "z")),
    "circular": Circular(period=24.0, origin=3.0, **COMMON),
    "circular context": Circular(period=24.0, origin=3.0, context=True, **COMMON),
}
anything = st.floats(-1e6, 1e6)
# XLA takes subnormal numbers for 0 on a CPU.
codes = st.one_of(st.floats(-1e6, 1e6, allow_subnormal=False), st.sampled_from([UNSEEN, 0.0, 0.5, 1.0, 2.0, 7.0]))


@pytest.mark.parametrize("name", MAPS)
@given(values=st.lists(anything, min_size=1, max_size=20))
def test_inverse_undoes_the_map_which_is_increasing(name, values):
    column, x = MAPS[name], np.unique(values)
    z = column.expand(x)
    np.testing.assert_allclose(column.invert(z), x, rtol=1e-9, atol=1e-6)
    assert (np.diff(z[:, 0]) >= 0).all()
    np.testing.assert_array_equal(column.invert(z), column.invert(column.expand(x)))


@pytest.mark.parametrize("name", ["arcsinh", "rank_gaussian", "rank_gaussian of few", "continuous"])
@given(x=st.floats(-1e3, 1e4))
def test_log_slope_is_that_of_a_difference_quotient(name, x):
    column, step = MAPS[name], 1e-6 * (1 + abs(x))
    if isinstance(column, RankGaussian) and np.min(np.abs(np.array(column.knots) - x)) < 2 * step:
        return  # a kink
    below, above = column.expand(np.array([x - step, x + step]))[:, 0]
    slope = np.exp(column.log_slopes(np.array([x]))[0])
    assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-3, abs=1e-9)


@pytest.fixture(scope="module")
def programs():
    """What each map makes of values, as a program of JAX."""

    def everything(column):
        return jax.jit(lambda x: (column.expand(x), column.log_slopes(x), column.unseen(x)))

    with jax.enable_x64(True):
        yield {name: everything(column) for name, column in ALL_MAPS.items()}


@pytest.mark.parametrize("name", ALL_MAPS)
@settings(deadline=None)  # the first call compiles
@given(values=st.lists(codes, min_size=9, max_size=9))
def test_in_a_program_of_jax_it_is_the_same_map(programs, name, values):
    column, x = ALL_MAPS[name], np.array(values)
    expected = column.expand(x), column.log_slopes(x), column.unseen(x)
    for found, wanted in zip(programs[name](x), expected, strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_ranks_become_normal_and_far_values_stay_far():
    column = fit_rank_gaussian(HEAVY, **COMMON)
    z = column.expand(HEAVY)[:, 0]
    result: Any = scipy.stats.kstest(z, "norm")
    assert result.statistic < 0.02
    beyond = column.expand(HEAVY.max() * np.array([1.0, 2.0, 10.0]))[:, 0]
    assert (np.diff(beyond) > 0.5).all()


def test_arcsinh_is_standard_in_the_middle():
    x = np.random.default_rng(0).normal(7.0, 3.0, 20_000)
    column = fit_arcsinh(x, **COMMON)
    assert (column.centre, column.scale) == (pytest.approx(7, abs=0.1), pytest.approx(3, rel=0.03))
    assert fit_arcsinh(np.array([0.0] * 99 + [5.0]), **COMMON).scale > 0


def test_categories_are_columns_but_the_most_frequent():
    column = Categorical(name="a", fill=1.0, categories=("x", "y", "z"))
    values = np.array([0.0, 1.0, 2.0, UNSEEN])
    np.testing.assert_array_equal(column.expand(values), [[1, 0], [0, 0], [0, 1], [0, 0]])
    np.testing.assert_array_equal(column.unseen(values), [False, False, False, True])
    np.testing.assert_array_equal(column.invert(column.expand(values[:3])), values[:3])
    np.testing.assert_array_equal(column.invert(np.array([[0.4, 0.2], [0.6, 0.9]])), [1, 2])
    assert [column.place(cell) for cell in ("x", " z", 3, "w")] == [0, 2, UNSEEN, UNSEEN]
    alone = Categorical(name="a", fill=0.0, categories=("3",))
    assert alone.expand(np.zeros(2)).shape == (2, 0)
    assert [alone.place(cell) for cell in (3, 3.0, "3.0")] == [0, 0, 0]


def test_a_value_off_the_grid_was_never_seen_but_one_beyond_it_may_be_judged():
    flag = Discrete(steps=Steps(low=0.0, high=1.0, places=2), **COMMON)
    assert flag.unseen(np.array([0.0, 1.0, 0.5, -1.0, 2.0, 1e9, np.nan])).tolist() == [False] * 2 + [True] + [False] * 4
    tenths = Discrete(steps=Steps(low=-0.3, high=0.9, places=13), **COMMON)
    asked = np.array([0.1, np.float32(0.1), 0.1 + 0.2, 0.15, 1.7, 1.72])
    assert tenths.unseen(asked).tolist() == [False, False, False, True, False, True]
    assert (flag.usual, tenths.usual, Discrete(**COMMON).usual) == ("0 or 1", "-0.3 to 0.9 in steps of 0.1", "")
    assert not Discrete(**COMMON).unseen(asked).any()


def test_a_number_that_is_no_level_was_never_seen():
    levels = Levels(levels=(1.0, 10.0, 1000.0), closed=True, **COMMON)
    asked = np.array([1.0, np.float32(10.0), 1000.0, 5.0, 500.0, -1.0, 1e6, np.nan])
    assert levels.unseen(asked).tolist() == [False] * 3 + [True] * 4 + [False]
    assert levels.usual == "1, 10 or 1000"
    many = Levels(levels=(0.0, 1.0, 3.0, 4.0, 9.0, 11.5), closed=True, **COMMON)
    assert many.usual == "6 levels from 0 to 11.5"
    opened = Levels(levels=(1.0, 10.0, 1000.0), **COMMON)
    assert not opened.unseen(asked).any()
    assert opened.usual == ""


def test_the_hour_before_midnight_is_near_the_hour_after_it():
    context = Circular(name="hour", fill=0.0, context=True, period=24.0, origin=3.0)
    near, far = context.expand(np.array([23.5, 0.5, 12.0])), context.expand(np.array([0.5, 12.5]))
    assert np.linalg.norm(near[0] - near[1]) < 0.3 < np.linalg.norm(far[0] - far[1])
    np.testing.assert_allclose(context.invert(near), [23.5, 0.5, 12.0])
    judged = Circular(name="hour", fill=0.0, period=24.0, origin=3.0)
    np.testing.assert_allclose(judged.expand(np.array([3.5, 2.5, 26.0]))[:, 0], [0.5, 23.5, 23.0])
    np.testing.assert_allclose(judged.invert(judged.expand(np.array([3.5, 2.5, 23.0]))), [3.5, 2.5, 23.0])


@pytest.mark.parametrize("name", ALL_MAPS)
def test_a_map_comes_back_from_plain_numbers(name):
    again = TypeAdapter(AnyColumnMap).validate_json(ALL_MAPS[name].model_dump_json())
    assert again == ALL_MAPS[name]
    assert again.expand(HEAVY).tobytes() == ALL_MAPS[name].expand(HEAVY).tobytes()


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "levels", "levels": [1, 1]},
        {"kind": "levels", "levels": [1]},
        {"kind": "arcsinh", "centre": 0, "scale": 0},
        {"kind": "rank_gaussian", "knots": [0, 1], "scores": [0, 1, 2], "slopes": [1, 1]},
        {"kind": "rank_gaussian", "knots": [0, 1], "scores": [1, 0], "slopes": [1, 1]},
        {"kind": "rank_gaussian", "knots": [0, 1], "scores": [0, 1], "slopes": [0, 1]},
        {"kind": "circular", "period": -1, "origin": 0},
        {"kind": "discrete", "steps": {"low": 1, "high": 1, "places": 2}},
        {"kind": "discrete", "steps": {"low": 0, "high": 1, "places": 1}},
        {"kind": "discrete", "steps": {"low": 0, "high": float("inf"), "places": 3}},
    ],
)
def test_damaged_maps_are_refused(values):
    with pytest.raises(ValidationError):
        TypeAdapter(AnyColumnMap).validate_python(COMMON | values)
    assert Arcsinh(centre=0.0, scale=1.0, **COMMON).kind == "arcsinh"
