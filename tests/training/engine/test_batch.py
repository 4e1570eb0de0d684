"""How rows become blocks of one shape, and which rows stand for all."""

import jax.numpy as jnp
import numpy as np

from jaxflow.training import Batch
from jaxflow.training.engine.batch import padded_blocks, spread_rows


def test_the_last_block_is_filled_up_with_the_first_rows_which_do_not_count():
    x, context = jnp.arange(10.0).reshape(5, 2), jnp.arange(5.0)[:, None] + 100
    weight = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0])
    blocks = padded_blocks(Batch(x, weight, context), 3)
    np.testing.assert_array_equal(blocks.x, [x[:3], x[jnp.array([3, 4, 0])]])
    np.testing.assert_array_equal(blocks.weight, [[1, 2, 3], [4, 5, 0]])
    # Their context goes with them, or a layer that looks at the whole batch would see pairs that there are not.
    np.testing.assert_array_equal(blocks.context, [context[:3], context[jnp.array([3, 4, 0])]])
    plain = padded_blocks(Batch(x), 3)
    assert plain.context is None
    np.testing.assert_array_equal(plain.weight, [[1, 1, 1], [1, 1, 0]])


def test_rows_that_stand_for_all_are_spread_over_those_that_count():
    x = np.zeros((10, 1))
    assert spread_rows(Batch(x), 4).tolist() == [0, 3, 6, 9]
    assert spread_rows(Batch(x), 10).tolist() == list(range(10))
    weight = np.repeat([0.0, 1.0], [4, 6])
    assert spread_rows(Batch(x, weight), 3).tolist() == [4, 6, 8]
    # Of members with weights of their own, those that count for one of them.
    members = np.stack([weight, np.eye(10)[1]])
    assert spread_rows(Batch(x, members), 4).tolist() == [1, 5, 7, 9]
