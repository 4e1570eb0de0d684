"""Scores of many rows at bounded memory and with few compilations."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from jaxflow.models.model import Model

CHUNK_ROWS = 65536  # rows on the device at once
SMALLEST_SHAPE = 64  # fewer rows than this are padded to it

# Beyond this many standard deviations nothing is distinguished any more. The largest float32 is 3e38; from 1e12 on,
# a few layers that scale up could reach it, and infinity minus infinity would be NaN.
FARTHEST = 1e12


def score_rows(model: Model, z: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n"]:
    """The model's scores, as float64; +inf where the density is zero.

    Rows go to the device in chunks padded to a power of two, so that however many calls with however many rows need
    only a handful of compiled programs.

    Raises:
        FloatingPointError: if a score is NaN.
    """
    graph, state = nnx.split(model)
    scores = np.empty(len(z))
    for start in range(0, len(z), CHUNK_ROWS):
        rows = np.clip(z[start : start + CHUNK_ROWS], -FARTHEST, FARTHEST)
        shape = max(SMALLEST_SHAPE, 1 << (len(rows) - 1).bit_length())
        padded = np.zeros((shape, rows.shape[1]), dtype=jnp.result_type(float))
        padded[: len(rows)] = rows
        scores[start : start + len(rows)] = np.asarray(_score(state, padded, graph=graph))[: len(rows)]
    wrong = np.flatnonzero(np.isnan(scores))
    if wrong.size:
        raise FloatingPointError(f"{wrong.size} of {len(z)} scores are NaN, the first in row {wrong[0] + 1}")
    return scores


@partial(jax.jit, static_argnames="graph")
def _score(state: Any, rows: jax.Array, *, graph: Any) -> jax.Array:
    return nnx.merge(graph, state).score(rows)
