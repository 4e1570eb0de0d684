import jax
import numpy as np
import pytest
from scipy import stats

from jaxflow.training.engine.shuffle import SMALL, random_order


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 1000, SMALL, SMALL + 1])
def test_every_row_once(n):
    order = np.asarray(random_order(jax.random.key(n), n))
    assert np.array_equal(np.sort(order), np.arange(n))


def test_every_row_is_equally_likely_everywhere():
    orders = np.asarray(jax.vmap(lambda key: random_order(key, 10))(jax.random.split(jax.random.key(0), 20_000)))
    counts = np.stack([np.bincount(orders[:, place], minlength=10) for place in range(10)])
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_neighbours_are_separated():
    order = np.asarray(random_order(jax.random.key(0), 10_000))
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    assert not np.array_equal(order, np.asarray(random_order(jax.random.key(1), 10_000)))
