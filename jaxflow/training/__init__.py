"""Fitting: compiled epochs, held-out data, best parameters, checkpoints."""

from jaxflow.training.devices.mesh import make_mesh
from jaxflow.training.engine.batch import Batch
from jaxflow.training.feeding.sources import NpyFile, Source, TableFiles
from jaxflow.training.fit import FitResult, fit
from jaxflow.training.fit_ensemble import fit_ensemble
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.many.side_by_side import side_by_side
from jaxflow.training.monitoring.callbacks import LiveFile, TensorBoard, Trace, Watcher
from jaxflow.training.monitoring.checkpoints import Checkpoints
from jaxflow.training.monitoring.history import History
from jaxflow.training.search import SearchResult, Trial, search

__all__ = [
    "Batch",
    "Checkpoints",
    "FitResult",
    "FitSpec",
    "History",
    "LiveFile",
    "NpyFile",
    "SearchResult",
    "Source",
    "TableFiles",
    "TensorBoard",
    "Trace",
    "Trial",
    "Watcher",
    "fit",
    "fit_ensemble",
    "make_mesh",
    "search",
    "side_by_side",
]
