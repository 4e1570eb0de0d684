"""Many rows through a function some at a time, so that what lies between its layers stays in a CPU's cache."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim
from jaxtyping import Array, Float

ROWS = 1024  # in a block


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def in_row_blocks(
    function: Callable[[Any, Array], Array], weights: Any, rows: Float[Array, "n inputs"]
) -> Float[Array, "n outputs"]:
    """`function(weights, rows)`, block by block where no derivative is taken.

    A derivative needs what lies between the layers for all rows anyway; it takes the function as a whole.

    Args:
        function: treats every row for itself; what it needs comes as arguments.
        weights: its first argument, a pytree of floating arrays.
        rows: its second.
    """
    count = rows.shape[0]
    # A program for any number of rows, which is to be exported, has no number of blocks.
    if is_symbolic_dim(count) or count < 2 * ROWS:
        return function(weights, rows)
    blocks = -(-count // ROWS)
    size = -(-count // blocks)
    padded = jnp.pad(rows, ((0, blocks * size - count), (0, 0)))
    outputs = jax.lax.map(partial(function, weights), padded.reshape(blocks, size, -1))
    return outputs.reshape(blocks * size, -1)[:count]


@in_row_blocks.defjvp
def _as_a_whole(function, primals, tangents):
    return jax.jvp(function, primals, tangents)
