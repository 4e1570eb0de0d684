"""Many rows through a model, scored or drawn, at bounded memory and with few compilations."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from jaxflow.data.arrays import AnyArray
from jaxflow.detection.scoring.frozen_model import FrozenModel
from jaxflow.models.model import Density, Model
from jaxflow.networks.matmul_precision import exact_products

CHUNK_ROWS = 65536  # rows on the device at once
SMALLEST_SHAPE = 64  # fewer rows than this are padded to it


def score_rows(
    model: Model | FrozenModel, z: Float[np.ndarray, "n dim"], context: Float[np.ndarray, "n context_dim"] | None = None
) -> Float[np.ndarray, "n"]:
    """The model's scores, as float64.

    +inf where the density is zero, and where a row lies so far out that the model's arithmetic overflows. Infinite
    values in `z` are legal and count as very large.

    Rows go to the device in chunks padded to a power of two, so that however many calls with however many rows need
    only a handful of compiled programs. Who calls often with few rows gives a model that is `FrozenModel`.

    Raises:
        FloatingPointError: if the model holds a parameter that is not finite.
    """
    frozen = FrozenModel.of(model)
    scores = _in_chunks(_score, frozen, z, context)
    unknown = np.isnan(scores)
    if unknown.any():
        _require_finite(frozen.state)
        # Finite parameters make a NaN out of a finite row in one way only: infinity minus infinity (or times zero),
        # after an overflow. The inverse of a flow may explode even for rows of moderate size (Behrmann et al. 2021).
        scores[unknown] = np.inf
    return scores


def log_probs_of_rows(
    model: Model | FrozenModel, z: Float[np.ndarray, "n dim"], context: Float[np.ndarray, "n context_dim"] | None = None
) -> Float[np.ndarray, "n"]:
    """The log-densities of rows, as float64, for a model whose scores are something else; as `score_rows` otherwise."""
    log_probs = _in_chunks(_log_prob, FrozenModel.of(model), z, context)
    return np.where(np.isnan(log_probs), -np.inf, log_probs)


def draw_rows(
    model: Density, key: PRNGKeyArray, count: int, context: Float[np.ndarray, "count context_dim"] | None = None
) -> Float[np.ndarray, "count dim"]:
    """Draws from a density, one for each context if there are some, as float64; the same key gives the same rows."""
    frozen = FrozenModel.of(model)
    draws = np.empty((count, model.dim))
    for number, start in enumerate(range(0, count, CHUNK_ROWS)):
        size = min(CHUNK_ROWS, count - start)
        given = None if context is None else padded(context[start : start + size])
        shape = (padded_length(size),) if given is None else ()
        rows = _draw(frozen, jax.random.fold_in(key, number), given, shape=shape)
        draws[start : start + size] = np.asarray(rows)[:size]
    return draws


def padded(rows: Float[np.ndarray, "n dim"], least: int = SMALLEST_SHAPE) -> Float[np.ndarray, "padded dim"]:
    """Rows in the type and the number that a program takes, the last ones zeros, and none too far out to be squared."""
    dtype = jnp.result_type(float)
    out = np.zeros((padded_length(len(rows), least), rows.shape[1]), dtype=dtype)
    out[: len(rows)] = within_reach(rows, dtype)
    return out


def within_reach(rows: Float[AnyArray, "n dim"], dtype: Any) -> Float[AnyArray, "n dim"]:
    """Rows of which no value is so far out that its square would overflow as a number of that type."""
    farthest = float(np.sqrt(jnp.finfo(dtype).max))
    return rows.clip(-farthest, farthest)


def padded_length(rows: int, least: int = SMALLEST_SHAPE) -> int:
    """The number of rows, at least `least`, of the program that so many rows go through."""
    return max(least, 1 << (rows - 1).bit_length())


def _in_chunks(
    program: Callable[[FrozenModel, Any, Any], Array], frozen: FrozenModel, z: np.ndarray, context: np.ndarray | None
) -> np.ndarray:
    """Return what a program makes of each row, as float64."""
    found = np.empty(len(z))
    for start in range(0, len(z), CHUNK_ROWS):
        part = slice(start, min(start + CHUNK_ROWS, len(z)))
        given = None if context is None else padded(context[part])
        found[part] = np.asarray(program(frozen, padded(z[part]), given))[: part.stop - start]
    return found


def _require_finite(state: Any) -> None:
    for path, variable in nnx.to_flat_state(state):
        if not np.isfinite(np.asarray(variable[...])).all():
            name = ".".join(str(part) for part in path)
            raise FloatingPointError(f"the model's array {name} is not finite, so it cannot score")


@jax.jit
def _score(
    frozen: FrozenModel, rows: Float[Array, "n dim"], context: Float[Array, "n context_dim"] | None
) -> Float[Array, "n"]:
    with exact_products():
        return frozen.model.score(rows, context)


@jax.jit
def _log_prob(
    frozen: FrozenModel, rows: Float[Array, "n dim"], context: Float[Array, "n context_dim"] | None
) -> Float[Array, "n"]:
    with exact_products():
        return frozen.model.log_prob(rows, context)


@partial(jax.jit, static_argnames="shape")
def _draw(
    frozen: FrozenModel,
    key: PRNGKeyArray,
    context: Float[Array | np.ndarray, "count context_dim"] | None,
    *,
    shape: Any,
) -> Float[Array, "count dim"]:
    with exact_products():
        return frozen.model.sample(key, shape, context)
