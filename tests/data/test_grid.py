"""Grids are found in what rounding leaves of them, and nowhere else."""

import numpy as np
import pytest

from jaxflow.data.grid import find_grid


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
