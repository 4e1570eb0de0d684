import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.models.trimming import without_worst

kept = jax.jit(without_worst)


def weights(losses, weight, share):
    return np.asarray(kept(jnp.asarray(losses, float), jnp.asarray(weight, float), share)).tolist()


@pytest.mark.parametrize("share", np.arange(50) / 100)
def test_of_equal_weights_a_share_is_a_number_of_rows(share):
    losses = np.random.default_rng(0).normal(size=100)
    left = np.array(weights(losses, np.ones(100), share))
    worst = np.sort(np.argsort(losses)[100 - round(100 * share) :])
    np.testing.assert_array_equal(np.flatnonzero(left == 0), worst)


def test_the_share_is_of_the_weight_and_at_most_that():
    losses = [4.0, 3.0, 2.0, 1.0]
    assert weights(losses, [1, 2, 3, 4], 0.1) == [0, 2, 3, 4]
    assert weights(losses, [1, 2, 3, 4], 0.29) == [0, 2, 3, 4]
    assert weights(losses, [1, 2, 3, 4], 0.3) == [0, 0, 3, 4]
    assert weights(losses, [4, 3, 2, 1], 0.3) == [4, 3, 2, 1]  # the worst is too heavy
    assert weights(losses, [0, 1, 1, 2], 0.25) == [0, 0, 1, 2]  # rows without weight take none of it


def test_what_is_no_number_is_worst_and_of_equals_the_first_go():
    assert weights([1.0, np.nan, 2.0, 3.0], np.ones(4), 0.25) == [1, 0, 1, 1]
    assert weights([1.0, np.inf, 2.0, np.inf], np.ones(4), 0.25) == [1, 0, 1, 1]
    assert weights([1.0, 1.0, 1.0, 1.0], np.ones(4), 0.49) == [0, 1, 1, 1]
    assert weights([np.nan] * 4, np.ones(4), 0.0) == [1, 1, 1, 1]
