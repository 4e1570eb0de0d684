"""Many modules of one structure as a single module whose arrays have one more axis in front."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx
from jaxtyping import PRNGKeyArray

AnyModule = TypeVar("AnyModule", bound=nnx.Module)


def stacked(make: Callable[[nnx.Rngs], AnyModule], count: int, key: PRNGKeyArray) -> AnyModule:
    """Build `count` modules from different keys and stack parameters, buffers and all other state.

    Args:
        make: builds one; called once, under vmap, so it may not look at what it draws.
        count: number of modules.
        key: split into one for each.
    """
    graphs: list[Any] = []  # the structure of the one module made, which is no array and so cannot be returned

    def state_of(key: PRNGKeyArray):
        graph, state = nnx.split(make(nnx.Rngs(key)))
        graphs.append(graph)
        return state

    state = jax.vmap(state_of)(jax.random.split(key, count))
    return nnx.merge(graphs[-1], state)
