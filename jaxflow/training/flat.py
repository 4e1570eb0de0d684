"""A pytree of parameters as one vector.

An optimiser touches every parameter with the same few operations. On one long vector these are one kernel; on thirty
small arrays they are thirty, and for networks of flow size starting them costs more than running them.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Layout(NamedTuple):
    """How a vector is cut into arrays; hashable, so that it can be a static argument.

    Attributes:
        structure: of the pytree.
        shapes: of its arrays.
        stacked: how many leading axes of each array only count equal layers (`bijectors.Stack`).
    """

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    stacked: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of each array."""
        return tuple(math.prod(shape) for shape in self.shapes)


def layout_of(tree: Any) -> Layout:
    """The layout of a pytree whose arrays share one floating type.

    Raises:
        ValueError: if they do not.
    """
    leaves, structure = jax.tree.flatten(tree)
    dtypes = {str(leaf.dtype) for leaf in leaves}
    if len(dtypes) > 1:
        raise ValueError(f"parameters must share one type, got {', '.join(sorted(dtypes))}")
    variables = jax.tree.leaves(tree, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
    stacked = [leaf.get_metadata().get("stacked", 0) if isinstance(leaf, nnx.Variable) else 0 for leaf in variables]
    return Layout(structure, tuple(leaf.shape for leaf in leaves), tuple(stacked))


def flatten(tree: Any) -> Float[Array, "size"]:
    """All arrays of the tree, one after the other."""
    leaves = jax.tree.leaves(tree)
    return jnp.concatenate([leaf.ravel() for leaf in leaves]) if leaves else jnp.zeros(0)


def unflatten(vector: Float[Array, "size"], layout: Layout) -> Any:
    """The tree that `flatten` made into this vector."""
    leaves, start = [], 0
    for shape, size in zip(layout.shapes, layout.sizes, strict=True):
        leaves.append(vector[start : start + size].reshape(shape))
        start += size
    return jax.tree.unflatten(layout.structure, leaves)
