"""Invertible layers with their log-determinants."""

from jaxflow.bijectors.autoregressive import MaskedAutoregressive
from jaxflow.bijectors.bijector import Bijector, Chain, Inverse
from jaxflow.bijectors.coupling import Coupling
from jaxflow.bijectors.elementwise import ElementwiseAffine, Logit, Sigmoid, Softplus
from jaxflow.bijectors.normalization import ActNorm
from jaxflow.bijectors.permutation import Permutation, Reverse
from jaxflow.bijectors.transformers import Affine, Transformer

__all__ = [
    "ActNorm",
    "Affine",
    "Bijector",
    "Chain",
    "Coupling",
    "ElementwiseAffine",
    "Inverse",
    "Logit",
    "MaskedAutoregressive",
    "Permutation",
    "Reverse",
    "Sigmoid",
    "Softplus",
    "Transformer",
]
