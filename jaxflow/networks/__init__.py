"""Conditioners: networks that turn inputs into the parameters of a transformation."""

from jaxflow.networks.activations import Activation
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.masked.masked_mlp import MaskedLinear, MaskedMLP
from jaxflow.networks.mlp import MLP
from jaxflow.networks.residual_mlp import ResidualMLP

__all__ = ["MLP", "Activation", "Buffer", "MaskedLinear", "MaskedMLP", "ResidualMLP"]
