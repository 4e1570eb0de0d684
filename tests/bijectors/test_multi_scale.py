"""Blocks that see fewer and fewer features."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.bijectors import ActNorm, ElementwiseAffine, LULinear, MultiScale
from tests.bijectors.cases import shaken
from tests.compiled import normal


def test_a_feature_that_has_left_is_not_touched_again():
    first, second = shaken(LULinear(4)), shaken(ElementwiseAffine(1), seed=1)
    x = normal(0, (3, 4))
    after_first, first_log_det = first.inverse_and_log_det(x)
    after_second, second_log_det = second.inverse_and_log_det(after_first[:, :1])
    z, log_det = MultiScale([first, second], [4, 1]).inverse_and_log_det(x)
    np.testing.assert_allclose(z[:, :1], after_second, rtol=1e-14)
    np.testing.assert_allclose(z[:, 1:], after_first[:, 1:], rtol=1e-14)
    np.testing.assert_allclose(log_det, first_log_det + second_log_det, rtol=1e-14)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_every_block_is_initialised_with_what_reaches_it(direction):
    rows = 3.0 * normal(0, (200, 3)) + jnp.array([1.0, 2.0, 3.0])
    made = MultiScale([ActNorm(3), ActNorm(1)], [3, 1])
    out = made.initialize(rows, direction=direction)
    np.testing.assert_allclose(out.mean(axis=0), np.zeros(3), atol=1e-12)
    np.testing.assert_allclose(out.std(axis=0), np.ones(3), atol=1e-12)
    again = made.inverse(rows) if direction == "inverse" else made.forward(rows)
    np.testing.assert_allclose(out, again, atol=1e-12)


@pytest.mark.parametrize(
    ("count", "dims", "sentence"),
    [
        (0, [], "at least one block"),
        (2, [3], r"a number of features for each, got 2, \(3,\)"),
        (2, [3, 3], r"dims must descend and stay positive, got \(3, 3\)"),
        (2, [3, 0], r"dims must descend and stay positive, got \(3, 0\)"),
    ],
)
def test_refusals(count, dims, sentence):
    with pytest.raises(ValueError, match=sentence):
        MultiScale([ActNorm(3) for _ in range(count)], dims)
