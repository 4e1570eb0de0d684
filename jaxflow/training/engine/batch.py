"""Rows with their weights and their context."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxflow.errors import InputError
from jaxflow.models.row_padding import size_class


class Batch(NamedTuple):
    """Rows of data. For an ensemble, arrays may have one more axis in front, with rows for each member.

    >>> Batch(jnp.ones((5, 2))).x.shape
    (5, 2)

    Attributes:
        x: the features, shape (n, dim).
        weight: a non-negative weight for each row, shape (n,); None weighs all rows alike.
        context: the context features, shape (n, context_dim); None without context.
    """

    x: Float[Array | np.ndarray, "n dim"]
    weight: Float[Array | np.ndarray, "n"] | None = None
    context: Float[Array | np.ndarray, "n context_dim"] | None = None


class Blocks(NamedTuple):
    """A batch cut into blocks of equal size.

    Rows that only fill the last block up have weight zero. They are the first rows once more, so that they look like
    data to a layer that takes statistics of its batch.
    """

    x: Float[Array, "blocks rows dim"]
    weight: Float[Array, "blocks rows"]
    context: Float[Array, "blocks rows context_dim"] | None


def as_batch(data: Any, name: str, *, dim: int, context_dim: int, members: int = 0) -> Batch:
    """Check rows and put them on the device in JAX's default float type.

    Args:
        data: an array (n, dim), a pair of rows and context, or a `Batch` of arrays; for an ensemble also
            (members, n, dim), and weights of shape (members, n) with either.
        name: what error messages call it.
        dim: the number of features expected.
        context_dim: the number of context features expected; 0 for none.
        members: the number of members of an ensemble; 0 if the model is none.

    Raises:
        InputError: if a shape does not fit, there are no rows, a value is not finite, or a weight is negative.
    """
    parts = _parts(data)
    if parts is not None and len(parts) != 2:
        raise InputError(f"{name} is a tuple of {len(parts)}, expected a pair (rows, context), or a Batch")
    if parts is not None:
        data = Batch(parts[0], None, parts[1])
    batch: Any = data if isinstance(data, Batch) else Batch(data)
    x = _finite(batch.x, name)
    own = bool(members) and x.ndim == 3 and x.shape[0] == members
    if not (own or x.ndim == 2) or x.shape[-1] != dim:
        also = f" or ({members}, rows, {dim})" if members else ""
        raise InputError(f"{name} has shape {x.shape}, expected (rows, {dim}){also}")
    if x.shape[-2] == 0:
        raise InputError(f"{name} has no rows")
    weight = None if batch.weight is None else _finite(batch.weight, f"the weight of {name}")
    if weight is not None:
        if weight.shape != x.shape[:-1] and not (members and weight.shape == (members, x.shape[-2])):
            raise InputError(f"the weight of {name} has shape {weight.shape}, expected {x.shape[:-1]}")
        if not bool(jnp.all(weight >= 0)) or not bool(jnp.all(jnp.any(weight > 0, axis=-1))):
            raise InputError(f"the weight of {name} must be non-negative everywhere and positive somewhere")
    context = None if batch.context is None else _finite(batch.context, f"the context of {name}")
    given = (*x.shape[:-1], 0) if context is None else context.shape
    if given != (*x.shape[:-1], context_dim):
        raise InputError(f"the context of {name} has shape {given}, expected {(*x.shape[:-1], context_dim)}")
    return Batch(x, weight, context)


def _parts(data: Any) -> tuple[Any, ...] | None:
    """The parts of a plain tuple of arrays; None for anything else, such as rows written as a tuple of tuples."""
    if not isinstance(data, tuple) or isinstance(data, Batch):
        return None
    parts: tuple[Any, ...] = data
    return parts if parts and np.ndim(parts[0]) > 1 else None


def spread_rows(batch: Batch, count: int) -> Int[np.ndarray, "chosen"]:
    """At most `count` rows, spread evenly over those that count for anyone."""
    n = batch.x.shape[-2]
    counted = np.arange(n)
    if batch.weight is not None:
        counted = np.flatnonzero(np.asarray(batch.weight).reshape(-1, n).any(axis=0))
    return counted[:: -(-len(counted) // count)]


def filled_up(batch: Batch) -> Batch:
    """Return the batch with rows of weight zero, the first once more, up to the `size_class` of their number."""
    n = batch.x.shape[0]
    more = size_class(n) - n

    def filled(array: Any, mode: Any) -> np.ndarray:
        return np.pad(np.asarray(array), [(0, more)] + [(0, 0)] * (np.ndim(array) - 1), mode=mode)

    weight = np.ones(n, np.asarray(batch.x).dtype) if batch.weight is None else batch.weight
    context = None if batch.context is None else jnp.asarray(filled(batch.context, "wrap"))
    return Batch(jnp.asarray(filled(batch.x, "wrap")), jnp.asarray(filled(weight, "constant")), context)


def padded_blocks(batch: Batch, rows: int) -> Blocks:
    """Cut into blocks of `rows` rows, so that every step has one shape and no row is dropped."""
    n = batch.x.shape[0]
    blocks = -(-n // rows)

    def cut(array: Any, mode: str) -> Array:
        filled = jnp.pad(array, [(0, blocks * rows - n)] + [(0, 0)] * (array.ndim - 1), mode=mode)
        return filled.reshape(blocks, rows, *array.shape[1:])

    weight = jnp.ones(n, batch.x.dtype) if batch.weight is None else batch.weight
    context = None if batch.context is None else cut(batch.context, "wrap")
    return Blocks(cut(batch.x, "wrap"), cut(weight, "constant"), context)


def _finite(values: Any, name: str) -> jax.Array:
    array = jnp.asarray(values, dtype=jnp.result_type(float))
    if not bool(jnp.all(jnp.isfinite(array))):
        place = np.argwhere(~np.isfinite(np.asarray(array)))[0]
        value = np.asarray(array)[tuple(place)]
        raise InputError(f"{name} holds {value} at index {tuple(int(i) for i in place)}, expected finite numbers")
    return array
