"""A pytree of parameters as one vector and a few large arrays.

An optimiser touches every parameter with the same few operations. On one long vector these are one kernel; on thirty
small arrays they are thirty, and for networks of flow size starting them costs more than running them. Large arrays
stay by themselves: to copy them into a vector and out of it again would cost more than a kernel.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

# Arrays from this size on stay by themselves.
LARGE = 65_536

Flat = tuple[Array, ...]


class Layout(NamedTuple):
    """How flat parameters become arrays again; hashable, so that it can be a static argument.

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

    def is_matrix(self, index: int) -> bool:
        """Whether an array is a matrix, the axes that count equal layers aside."""
        return len(self.shapes[index]) - self.stacked[index] > 1


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


def flatten(tree: Any) -> Flat:
    """One vector of all small arrays of the tree, one after the other, and then its large arrays as they are."""
    leaves = jax.tree.leaves(tree)
    small = [leaf.ravel() for leaf in leaves if leaf.size < LARGE]
    dtype = leaves[0].dtype if leaves else None
    return (jnp.concatenate([jnp.zeros(0, dtype), *small]), *(leaf for leaf in leaves if leaf.size >= LARGE))


def unflatten(arrays: Flat, layout: Layout) -> Any:
    """The tree that `flatten` made into these arrays."""
    vector, *large = arrays
    leaves, start = [], 0
    for shape, size in zip(layout.shapes, layout.sizes, strict=True):
        if size >= LARGE:
            leaves.append(large.pop(0))
        else:
            leaves.append(vector[start : start + size].reshape(shape))
            start += size
    return jax.tree.unflatten(layout.structure, leaves)
