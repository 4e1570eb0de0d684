"""AdamW on a few long arrays, with clipping and the skipping of bad steps folded into its scalars."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8


class AdamState(NamedTuple):
    """Running moments of the gradient, in the form of the parameters.

    Attributes:
        mean: decaying mean.
        square: decaying mean of the square.
        count: steps taken.
    """

    mean: Any
    square: Any
    count: Int[Array, ""]


def adam_start(params: Any) -> AdamState:
    """The state before the first step for an array or a pytree of arrays."""
    return AdamState(jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.asarray(0))


def adam_step(
    params: Any,
    gradient: Any,
    state: AdamState,
    *,
    learning_rate: Float[Array, ""],
    gradient_scale: Float[Array, ""],
    weight_decay: Any,
    good: Bool[Array, ""],
) -> tuple[Any, AdamState]:
    """One step of AdamW (Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2).

    m' = b1 m + (1 - b1) g,  v' = b2 v + (1 - b2) g^2,
    p' = p - lr (m' / (1 - b1^t) / (sqrt(v' / (1 - b2^t)) + eps) + decay p)

    The bias corrections are scalars and are multiplied into the learning rate (Kingma and Ba, end of section 2), so
    each element takes one division and one square root. A step that is not `good` multiplies everything new by zero:
    choosing between old and new arrays afterwards would read all of them once more.

    Args:
        params: the parameters, an array or a pytree of arrays.
        gradient: of the same form; may hold NaN if the step is not good.
        state: the moments.
        learning_rate: of this step.
        gradient_scale: factor on the gradient, from clipping.
        weight_decay: decay of each parameter, as a share of it per unit of learning rate; of the same form, where
            a number may stand for an array.
        good: whether to take the step; if not, nothing changes.
    """
    count = state.count + good
    # Before the first good step the corrections would divide by zero; the factor is zero then anyway.
    steps = jnp.maximum(count, 1).astype(learning_rate.dtype)
    first_left, second_left = 1 - FIRST_DECAY**steps, jnp.sqrt(1 - SECOND_DECAY**steps)
    rate = jnp.where(good, learning_rate, 0.0)
    fresh = jnp.where(good, gradient_scale, 0.0)

    def step(params, gradient, mean, square, decay):
        gradient = jnp.where(good, gradient, 0.0)
        mean = jnp.where(good, FIRST_DECAY, 1.0) * mean + fresh * (1 - FIRST_DECAY) * gradient
        square = jnp.where(good, SECOND_DECAY, 1.0) * square + fresh**2 * (1 - SECOND_DECAY) * gradient**2
        direction = (second_left / first_left) * mean / (jnp.sqrt(square) + EPSILON * second_left)
        return params - rate * (direction + decay * params), mean, square

    stepped = jax.tree.map(step, params, gradient, state.mean, state.square, weight_decay)
    params, mean, square = jax.tree.transpose(jax.tree.structure(params), jax.tree.structure((0, 0, 0)), stepped)
    return params, AdamState(mean, square, count)
