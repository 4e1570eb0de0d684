"""Replacement terms: by how much a row's score falls when a feature is replaced; any model can give them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxflow.models.model import Model

CANDIDATES = 32


class LogSlopes(NamedTuple):
    """Sums over the features of each block of their log-slopes, at the rows and at the candidates."""

    rows: Float[Array, "*batch blocks"]
    candidates: Float[Array, "candidates blocks"]


def replacement_terms(
    model: Model,
    x: Float[Array, "*#batch dim"],
    context: Float[Array, "*#batch context_dim"] | None,
    blocks: Sequence[Sequence[int]],
    candidates: Float[Array, "candidates dim"],
    log_slopes: LogSlopes | None = None,
) -> Float[Array, "*batch blocks"]:
    """By how much the score falls when a block of features takes its best value, all others staying as they are.

    term(B) = score(x) - min(score(x), min over candidates v of score(x with x_B = v_B))

    For a density that is log p(v* | rest) - log p(x_B | rest), v* being the mode, among the candidates and x_B itself,
    of the density of the block given the rest. A term is never negative, and 0 where no candidate is better. It is
    infinite where the score is and that of the replaced row is not, and 0 where both are.

    Args:
        model: any model.
        x: rows.
        context: their context; it is not replaced.
        blocks: the features of each block.
        candidates: values that normal rows have, as `candidate_values` gives them.
        log_slopes: where the score is to be that of data of which x are a function, feature by feature: the log-slopes
            of that function, which a replaced block changes as well.
    """
    own = _no_number_is_infinite(model.score(x, context))
    masks = np.zeros((len(blocks), x.shape[-1]), bool)
    for mask, block in zip(masks, blocks, strict=True):
        mask[list(block)] = True
    shape = (len(candidates), *x.shape[:-1])
    repeated = None if context is None else jnp.broadcast_to(context, (*shape, context.shape[-1]))
    values = candidates.reshape(len(candidates), *[1] * (x.ndim - 1), x.shape[-1])

    def fall(block: tuple[Array, LogSlopes | None]) -> Array:
        mask, slopes = block
        scores = _no_number_is_infinite(model.score(jnp.where(mask, values, x), repeated))
        if slopes is not None:
            scores = scores + slopes.rows - slopes.candidates.reshape(-1, *[1] * (x.ndim - 1))
        best = jnp.minimum(own, jnp.min(scores, axis=0))
        return jnp.where(jnp.isinf(best), 0.0, own - best)

    # One block after the other: all at once would take as many times the memory.
    by_block = jax.tree.map(lambda slopes: jnp.moveaxis(slopes, -1, 0), log_slopes)
    return jnp.moveaxis(jax.lax.map(fall, (jnp.asarray(masks), by_block)), 0, -1)


def candidate_values(
    normal: Float[np.ndarray, "n dim"], blocks: Sequence[Sequence[int]], count: int = CANDIDATES
) -> Float[np.ndarray, "candidates dim"]:
    """Values for each block to be replaced with, all of them seen in normal rows, `count` of them.

    A block with no more than `count` different values has all of them. Of others, the normal rows are put in order
    (for a block of several features, of the first, then of the second and so on) and every n/count-th is taken, which
    for a single feature are its quantiles.
    """
    chosen = np.empty((count, normal.shape[1]))
    for block in blocks:
        rows = normal[:, list(block)]
        rows = rows[np.lexsort(rows.T[::-1])]
        distinct = rows[np.append(True, (rows[1:] != rows[:-1]).any(axis=1))]
        kept = distinct if len(distinct) <= count else rows
        chosen[:, list(block)] = kept[((np.arange(count) + 0.5) / count * len(kept)).astype(int)]
    return chosen


def _no_number_is_infinite(scores: Array) -> Array:
    """Of a row so far out that the arithmetic overflowed, the score is as high as can be."""
    return jnp.where(jnp.isnan(scores), jnp.inf, scores)
