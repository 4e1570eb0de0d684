"""Models: things that can be fitted and that give each row an anomaly score."""

from jaxflow.models.base import Base, StandardNormal
from jaxflow.models.flow import Flow
from jaxflow.models.flow_specs import IAF, MAF, FlowSpec, RealNVP
from jaxflow.models.model import Density, DirectlyFitted, Model, ModelSpec, weighted_mean

__all__ = [
    "IAF",
    "MAF",
    "Base",
    "Density",
    "DirectlyFitted",
    "Flow",
    "FlowSpec",
    "Model",
    "ModelSpec",
    "RealNVP",
    "StandardNormal",
    "weighted_mean",
]
