"""Normalizing flows in pure JAX that learn the density of normal data and flag what is improbable."""

from . import bijectors, data, detection, evaluation, models, networks, training
from .detection import AnomalyDetector, AutoencoderDetector, FlowDetector, GaussianDetector
from .detection.any_saved import load, save
from .errors import InputError
from .models import Flow
from .training import fit

__version__: str

__all__ = [
    "AnomalyDetector",
    "AutoencoderDetector",
    "Flow",
    "FlowDetector",
    "GaussianDetector",
    "InputError",
    "bijectors",
    "data",
    "detection",
    "evaluation",
    "fit",
    "load",
    "models",
    "networks",
    "save",
    "training",
]
