"""Invertible layers with their log-determinants."""

from jaxflow.bijectors.autoregressive import MaskedAutoregressive
from jaxflow.bijectors.bijector import Bijector, Chain, Inverse
from jaxflow.bijectors.block_autoregressive import BlockAutoregressive
from jaxflow.bijectors.concatenate import Concatenate
from jaxflow.bijectors.continuous import NeuralODE
from jaxflow.bijectors.coupling import Coupling
from jaxflow.bijectors.elementwise import (
    ElementwiseAffine,
    Exp,
    Identity,
    Loc,
    Logit,
    Scale,
    Sigmoid,
    Softplus,
    Tanh,
)
from jaxflow.bijectors.linear import Householder, LULinear, Rotation
from jaxflow.bijectors.multi_scale import MultiScale
from jaxflow.bijectors.normalization import ActNorm, BatchNorm
from jaxflow.bijectors.numerical_inverse import NumericalInverse
from jaxflow.bijectors.permutation import Permutation, Reverse
from jaxflow.bijectors.planar import Planar
from jaxflow.bijectors.radial import Radial
from jaxflow.bijectors.rank_gaussian import RankGaussian
from jaxflow.bijectors.root import solve_increasing
from jaxflow.bijectors.sigmoid_sum import SigmoidSum
from jaxflow.bijectors.splines import CircularRationalQuadratic, RationalQuadraticSpline
from jaxflow.bijectors.stack import Stack
from jaxflow.bijectors.sylvester import Sylvester
from jaxflow.bijectors.transformers import Affine, Shift, SinhArcsinh, Transformer
from jaxflow.old_names import with_old_names

__all__ = [
    "ActNorm",
    "Affine",
    "BatchNorm",
    "Bijector",
    "BlockAutoregressive",
    "Chain",
    "CircularRationalQuadratic",
    "Concatenate",
    "Coupling",
    "ElementwiseAffine",
    "Exp",
    "Householder",
    "Identity",
    "Inverse",
    "LULinear",
    "Loc",
    "Logit",
    "MaskedAutoregressive",
    "MultiScale",
    "NeuralODE",
    "NumericalInverse",
    "Permutation",
    "Planar",
    "Radial",
    "RankGaussian",
    "RationalQuadraticSpline",
    "Reverse",
    "Rotation",
    "Scale",
    "Shift",
    "Sigmoid",
    "SigmoidSum",
    "SinhArcsinh",
    "Softplus",
    "Stack",
    "Sylvester",
    "Tanh",
    "Transformer",
    "solve_increasing",
]

__getattr__ = with_old_names(__name__, {"Continuous": "NeuralODE", "RationalQuadratic": "RationalQuadraticSpline"})
