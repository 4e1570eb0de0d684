"""Ranks among given rows as normal quantiles; the properties of a bijector are tested with those of all others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxflow.bijectors import RankGaussian
from tests.compiled import call


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def ranked(x: np.ndarray, knots: int = 128) -> RankGaussian:
    layer = RankGaussian(x.shape[1], knots)
    layer.fit(x)
    return layer


def test_rows_become_normal_whatever_they_are():
    rng = np.random.default_rng(0)
    x = np.stack([rng.standard_t(2, 3000), rng.exponential(size=3000), rng.uniform(size=3000)], axis=1)
    z = np.asarray(call(ranked(x), "inverse", jnp.asarray(x)))
    for column in z.T:
        assert stats.kstest(column, "norm").statistic < 0.005


def test_shared_values_have_the_middle_of_their_ranks():
    x = np.repeat([0.0, 1.0, 5.0], [50, 30, 20])[:, None]
    z = call(ranked(x), "inverse", jnp.asarray([[0.0], [1.0], [5.0], [3.0]]))[:, 0]
    middles = stats.norm.ppf([0.25, 0.65, 0.9])
    np.testing.assert_allclose(z, [*middles, middles[1:].mean()], rtol=1e-9)


def test_beyond_the_rows_a_unit_is_a_unit():
    x = np.random.default_rng(0).normal(size=(500, 1))
    layer = ranked(x)
    ends = np.array([x.min(), x.min() - 3.0, x.max(), x.max() + 1000.0])
    z, log_det = call(layer, "inverse_and_log_det", jnp.asarray(ends[:, None]))
    np.testing.assert_allclose(np.diff(z[:, 0])[[0, 2]], [-3.0, 1000.0], rtol=1e-6)
    np.testing.assert_allclose(log_det[jnp.array([1, 3])], 0.0, atol=1e-12)


def test_at_a_knot_the_slope_is_that_of_the_piece_above():
    layer = ranked(np.array([[0.0], [1.0], [3.0]]), knots=3)
    knots = stats.norm.ppf([1 / 6, 1 / 2, 5 / 6])
    z, log_det = call(layer, "inverse_and_log_det", jnp.asarray([[0.0], [1.0], [3.0]]))
    np.testing.assert_allclose(z[:, 0], knots, atol=1e-7)
    np.testing.assert_allclose(np.exp(log_det), [knots[1] - knots[0], (knots[2] - knots[1]) / 2, 1.0], rtol=1e-6)


def test_of_many_values_as_many_are_knots_as_may_be():
    x = np.random.default_rng(0).normal(size=(5000, 1))
    layer = ranked(x, knots=40)
    taken = np.isin(layer.x_knots[...][0], x.astype(np.float32))
    assert 36 <= taken.sum() <= 40
    # They are spread evenly over z, the first and the last being the outermost values.
    z = layer.z_knots[...][0][taken]
    assert np.diff(z).max() < 2 * (z[-1] - z[0]) / 39
    assert layer.x_knots[...][0][taken].max() == np.float32(x.max())


def test_a_constant_feature_is_shifted():
    z, log_det = call(ranked(np.full((9, 1), 1e6)), "inverse_and_log_det", jnp.asarray([[1e6], [1e6 + 2]]))
    np.testing.assert_allclose(z, [[0.0], [2.0]], atol=1e-9)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-12)


def test_a_line_needs_two_knots():
    with pytest.raises(ValueError, match="knots must be at least 2, got 1"):
        RankGaussian(2, 1)
