"""Inverses that have no formula: roots of increasing functions, with exact gradients."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MAX_STEPS = 200  # far above what is needed: halving alone takes about 60 in float64, Newton about 6


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def solve_increasing(
    function: Callable[[Array, Any], tuple[Array, Array]],
    target: Float[Array, "*shape"],
    parameters: Any,
    low: Float[Array, "*shape"],
    high: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """The y in [low, high] at which an increasing function takes the value `target`, elementwise.

    Newton's method inside a bracket: a step that would leave the bracket, or that does not make it half as wide, is
    replaced by halving, so it always converges, to the last few digits of the floating type. Derivatives, of any order
    and in both modes, come from the implicit function theorem, dy = (dtarget - df/dparameters) / f'(y), and never from
    the iteration.

    Args:
        function: called as `function(y, parameters)`; returns the value and its derivative with respect to y, both of
            y's shape. It may close over nothing that is differentiated or traced: that goes into `parameters`.
        target: the values to be taken.
        parameters: a pytree of arrays.
        low: where the function is at most `target`.
        high: where the function is at least `target`.
    """
    tolerance = 4 * jnp.finfo(target.dtype).eps

    def done(y, previous):
        # What is unknown does not become known.
        return ~(jnp.abs(y - previous) > tolerance * jnp.maximum(jnp.abs(y), 1.0))

    def unfinished(state):
        step, y, previous, *_ = state
        return (step < MAX_STEPS) & ~jnp.all(done(y, previous))

    def advance(state):
        step, y, previous, low, high = state
        value, derivative = function(y, parameters)
        error = value - target
        low, high = jnp.where(error <= 0, y, low), jnp.where(error >= 0, y, high)
        newton = y - error / jnp.where(derivative > 0, derivative, 1.0)
        inside = (derivative > 0) & (newton > low) & (newton < high)
        # Newton may crawl along one side of a kink; every third step is therefore a halving, unless it has arrived.
        trusted = inside & ((step % 3 != 2) | done(newton, y))
        following = jnp.where(trusted, newton, low + 0.5 * (high - low))
        # Both kinds of step end at most this far from the root, so one that moves y by no more was the last. That is
        # judged by what has been stored: a compiler may evaluate the function twice, rounding otherwise, and a flag
        # from one evaluation with a step from the other would stop at the middle of the bracket.
        return step + 1, jnp.where(done(y, previous), y, following), y, low, high

    start = low + 0.5 * (high - low)
    state = (jnp.asarray(0), start, jnp.full_like(start, jnp.inf), low, high)
    return jax.lax.while_loop(unfinished, advance, state)[1]


@solve_increasing.defjvp
def _implicit(function, primals, tangents):
    target, parameters, low, high = primals
    y = solve_increasing(function, target, parameters, low, high)
    _, derivative = function(y, parameters)
    _, moved = jax.jvp(lambda given: function(y, given)[0], (parameters,), (tangents[1],))
    return y, (tangents[0] - moved) / derivative
