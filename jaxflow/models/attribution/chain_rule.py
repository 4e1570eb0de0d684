"""The density of an autoregressive flow as a product of one-dimensional ones.

log p(x) = sum over i of log p(x_i | x_<i),    -log p(x_i | x_<i) = -log p_base(z_i) - log dz_i/dx_i

This is exact for one autoregressive layer over a base of independent features: its Jacobian is triangular, so z_i and
dz_i/dx_i depend on x_i and the features before it alone. Layers that act on each feature by itself, or that only
reorder the features, change nothing about that. A stack of autoregressive layers in different orders has no such
product.

The order matters: of b = a + noise, where a goes wrong, the term of a is small if b comes first, and if a does, that of
b is large as well. One flow has one order. Members of an ensemble each have their own if their permutation is "random",
and the mean of their terms holds a broken relation against every feature that is part of it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxflow.bijectors import (
    ActNorm,
    BatchNorm,
    Bijector,
    BlockAutoregressive,
    Chain,
    ElementwiseAffine,
    Inverse,
    MaskedAutoregressive,
    Permutation,
    Reverse,
)
from jaxflow.models.combined.ensemble import Ensemble
from jaxflow.models.flows.base_distributions import Logistic, StandardNormal, StudentT, Uniform
from jaxflow.models.flows.dequantized import Dequantized
from jaxflow.models.flows.flow import Flow, drawn_in, usable_rows
from jaxflow.models.model import Model

INDEPENDENT = (StandardNormal, StudentT, Logistic, Uniform)
ELEMENTWISE = (ElementwiseAffine, ActNorm, BatchNorm)
REORDERING = (Permutation, Reverse)


def factorises(model: Model) -> bool:
    """Whether `chain_rule_terms` takes the model: a flow with one autoregressive layer, or an ensemble of such.

    Uniform noise on columns that lie on a grid is independent in each, so with it a product stays one.
    """
    if isinstance(model, Ensemble):
        return factorises(model.member)
    if isinstance(model, Dequantized):
        return model.shape is None and factorises(model.density)
    if not isinstance(model, Flow) or not isinstance(model.base, INDEPENDENT):
        return False
    others = [layer for layer in _layers(model.bijector) if not _is_autoregressive(layer)]
    single = len(_layers(model.bijector)) - len(others) == 1
    return single and all(isinstance(layer, ELEMENTWISE + REORDERING) for layer in others)


def chain_rule_terms(
    model: Model, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
) -> Float[Array, "*batch dim"]:
    """-log p(x_i | x_<i) of each feature in nats, "before" being in the order of the flow; they sum to -log p(x).

    A relation that is broken is held against the later of its features. Of an ensemble, the mean over the members that
    count; these terms sum to the mean of the members' -log p(x). Of columns on a grid they are -log P(x_i | x_<i), with
    the draws of the noise that `Dequantized.log_prob` has.

    Raises:
        ValueError: if the model does not factorise; see `factorises`.
    """
    if not factorises(model):
        raise ValueError(f"this {type(model).__name__} is no product of one density a feature")
    x, context = model.aligned(x, context)
    if isinstance(model, Ensemble):
        terms = model.each(lambda member: chain_rule_terms(member, x, context))
        kept = model.kept[...].reshape(-1, *[1] * x.ndim)
        return jnp.sum(jnp.where(kept, terms, 0), axis=0) / jnp.sum(kept)
    if isinstance(model, Dequantized):
        return model.terms_in_order(
            lambda filled: chain_rule_terms(model.density, filled, context), x, _order(model.density)
        )
    assert isinstance(model, Flow)
    x, context, infinite = usable_rows(model, x, context)
    return jnp.where(infinite[..., None], jnp.inf, _terms(model, x, context))


def _terms(flow: Flow, x: Array, context: Array | None) -> Array:
    layers, values, slopes = _layers(flow.bijector), x, jnp.zeros_like(x)
    for layer in reversed(layers):
        if isinstance(layer, REORDERING):
            values, slopes = layer.inverse(values), layer.inverse(slopes)
        else:
            values, added = _inverse_and_log_slopes(layer, values, context)
            slopes += added
    base: Any = flow.base.distribution(context)  # an `Independent`, whose own distribution is that of one feature
    terms = -base.distribution.log_prob(drawn_in(values)) - slopes
    for layer in layers:  # back to the order of the features
        terms = layer.forward(terms) if isinstance(layer, REORDERING) else terms
    return terms


def _order(flow: Any) -> Array:
    """The features in the order in which the autoregressive layer visits them."""
    places = jnp.arange(flow.dim, dtype=jnp.result_type(float))  # numbers such as layers take
    for layer in reversed(_layers(flow.bijector)):
        if isinstance(layer, REORDERING):
            places = layer.inverse(places)
        elif _is_autoregressive(layer):
            network = getattr(layer.bijector if isinstance(layer, Inverse) else layer, "conditioner", None)
            degrees = getattr(network, "degrees", None)  # without, features are visited as they come
            return (places if degrees is None else places[jnp.argsort(degrees[...])]).astype(int)
    raise ValueError("there is no autoregressive layer")


def _inverse_and_log_slopes(layer: Any, x: Array, context: Array | None) -> tuple[Array, Array]:
    """z and log dz[i]/dx[i] of each feature."""
    if isinstance(layer, ELEMENTWISE):
        z, slope = jax.jvp(layer.inverse, (x,), (jnp.ones_like(x),))
        return z, jnp.log(slope)
    if isinstance(layer, Inverse):
        turned: Any = layer.bijector
        return turned.forward_and_log_slopes(x, context)
    return layer.inverse_and_log_slopes(x, context)


def _layers(bijector: Bijector) -> list[Bijector]:
    """The layers of a chain, and of chains within it, from the latent to the data."""
    return [part for layer in bijector.layers for part in _layers(layer)] if isinstance(bijector, Chain) else [bijector]


def _is_autoregressive(layer: Bijector) -> bool:
    turned = isinstance(layer, Inverse) and isinstance(layer.bijector, MaskedAutoregressive)
    return turned or isinstance(layer, MaskedAutoregressive | BlockAutoregressive)
