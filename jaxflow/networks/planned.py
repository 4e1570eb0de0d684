"""The arrays of a module, known before the module is made.

A class of modules says in a static method `planned` which arrays a module of these sizes has: name, shape and type.
Nothing is computed or traced for it, so that even a description of a million arrays, or of one that no memory
holds, is compared with a file or with the machine at once, and as far as one likes.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np


class PlannedArray(NamedTuple):
    """One array of a module that is yet to be made.

    Attributes:
        name: the path where it will live: `layers.0.kernel`.
        shape: its shape.
        dtype: what its numbers are; "float" and "int" are those of JAX's default width.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float"


Planned: TypeAlias = Iterator[PlannedArray]


def dtype_of(name: str) -> np.dtype:
    """The type that a `PlannedArray` names."""
    defaults = {"float": float, "int": int}
    return jnp.dtype(jnp.result_type(defaults[name]) if name in defaults else name)


def within(attribute: str, planned: Iterable[PlannedArray]) -> Planned:
    """The arrays of a module that is an attribute of another."""
    for name, shape, dtype in planned:
        yield PlannedArray(f"{attribute}.{name}", shape, dtype)


def in_list(attribute: str, modules: Iterable[Iterable[PlannedArray]]) -> Planned:
    """The arrays of modules in a list that is an attribute of another module."""
    for index, planned in enumerate(modules):
        yield from within(f"{attribute}.{index}", planned)


def planned_stack(count: int, planned: Iterable[PlannedArray]) -> Planned:
    """The arrays of `count` equal modules that are stacked."""
    for name, shape, dtype in planned:
        yield PlannedArray(name, (count, *shape), dtype)
