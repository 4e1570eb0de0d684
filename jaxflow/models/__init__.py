"""Models: things that can be fitted and that give each row an anomaly score."""

from jaxflow.models.autoencoder import AutoEncoder, AutoEncoderSpec
from jaxflow.models.base import Base, StandardNormal
from jaxflow.models.flow import Flow
from jaxflow.models.flow_specs import IAF, MAF, FlowSpec, RealNVP
from jaxflow.models.gaussian import Gaussian, GaussianSpec
from jaxflow.models.gaussian_mixture import GaussianMixture, GaussianMixtureSpec
from jaxflow.models.model import Density, DirectlyFitted, Model, ModelSpec, weighted_mean
from jaxflow.models.specs import AnyFlowSpec, AnyModelSpec
from jaxflow.models.state import restore_state, state_arrays

__all__ = [
    "IAF",
    "MAF",
    "AnyFlowSpec",
    "AnyModelSpec",
    "AutoEncoder",
    "AutoEncoderSpec",
    "Base",
    "Density",
    "DirectlyFitted",
    "Flow",
    "FlowSpec",
    "Gaussian",
    "GaussianMixture",
    "GaussianMixtureSpec",
    "GaussianSpec",
    "Model",
    "ModelSpec",
    "RealNVP",
    "StandardNormal",
    "restore_state",
    "state_arrays",
    "weighted_mean",
]
