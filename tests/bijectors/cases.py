"""Every bijector that the package has, plain and conditional: the one list that the property tests read.

A new layer costs one line here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxflow.bijectors import (
    ActNorm,
    Affine,
    Bijector,
    Chain,
    Coupling,
    ElementwiseAffine,
    Inverse,
    Logit,
    MaskedAutoregressive,
    Permutation,
    Reverse,
    Sigmoid,
    Softplus,
)
from jaxflow.networks import MLP, MaskedMLP

DIM = 5
CONTEXT_DIM = 3


@dataclass(frozen=True)
class Case:
    """A bijector on 5 features.

    Attributes:
        make: builds it.
        context_dim: 3 for a conditional one.
        latent: where z lives: "real", "unit" for (0, 1), or "positive".
        data: where x lives.
        identity: whether the layer promises to be the identity at first.
    """

    make: Callable[[nnx.Rngs], Bijector]
    context_dim: int = 0
    latent: str = "real"
    data: str = "real"
    identity: bool = True


def masked(rngs: nnx.Rngs, context_dim: int = 0, **options) -> MaskedAutoregressive:
    return MaskedAutoregressive(Affine(), MaskedMLP(DIM, 2, (16, 16), context_dim=context_dim, rngs=rngs, **options))


def coupling(rngs: nnx.Rngs, context_dim: int = 0) -> Coupling:
    mask = np.array([True, False, True, True, False])
    return Coupling(mask, Affine(), MLP(3, 2 * 2, (16,), context_dim=context_dim, zero_last=True, rngs=rngs))


def initialized_act_norm(rngs: nnx.Rngs) -> ActNorm:
    layer = ActNorm(DIM)
    layer.initialize(2.0 * jax.random.normal(rngs.params(), (50, DIM)) + 1.0)
    return layer


def chain(rngs: nnx.Rngs, context_dim: int = 0) -> Chain:
    return Chain([masked(rngs, context_dim), Reverse(), ActNorm(DIM), coupling(rngs, context_dim)])


CASES: dict[str, Case] = {
    "elementwise_affine": Case(lambda rngs: ElementwiseAffine(DIM)),
    "sigmoid": Case(lambda rngs: Sigmoid(), data="unit", identity=False),
    "logit": Case(lambda rngs: Logit(), latent="unit", identity=False),
    "softplus": Case(lambda rngs: Softplus(), data="positive", identity=False),
    "permutation": Case(lambda rngs: Permutation(jnp.array([3, 0, 4, 1, 2])), identity=False),
    "permutation_random": Case(lambda rngs: Permutation.random(DIM, rngs=rngs), identity=False),
    "reverse": Case(lambda rngs: Reverse(), identity=False),
    "act_norm": Case(lambda rngs: ActNorm(DIM)),
    "act_norm_initialized": Case(initialized_act_norm, identity=False),
    "coupling": Case(coupling),
    "coupling_conditional": Case(lambda rngs: coupling(rngs, CONTEXT_DIM), context_dim=CONTEXT_DIM),
    "masked_autoregressive": Case(masked),
    "masked_autoregressive_conditional": Case(lambda rngs: masked(rngs, CONTEXT_DIM), context_dim=CONTEXT_DIM),
    "masked_autoregressive_residual": Case(lambda rngs: masked(rngs, residual=True)),
    "masked_autoregressive_ordered": Case(lambda rngs: masked(rngs, order=np.array([2, 0, 4, 1, 3]))),
    "masked_autoregressive_random_degrees": Case(lambda rngs: masked(rngs, hidden_degrees="random")),
    "inverse": Case(lambda rngs: Inverse(masked(rngs))),
    "inverse_conditional": Case(lambda rngs: Inverse(masked(rngs, CONTEXT_DIM)), context_dim=CONTEXT_DIM),
    "inverse_softplus": Case(lambda rngs: Inverse(Softplus()), latent="positive", identity=False),
    "chain": Case(chain, identity=False),
    "chain_conditional": Case(lambda rngs: chain(rngs, CONTEXT_DIM), context_dim=CONTEXT_DIM, identity=False),
    "chain_onto_unit_cube": Case(lambda rngs: Chain([masked(rngs), Sigmoid()]), data="unit", identity=False),
}


def shaken(bijector: Bijector, seed: int = 0, scale: float = 0.5) -> Bijector:
    """The bijector with noise on all its parameters: layers that start as the identity would hide every mistake."""
    graph, params, rest = nnx.split(bijector, nnx.Param, ...)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), max(len(leaves), 1))
    noisy = [p + scale * jax.random.normal(k, p.shape, p.dtype) for p, k in zip(leaves, keys, strict=False)]
    return nnx.merge(graph, jax.tree.unflatten(structure, noisy), rest)
