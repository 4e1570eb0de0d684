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
            `width` allows; "random" draws them, no degree more than twice as often as its even share.
        key: needed for "random".
    """
    if kind == "sequential":
        return jnp.asarray(sequential_degrees(dim, width, conditional=conditional))
    if key is None:
        raise ValueError("random hidden degrees need a key")
    useful = _useful_degrees(dim, conditional)
    urn = np.repeat(useful, 2 * -(-width // len(useful)))
    return jnp.sort(jax.random.permutation(key, urn)[:width])


def sequential_degrees(dim: int, width: int, *, conditional: bool) -> Int[np.ndarray, "width"]:
    """The degrees of `hidden_degrees` where no chance is involved; known on the host."""
    useful = _useful_degrees(dim, conditional)
    if width >= len(useful):
        return useful[(np.arange(width) * len(useful)) // width]
    # Fewer units than degrees: keep both ends, or the features visited last would be seen by nothing.
    return np.round(np.linspace(useful[-1] if width == 1 else useful[0], useful[-1], width)).astype(int)


def _useful_degrees(dim: int, conditional: bool) -> Int[np.ndarray, "count"]:
    return np.arange(0 if conditional or dim == 1 else 1, dim)


def largest_group(dim: int, width: int, *, conditional: bool, kind: HiddenDegrees = "sequential") -> int:
    """The most units of one degree that `hidden_degrees` can give; known without looking at the degrees."""
    share = -(-width // len(_useful_degrees(dim, conditional)))
    return min(2 * share, width) if kind == "random" else share


def graph_levels(adjacency: Bool[np.ndarray, "dim dim"]) -> Int[np.ndarray, "dim"]:
    """Level of each feature in a directed acyclic graph: 1 without parents, else one more than its highest parent's.

    Args:
        adjacency: True at (i, j) where feature i depends on feature j.

    Raises:
        ValueError: if the graph has a cycle.
    """
    levels = np.zeros(len(adjacency), int)
    for level in range(1, len(adjacency) + 1):
        ready = (levels == 0) & ~(adjacency & (levels == 0)).any(axis=1)
        levels[ready] = level
    if (levels == 0).any():
        raise ValueError(f"adjacency has a cycle among features {np.flatnonzero(levels == 0).tolist()}")
    return levels


def graph_units(adjacency: Bool[np.ndarray, "dim dim"], width: int) -> Bool[np.ndarray, "width dim"]:
    """The features that each hidden unit of one layer may see, when the features follow a graph.

    Each unit is given the parents of one feature. Features with the same parents share units, and all sets of parents
    get equally many, as far as `width` allows (Wehenkel and Louppe 2021, Graphical Normalizing Flows, section 3).

    Raises:
        ValueError: if there are fewer units than different sets of parents.
    """
    sets = np.unique(adjacency, axis=0)
    if width < len(sets):
        raise ValueError(f"{width} hidden units cannot serve {len(sets)} different sets of parents")
    return sets[np.sort(np.arange(width) % len(sets))]


def hidden_mask(inputs: Int[Array, "inputs"], outputs: Int[Array, "outputs"]) -> Bool[Array, "inputs outputs"]:
    """Which connections into hidden units are allowed: degree of output >= degree of input."""
    return outputs[None, :] >= inputs[:, None]


def output_mask(inputs: Int[Array, "inputs"], outputs: Int[Array, "outputs"]) -> Bool[Array, "inputs outputs"]:
    """Which connections into parameters are allowed: degree of output > degree of input, strictly."""
    return outputs[None, :] > inputs[:, None]
