"""Every bijector that the package has, plain and conditional: the one list that the property tests read.

A new layer costs one line here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxflow.bijectors import (
    ActNorm,
    Affine,
    BatchNorm,
    Bijector,
    BlockAutoregressive,
    Chain,
    CircularRationalQuadratic,
    Concatenate,
    Coupling,
    ElementwiseAffine,
    Exp,
    Householder,
    Identity,
    Inverse,
    Loc,
    Logit,
    LULinear,
    MaskedAutoregressive,
    MultiScale,
    NeuralODE,
    NumericalInverse,
    Permutation,
    Planar,
    Radial,
    RankGaussian,
    RationalQuadraticSpline,
    Reverse,
    Rotation,
    Scale,
    Shift,
    Sigmoid,
    SigmoidSum,
    SinhArcsinh,
    Softplus,
    Stack,
    Sylvester,
    Tanh,
    Transformer,
)
from jaxflow.bijectors.autoregressive import Sampling
from jaxflow.networks import MLP, MaskedMLP
from tests.bijectors.own_layer import own_layers
from tests.bijectors.small_layers import Bent, TwoSlopes

AnyModule = TypeVar("AnyModule", bound=nnx.Module)

DIM = 5
CONTEXT_DIM = 3

# Features 1 and 2 depend on feature 0, feature 4 on 1 and 2, feature 3 on nothing.
GRAPH = np.zeros((DIM, DIM), bool)
GRAPH[[1, 2, 4, 4], [0, 0, 1, 2]] = True


@dataclass(frozen=True)
class Case:
    """A bijector on 5 features.

    Attributes:
        make: builds it.
        context_dim: 3 for a conditional one.
        latent: where z lives: "real", "unit" for (0, 1), "symmetric" for (-1, 1), "positive", or "circle" for angles.
        data: where x lives.
        identity: whether the layer promises to be the identity at first.
        exact: whether the log-determinant is that of the Jacobian, not an estimate of it.
        kinks: numbers where the map of a feature has a kink, whether latent or data. Rows keep away from them: there
            the slope is another on either side, and rounding decides on which side the smallest numbers are.
    """

    make: Callable[[nnx.Rngs], Bijector]
    context_dim: int = 0
    latent: str = "real"
    data: str = "real"
    identity: bool = True
    exact: bool = True
    kinks: tuple[float, ...] = ()


def masked(
    rngs: nnx.Rngs,
    context_dim: int = 0,
    transformer: Transformer | None = None,
    sampling: Sampling = "walk",
    hidden: tuple[int, ...] = (16, 16),
    **options,
) -> MaskedAutoregressive:
    transformer = Affine() if transformer is None else transformer
    conditioner = MaskedMLP(DIM, transformer.num_parameters, hidden, context_dim=context_dim, rngs=rngs, **options)
    return MaskedAutoregressive(transformer, conditioner, sampling=sampling)


def coupling(rngs: nnx.Rngs, context_dim: int = 0, transformer: Transformer | None = None, dim: int = DIM) -> Coupling:
    mask = np.array([True, False, True, True, False])[DIM - dim :]
    transformer = Affine() if transformer is None else transformer
    outputs = 2 * transformer.num_parameters
    return Coupling(mask, transformer, MLP(dim - 2, outputs, (16,), context_dim=context_dim, zero_last=True, rngs=rngs))


def initialized(layer: Bijector, rngs: nnx.Rngs) -> Bijector:
    layer.initialize(2.0 * jax.random.normal(rngs.params(), (50, DIM)) + 1.0)
    return layer


def ranked(rngs: nnx.Rngs) -> RankGaussian:
    layer = RankGaussian(DIM, 16)
    layer.fit(jax.random.normal(rngs.params(), (50, DIM)) ** 3)
    return layer


def continuous(rngs: nnx.Rngs, **options) -> NeuralODE:
    tight = {"rtol": 1e-11, "atol": 1e-11, "max_steps": 256, "solver": "dopri8", "adjoint": "direct"}
    return NeuralODE(DIM, (8,), **tight, **options, rngs=rngs)


def step(rngs: nnx.Rngs, context_dim: int = 0) -> Chain:
    return Chain([Permutation.random(DIM, rngs=rngs), coupling(rngs, context_dim), ActNorm(DIM)])


def chain(rngs: nnx.Rngs, context_dim: int = 0) -> Chain:
    return Chain([masked(rngs, context_dim), Reverse(), ActNorm(DIM), coupling(rngs, context_dim)])


def offsets(count: int, context_dim: int, rngs: nnx.Rngs) -> MLP | None:
    return MLP(context_dim, count, (16,), zero_last=True, rngs=rngs) if context_dim else None


def planar(rngs: nnx.Rngs, context_dim: int = 0) -> Planar:
    conditioner = offsets(Planar.num_parameters(DIM), context_dim, rngs)
    return Planar(DIM, conditioner=conditioner, context_dim=context_dim, rngs=rngs)


def radial(rngs: nnx.Rngs, context_dim: int = 0) -> Radial:
    conditioner = offsets(Radial.num_parameters(DIM), context_dim, rngs)
    return Radial(DIM, conditioner=conditioner, context_dim=context_dim, rngs=rngs)


def sylvester(rngs: nnx.Rngs, context_dim: int = 0, rank: int = 3) -> Sylvester:
    conditioner = offsets(Sylvester.num_parameters(DIM, rank), context_dim, rngs)
    return Sylvester(DIM, rank, conditioner=conditioner, context_dim=context_dim, rngs=rngs)


def multi_scale(rngs: nnx.Rngs, context_dim: int = 0) -> MultiScale:
    inner = MaskedMLP(3, 2, (8,), context_dim=context_dim, rngs=rngs)
    blocks = [coupling(rngs, context_dim), MaskedAutoregressive(Affine(), inner), ActNorm(1)]
    return MultiScale(blocks, [DIM, 3, 1])


CASES: dict[str, Case] = {
    "identity": Case(lambda rngs: Identity()),
    "scale": Case(lambda rngs: Scale(jnp.array([2.0, -0.5, 1.0, 3.0, -1.0])), identity=False),
    "loc": Case(lambda rngs: Loc(1.5), identity=False),
    "exp": Case(lambda rngs: Exp(), data="positive", identity=False),
    "tanh": Case(lambda rngs: Tanh(), data="symmetric", identity=False),
    "numerical_inverse": Case(lambda rngs: NumericalInverse(Bent(DIM)), identity=False),
    "concatenate": Case(lambda rngs: Concatenate([ElementwiseAffine(2), Rotation(3)], [2, 3])),
    "concatenate_conditional": Case(
        lambda rngs: Concatenate([coupling(rngs, CONTEXT_DIM, dim=4), ElementwiseAffine(1)], [4, 1]),
        context_dim=CONTEXT_DIM,
    ),
    "elementwise_affine": Case(lambda rngs: ElementwiseAffine(DIM)),
    "sigmoid": Case(lambda rngs: Sigmoid(), data="unit", identity=False),
    "logit": Case(lambda rngs: Logit(), latent="unit", identity=False),
    "softplus": Case(lambda rngs: Softplus(), data="positive", identity=False),
    "rank_gaussian": Case(lambda rngs: RankGaussian(DIM)),
    "rank_gaussian_fitted": Case(ranked, identity=False),
    "permutation": Case(lambda rngs: Permutation(jnp.array([3, 0, 4, 1, 2])), identity=False),
    "permutation_random": Case(lambda rngs: Permutation.random(DIM, rngs=rngs), identity=False),
    "reverse": Case(lambda rngs: Reverse(), identity=False),
    "act_norm": Case(lambda rngs: ActNorm(DIM)),
    "act_norm_initialized": Case(lambda rngs: initialized(ActNorm(DIM), rngs), identity=False),
    "batch_norm": Case(lambda rngs: initialized(BatchNorm(DIM), rngs), identity=False),
    "coupling": Case(coupling),
    "coupling_conditional": Case(lambda rngs: coupling(rngs, CONTEXT_DIM), context_dim=CONTEXT_DIM),
    "masked_autoregressive": Case(masked),
    "masked_autoregressive_conditional": Case(lambda rngs: masked(rngs, CONTEXT_DIM), context_dim=CONTEXT_DIM),
    "masked_autoregressive_residual": Case(lambda rngs: masked(rngs, residual=True)),
    "masked_autoregressive_ordered": Case(lambda rngs: masked(rngs, order=np.array([2, 0, 4, 1, 3]))),
    "masked_autoregressive_random_degrees": Case(lambda rngs: masked(rngs, hidden_degrees="random")),
    "block_autoregressive": Case(lambda rngs: BlockAutoregressive(DIM, 3, 2, rngs=rngs), identity=False),
    "block_autoregressive_conditional": Case(
        lambda rngs: BlockAutoregressive(DIM, 3, 2, context_dim=CONTEXT_DIM, rngs=rngs),
        context_dim=CONTEXT_DIM,
        identity=False,
    ),
    "masked_autoregressive_jacobi": Case(
        lambda rngs: masked(rngs, CONTEXT_DIM, sampling="jacobi"), context_dim=CONTEXT_DIM
    ),
    "masked_autoregressive_graph": Case(
        lambda rngs: masked(rngs, CONTEXT_DIM, adjacency=GRAPH, residual=True), context_dim=CONTEXT_DIM
    ),
    "stack": Case(lambda rngs: Stack(step, 2, unroll_below=1, rngs=rngs), identity=False),
    "stack_unrolled_conditional": Case(
        lambda rngs: Stack(lambda rngs: step(rngs, CONTEXT_DIM), 2, rngs=rngs), context_dim=CONTEXT_DIM, identity=False
    ),
    "inverse": Case(lambda rngs: Inverse(masked(rngs))),
    "inverse_conditional": Case(lambda rngs: Inverse(masked(rngs, CONTEXT_DIM)), context_dim=CONTEXT_DIM),
    "inverse_softplus": Case(lambda rngs: Inverse(Softplus()), latent="positive", identity=False),
    "lu_linear": Case(lambda rngs: LULinear(DIM, rngs=rngs)),
    "householder": Case(lambda rngs: Householder(DIM, 4, rngs=rngs)),
    "rotation": Case(lambda rngs: Rotation(DIM)),
    "planar": Case(planar),
    "planar_conditional": Case(lambda rngs: planar(rngs, CONTEXT_DIM), context_dim=CONTEXT_DIM),
    "radial": Case(radial),
    "radial_conditional": Case(lambda rngs: radial(rngs, CONTEXT_DIM), context_dim=CONTEXT_DIM),
    "sylvester": Case(lambda rngs: sylvester(rngs, rank=DIM)),
    "sylvester_conditional": Case(lambda rngs: sylvester(rngs, CONTEXT_DIM), context_dim=CONTEXT_DIM),
    "continuous": Case(continuous),
    "continuous_conditional": Case(lambda rngs: continuous(rngs, context_dim=CONTEXT_DIM), context_dim=CONTEXT_DIM),
    "continuous_estimated": Case(lambda rngs: continuous(rngs, probes=2), exact=False),
    "multi_scale": Case(multi_scale),
    "multi_scale_conditional": Case(lambda rngs: multi_scale(rngs, CONTEXT_DIM), context_dim=CONTEXT_DIM),
    "own_layer": Case(lambda rngs: own_layers().Cubic(DIM, rngs=rngs), identity=False),
    "chain": Case(chain, identity=False),
    "chain_conditional": Case(lambda rngs: chain(rngs, CONTEXT_DIM), context_dim=CONTEXT_DIM, identity=False),
    "chain_onto_unit_cube": Case(lambda rngs: Chain([masked(rngs), Sigmoid()]), data="unit", identity=False),
}


# Every transformer, in couplings without a context and in masked layers with one; structures treat all transformers
# alike, and those of affine maps are above without and with a context. The splines' bins and slopes are kept from
# becoming so small that rounding alone, magnified by a slope of 1e6, would fail a round trip of 1e-8.
TRANSFORMERS: dict[str, Callable[[], Transformer]] = {
    "shift": Shift,
    "sinh_arcsinh": SinhArcsinh,
    "rational_quadratic": lambda: RationalQuadraticSpline(bins=4, bound=2.0, min_bin=0.05, min_slope=0.05),
    "circular_rational_quadratic": lambda: CircularRationalQuadratic(bins=4, min_bin=0.05, min_slope=0.05),
    "sigmoid_sum": lambda: SigmoidSum(terms=3),
    "two_slopes": TwoSlopes,
}
for _name, _make in TRANSFORMERS.items():
    _space = "circle" if _name.startswith("circular") else "real"
    _kinks = (0.0,) if _name == "two_slopes" else ()
    CASES[f"coupling_{_name}"] = Case(partial(coupling, transformer=_make()), 0, _space, _space, kinks=_kinks)
    if _kinks:
        continue  # one structure shows what a kink does
    CASES[f"masked_autoregressive_{_name}_conditional"] = Case(
        partial(masked, context_dim=CONTEXT_DIM, transformer=_make()), CONTEXT_DIM, _space, _space
    )


def shaken(module: AnyModule, seed: int = 0, scale: float = 0.5) -> AnyModule:
    """The module with noise on all its parameters: layers that start as the identity would hide every mistake."""
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    rng = np.random.default_rng(seed)  # of numpy, because JAX compiles a program for each shape that it draws
    noisy = jax.tree.map(lambda p: jnp.asarray(p + scale * rng.normal(size=p.shape), p.dtype), jax.device_get(params))
    return nnx.merge(graph, noisy, rest)
