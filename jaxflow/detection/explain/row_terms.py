"""The terms of many rows' scores, at bounded memory and with few compilations."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxflow.detection.scoring.frozen_model import FrozenModel
from jaxflow.detection.scoring.score_in_chunks import SMALLEST_SHAPE, padded
from jaxflow.models.attribution.replacement import CANDIDATES, LogSlopes
from jaxflow.models.attribution.score_terms import TermsMethod, score_terms
from jaxflow.models.model import Model
from jaxflow.networks.matmul_precision import exact_products

CHUNK_ROWS = 16384  # rows on the device at once, those counted that replacements are tried in


def terms_of_rows(
    model: Model | FrozenModel,
    z: Float[np.ndarray, "n dim"],
    context: Float[np.ndarray, "n context_dim"] | None,
    *,
    method: TermsMethod,
    sources: Sequence[int],
    candidates: Float[np.ndarray, "candidates dim"],
    log_slopes: Float[np.ndarray, "n dim"] | None = None,
    candidate_slopes: Float[np.ndarray, "candidates dim"] | None = None,
) -> Float[np.ndarray, "n blocks"]:
    """`score_terms` of rows on the host, as float64; +inf where the model's arithmetic overflows.

    With the features' `log_slopes` they are terms of the score of the data of which the features are a function: less
    those of the block. Replacements change them as well, unless `candidate_slopes` is None because they are constant.
    """
    own = None if log_slopes is None else _by_block(log_slopes, sources)
    theirs = None if candidate_slopes is None else _by_block(candidate_slopes, sources)
    frozen = FrozenModel.of(model)
    candidates = padded(candidates, 1)[: len(candidates)]  # a row that only pads would be one more to choose from
    at_once = CHUNK_ROWS // (CANDIDATES if method == "replacement" else 1)
    # Each row is scored so often with replacements that for one alone it is better not to add others.
    least = 1 if len(z) == 1 and method == "replacement" else SMALLEST_SHAPE
    terms = np.empty((len(z), max(sources) + 1))
    for start in range(0, len(z), at_once):
        part = slice(start, min(start + at_once, len(z)))
        given = None if context is None else padded(context[part], least)
        slopes = None
        if method == "replacement" and own is not None and theirs is not None:
            slopes = LogSlopes(jnp.asarray(padded(own[part], least)), jnp.asarray(padded(theirs, 1)[: len(theirs)]))
        found = _terms(frozen, padded(z[part], least), given, candidates, slopes, method=method, sources=tuple(sources))
        terms[part] = np.asarray(found)[: part.stop - start]
    if method != "replacement" and own is not None:
        terms -= own
    return np.where(np.isnan(terms), np.inf, terms)


def _by_block(slopes: Float[np.ndarray, "n dim"], sources: Sequence[int]) -> Float[np.ndarray, "n blocks"]:
    return slopes @ np.eye(max(sources) + 1)[list(sources)]


@partial(jax.jit, static_argnames=("method", "sources"))
def _terms(
    frozen: FrozenModel,
    rows: Float[Array, "n dim"],
    context: Float[Array, "n context_dim"] | None,
    candidates: Float[Array, "candidates dim"],
    log_slopes: LogSlopes | None,
    *,
    method: TermsMethod,
    sources: tuple[int, ...],
) -> Float[Array, "n blocks"]:
    how = {"method": method, "sources": sources, "candidates": candidates, "log_slopes": log_slopes}
    with exact_products():
        return score_terms(frozen.model, rows, context, **how)
