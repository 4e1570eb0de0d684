"""Steps of an optimiser of the caller's own, on the parameters as a tree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int


class OwnState(NamedTuple):
    """State of an optimiser of optax.

    Attributes:
        inner: the optimiser's own state.
        count: steps taken.
    """

    inner: Any
    count: Int[Array, ""]


def own_start(optimizer: optax.GradientTransformation, params: Any) -> OwnState:
    """Return the state before the first step."""
    return OwnState(optimizer.init(params), jnp.asarray(0))


def own_step(
    optimizer: optax.GradientTransformation, params: Any, gradient: Any, state: OwnState, good: Bool[Array, ""]
) -> tuple[Any, OwnState]:
    """Take one step; one that is not `good` changes nothing."""
    updates, inner = optimizer.update(gradient, state.inner, params)

    def kept(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda new, old: jnp.where(good, new, old), new, old)

    stepped = kept(optax.apply_updates(params, updates), params)
    return stepped, OwnState(kept(inner, state.inner), state.count + good)
