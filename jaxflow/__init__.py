"""Normalizing flows in pure JAX that learn the density of normal data and flag what is improbable."""

from importlib.metadata import version

from jaxflow import bijectors, data, detection, models, training
from jaxflow.detection import AutoencoderDetector, FlowDetector, GaussianDetector, load
from jaxflow.errors import InputError
from jaxflow.models import Flow
from jaxflow.training import fit

__version__ = version("jaxflow")

__all__ = [
    "AutoencoderDetector",
    "Flow",
    "FlowDetector",
    "GaussianDetector",
    "InputError",
    "bijectors",
    "data",
    "detection",
    "fit",
    "load",
    "models",
    "training",
]
