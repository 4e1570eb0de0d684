"""The terms of many rows' scores, at bounded memory and with few compilations."""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxflow.detection.frozen import Frozen
from jaxflow.detection.scoring import SMALLEST_SHAPE, padded
from jaxflow.models.model import Model
from jaxflow.models.replacement import CANDIDATES
from jaxflow.models.terms import TermsMethod, score_terms

CHUNK_ROWS = 16384  # rows on the device at once, those counted that replacements are tried in


def terms_of_rows(
    model: Model | Frozen,
    z: Float[np.ndarray, "n dim"],
    context: Float[np.ndarray, "n context_dim"] | None,
    *,
    method: TermsMethod,
    sources: Sequence[int],
    candidates: Float[np.ndarray, "candidates dim"],
) -> Float[np.ndarray, "n blocks"]:
    """`score_terms` of rows on the host, as float64; +inf where the model's arithmetic overflows."""
    frozen = Frozen.of(model)
    at_once = CHUNK_ROWS // (CANDIDATES if method == "replacement" else 1)
    # Each row is scored so often with replacements that for one alone it is better not to add others.
    least = 1 if len(z) == 1 and method == "replacement" else SMALLEST_SHAPE
    terms = np.empty((len(z), max(sources) + 1))
    for start in range(0, len(z), at_once):
        part = slice(start, min(start + at_once, len(z)))
        given = None if context is None else padded(context[part], least)
        found = _terms(frozen, padded(z[part], least), given, padded(candidates), method=method, sources=tuple(sources))
        terms[part] = np.asarray(found)[: part.stop - start]
    return np.where(np.isnan(terms), np.inf, terms)


@partial(jax.jit, static_argnames=("method", "sources"))
def _terms(
    frozen: Frozen,
    rows: Float[Array, "n dim"],
    context: Float[Array, "n context_dim"] | None,
    candidates: Float[Array, "candidates dim"],
    *,
    method: TermsMethod,
    sources: tuple[int, ...],
) -> Float[Array, "n blocks"]:
    return score_terms(frozen.model, rows, context, method=method, sources=sources, candidates=candidates)
