"""Grids are found in what rounding leaves of them, and nowhere else."""

import numpy as np
import pytest

from jaxflow.data.columns.grid import Grid, find_grid


@pytest.mark.parametrize(
    ("values", "origin", "step"),
    [
        ([0, 1, 1, 0], 0, 1),
        ([-3, 5], -3, 8),
        ([0, 1, 10], 0, 1),
        ([0, 2, 5], 0, 1),
        ([0, 0.25, 1.75], 0, 0.25),
        (range(256), 0, 1),
    ],
)
def test_values_on_a_grid(values, origin, step):
    grid = find_grid(np.array(values, float))
    assert grid == pytest.approx((origin, step), abs=1e-12)


def test_standardised_integers_in_float32_are_on_a_grid():
    counts = np.random.default_rng(0).poisson(40.0, 5000)
    rows = ((counts - counts.mean()) / counts.std()).astype(np.float32)
    grid = find_grid(rows.astype(float))
    assert grid is not None
    assert grid.step == pytest.approx(1 / counts.std(), rel=1e-5)
    assert grid.origin == rows.min()


@pytest.mark.parametrize(
    "values",
    [[], [4.0, 4.0], [0, 1, np.pi], range(258), np.random.default_rng(0).normal(size=50), [1e6, 1e6 + 1e-3]],
)
def test_values_on_none(values):
    assert find_grid(np.array(values, float)) is None


def test_what_is_off_a_grid():
    grid, values = Grid(0.0, 0.1), np.array([0.0, -0.3, 50.0, 0.05, 1.02, np.float32(0.7), 1e300, np.nan])
    assert grid.off(values, 1.0).tolist() == [False, False, False, True, True, False, False, False]
    # The rounding is that of the farthest training value, and for those beyond it their own.
    assert grid.off(np.array([1.0 + 3e-6]), 1.0).all()
    assert not grid.off(np.array([1.0 + 3e-6]), 10.0).any()
    assert not grid.off(np.array([10.0 + 3e-6]), 1.0).any()
    assert [grid.place(value) for value in (0.0, 0.52, -0.1)] == [0, 5, -1]
