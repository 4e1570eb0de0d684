"""Degrees and masks of autoregressive networks, as pure functions.

Germain et al. 2015 (MADE), section 3. Every unit has a degree. A feature visited k-th (k = 1..dim) has degree k; a
context feature has degree 0. A hidden unit of degree d sees inputs and hidden units of degree at most d. An output
that parametrises a feature of degree k sees hidden units of degree at most k - 1. So the parameters of a feature
depend on the features visited before it and on the whole context, and on nothing else.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

HiddenDegrees = Literal["sequential", "random"]


def feature_degrees(order: Int[Array, "dim"]) -> Int[Array, "dim"]:
    """Degree of each feature, 1..dim, when `order[k]` is the feature visited at step k (from 0)."""
    return jnp.argsort(order) + 1


def hidden_degrees(
    dim: int,
    width: int,
    *,
    conditional: bool,
    kind: HiddenDegrees = "sequential",
    key: PRNGKeyArray | None = None,
) -> Int[Array, "width"]:
    """Degrees of one hidden layer, in ascending order.

    The useful degrees are 1..dim-1, and 0 as well where there is a context: without units of degree 0 the feature
    visited first could not see the context.

    Args:
        dim: number of features.
        width: number of hidden units.
        conditional: whether there is a context.
        kind: "sequential" spreads the degrees evenly, which gives each degree at least one unit if
            `width` allows; "random" draws them uniformly.
        key: needed for "random".
    """
    lowest = 0 if conditional or dim == 1 else 1
    highest = dim - 1
    count = highest - lowest + 1
    if kind == "random":
        if key is None:
            raise ValueError("random hidden degrees need a key")
        return jnp.sort(jax.random.randint(key, (width,), lowest, highest + 1))
    if width >= count:
        return jnp.asarray(lowest + (np.arange(width) * count) // width)
    # Fewer units than degrees: keep both ends, or the features visited last would be seen by nothing.
    return jnp.asarray(np.round(np.linspace(highest if width == 1 else lowest, highest, width)).astype(int))


def hidden_mask(inputs: Int[Array, "inputs"], outputs: Int[Array, "outputs"]) -> Bool[Array, "inputs outputs"]:
    """Which connections into hidden units are allowed: degree of output >= degree of input."""
    return outputs[None, :] >= inputs[:, None]


def output_mask(inputs: Int[Array, "inputs"], outputs: Int[Array, "outputs"]) -> Bool[Array, "inputs outputs"]:
    """Which connections into parameters are allowed: degree of output > degree of input, strictly."""
    return outputs[None, :] > inputs[:, None]
