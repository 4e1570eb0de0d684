"""How much of a row's score each feature carries."""

from collections.abc import Sequence
from typing import get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxflow.errors import InputError
from jaxflow.models.attribution.chain_rule import chain_rule_terms, factorises
from jaxflow.models.attribution.conditional import conditional_terms, summed_by_block
from jaxflow.models.attribution.replacement import LogSlopes, replacement_terms
from jaxflow.models.model import Model, TermsMethod


def score_terms(
    model: Model,
    x: Float[Array, "*#batch dim"],
    context: Float[Array, "*#batch context_dim"] | None = None,
    *,
    method: str = "auto",
    sources: Sequence[int] | None = None,
    candidates: Float[Array | np.ndarray, "candidates dim"] | None = None,
    log_slopes: LogSlopes | None = None,
) -> Float[Array, "*batch blocks"]:
    """How much of each row's score each feature carries; the higher, the more to blame.

    - "chain_rule": -log p(x_i | x_<i), exact, of flows with one autoregressive layer and ensembles of such, averaged
      over the orders of the members, for which it is the default; the terms sum to -log p(x). See `chain_rule_terms`.
    - "conditional": -log p(x_i | all others), exact, of Gaussians, mixtures of Gaussians and principal components
      scored by a Mahalanobis distance, which is that of a Gaussian; their default.
    - "squared_error": (x_i - reconstruction_i)^2, of autoencoders and principal components; the default of the former
      and of the latter scored by it. That score is the mean of them.
    - "reconstruction": -E_q[log p(x_i | z)], over the draws of z, of variational autoencoders; their default. The terms
      sum to the score if that is the reconstruction probability; the other scores add what z carries.
    - "replacement": by how much the score falls when the feature takes the best of `candidates`, all others staying as
      they are; of any model, and the default of all others: coupling flows, stacks of layers in several orders,
      columns dequantized with learned noise. See `replacement_terms`.

    The first is in nats and looks one way only: of two features whose relation is broken, the later is to blame. The
    second and the last look at each feature given all others, so both are, and the terms do not sum to the score.

    Args:
        model: the model.
        x: rows.
        context: their context.
        method: one of the above, or "auto" for the model's default.
        sources: for each feature the number of the block it belongs to, from 0 without gaps; features of a block are
            judged together. By default each is its own.
        candidates: what "replacement" replaces with: values of normal rows, as `candidate_values` gives them.
        log_slopes: what "replacement" is to count besides, see `replacement_terms`.

    Returns:
        The terms, with one column a block.

    Raises:
        InputError: if the model does not have the method, or there are no candidates where they are needed.
    """
    chosen = chosen_method(model, method)
    x, context = model.aligned(x, context)
    blocks = blocks_of(range(x.shape[-1]) if sources is None else sources)
    if chosen == "conditional":
        density, x = model.as_conditional(x, context)
        return conditional_terms(density, x, blocks)
    if chosen == "replacement":
        if candidates is None:
            raise InputError("method = 'replacement' needs candidates, which are values of normal rows: got none")
        return replacement_terms(model, x, context, blocks, jnp.asarray(candidates, x.dtype), log_slopes)
    terms = chain_rule_terms(model, x, context) if chosen == "chain_rule" else model.feature_terms(x, context)
    return summed_by_block(terms, blocks)


def term_methods(model: Model) -> tuple[TermsMethod, ...]:
    """The methods by which `score_terms` can explain the model, the default first."""
    return ("chain_rule", *model.term_methods) if factorises(model) else model.term_methods


def chosen_method(model: Model, method: str) -> TermsMethod:
    """The method, or the model's default for "auto".

    Raises:
        InputError: if there is no such method, or the model does not have it.
    """
    known = term_methods(model)
    if method == "auto":
        return known[0]
    for name in known:
        if name == method:
            return name
    if method not in get_args(TermsMethod):
        raise InputError(f"method = {method!r}: expected auto or one of {', '.join(get_args(TermsMethod))}")
    raise InputError(
        f"method = {method!r} does not suit this {type(model).__name__}: expected auto or {' or '.join(known)}"
    )


def blocks_of(sources: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The features of each block, from the number of the block of each feature."""
    numbers = np.asarray(sources)
    return tuple(tuple(np.flatnonzero(numbers == block).tolist()) for block in range(int(numbers.max()) + 1))
