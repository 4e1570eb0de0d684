"""Linear layers: what their matrices are, and what their constructors refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.bijectors import Householder, LULinear, Rotation
from jaxflow.bijectors.linear import reflect
from tests.bijectors.cases import DIM, shaken


def matrix_of(layer) -> np.ndarray:
    return np.asarray(layer.forward(jnp.eye(DIM)) - layer.forward(jnp.zeros((1, DIM)))).T


@pytest.mark.parametrize("make", [lambda: Householder(DIM, 4, rngs=nnx.Rngs(0)), lambda: Rotation(DIM)])
def test_is_a_rotation(make):
    matrix = matrix_of(shaken(make()))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(DIM), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(matrix), 1.0, rtol=1e-12)


def test_the_skew_matrix_of_a_small_rotation_is_its_parameters():
    layer = Rotation(3)
    layer.lower[...] = 1e-6 * jnp.array([1.0, 2.0, 3.0])  # entries (1, 0), (2, 0), (2, 1)
    expected = np.eye(3) - 2e-6 * np.array([[0, -1, -2], [1, 0, -3], [2, 3, 0]])
    np.testing.assert_allclose(layer.forward(jnp.eye(3)).T, expected, atol=1e-10)


def test_more_pairs_of_reflections_than_axes():
    layer = Householder(2, 8, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer.forward(jnp.eye(2)), np.eye(2))


def test_a_zero_vector_reflects_nothing():
    vectors = jnp.zeros((2, DIM))
    rows = jnp.ones((3, DIM))
    np.testing.assert_array_equal(reflect(rows, vectors), rows)
    gradient = jax.grad(lambda v: jnp.sum(reflect(rows, v) ** 3))(vectors)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("reflections", [0, 3, -2])
def test_an_odd_number_of_reflections_is_refused(reflections):
    with pytest.raises(ValueError, match=f"even number, 2 or more, got {reflections}"):
        Householder(DIM, reflections, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("shape", [(0, DIM), (2, 0, DIM), (DIM,)])
def test_any_number_of_rows(shape):
    for layer in (LULinear(DIM), Rotation(DIM), Householder(DIM, 2, rngs=nnx.Rngs(0))):
        for method in (layer.forward_and_log_det, layer.inverse_and_log_det):
            values, log_det = method(jnp.ones(shape))
            assert values.shape == shape
            assert log_det.shape == shape[:-1]
