from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.cluster

from jaxflow.models.classical.kmeans import kmeans, nearest_centre, plus_plus_centres

CORNERS = np.array([[0, 0], [0, 10], [10, 0], [10, 10]], np.float32)


def blobs(seed):
    rng = np.random.default_rng(seed)
    return (np.repeat(CORNERS, 10, axis=0) + rng.normal(size=(40, 2))).astype(np.float32)


def test_nearest_centre_is_the_nearest():
    x = blobs(0)
    expected = np.linalg.norm(x[:, None] - CORNERS, axis=-1).argmin(axis=1)
    np.testing.assert_array_equal(nearest_centre(jnp.asarray(x), jnp.asarray(CORNERS)), expected)


@pytest.mark.parametrize("seed", range(5))
def test_start_and_centres_find_blobs_that_lie_apart(seed):
    x = jnp.asarray(blobs(seed))
    start = plus_plus_centres(jax.random.key(seed), x, jnp.ones(40), 4)
    assert all((np.asarray(x) == row).all(axis=1).any() for row in np.asarray(start))
    centres = kmeans(jax.random.key(seed), x, jnp.ones(40), 4)
    means = np.asarray(x).reshape(4, 10, 2).mean(axis=1)
    order = np.asarray(nearest_centre(jnp.asarray(CORNERS), centres))
    assert sorted(order) == [0, 1, 2, 3]
    np.testing.assert_allclose(np.asarray(centres)[order], means, rtol=1e-4, atol=1e-4)


def test_the_start_is_drawn_in_proportion_to_weight_times_squared_distance():
    # From 0 the others lie at distances 1 and 2; with weights 4 and 1 they are equally likely to be second.
    x = jnp.array([[0.0], [1.0], [2.0], [50.0]])
    weight = jnp.array([1.0, 4.0, 1.0, 0.0])
    keys = jax.random.split(jax.random.key(0), 6000)
    first, second = jax.vmap(lambda key: plus_plus_centres(key, x, weight, 2)[:, 0])(keys).T
    frequency = np.bincount(np.asarray(first, int), minlength=3) / 6000
    np.testing.assert_allclose(frequency, [1 / 6, 4 / 6, 1 / 6], atol=0.02)
    after_zero = np.asarray(second)[np.asarray(first) == 0]
    assert set(after_zero) == {1.0, 2.0}
    np.testing.assert_allclose(np.mean(after_zero == 1), 0.5, atol=0.05)


def test_lloyd_iterations_equal_scikit_learn():
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(40, 2)).astype(np.float32), rng.uniform(0, 2, 40).astype(np.float32)
    arguments = (jax.random.key(2), jnp.asarray(x), jnp.asarray(weight), 4)
    start = np.asarray(plus_plus_centres(*arguments))
    options: dict[str, Any] = {"init": start, "n_init": 1, "max_iter": 200, "tol": 0, "sample_weight": weight}
    expected, *_ = sklearn.cluster.k_means(x, 4, **options)
    np.testing.assert_allclose(kmeans(*arguments, iterations=200), expected, rtol=1e-4)


def test_fewer_distinct_rows_than_centres_stay_finite():
    x = jnp.array([[7.0, 7.0], [1.0, 1.0], [1.0, 1.0], [2.0, 2.0]])
    centres = np.asarray(kmeans(jax.random.key(0), x, jnp.array([0.0, 1.0, 1.0, 1.0]), 4))
    assert {tuple(row) for row in centres} == {(1.0, 1.0), (2.0, 2.0)}
