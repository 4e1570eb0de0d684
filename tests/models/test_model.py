"""The mean that every loss is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.models.model import weighted_mean


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30])
def test_a_row_of_weight_zero_does_not_count_whatever_its_value(value):
    values, weight = jnp.array([1.0, value, 4.0]), jnp.array([3.0, 0.0, 1.0])
    mean, gradient = jax.jit(jax.value_and_grad(weighted_mean))(values, weight)
    assert mean == pytest.approx(7 / 4)
    np.testing.assert_allclose(gradient, [3 / 4, 0, 1 / 4], rtol=1e-6)


def test_without_weights_all_rows_count_alike():
    values = jnp.array([1.0, 2.0, 6.0])
    assert weighted_mean(values, None) == pytest.approx(3)
    assert weighted_mean(values, jnp.full(3, 0.1)) == pytest.approx(3)


def test_a_mean_of_nothing_is_nothing():
    assert weighted_mean(jnp.array([1.0, np.inf]), jnp.zeros(2)) == 0
