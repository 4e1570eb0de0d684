"""Fitting: compiled epochs, held-out data, best parameters."""

from jaxflow.training.batch import Batch
from jaxflow.training.fit import FitResult, fit
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.history import History

__all__ = ["Batch", "FitResult", "FitSpec", "History", "fit"]
