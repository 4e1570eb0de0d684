"""Fitting: compiled epochs, held-out data, best parameters, checkpoints."""

from .devices.mesh import make_mesh
from .engine.batch import Batch
from .feeding.sources import NpyFile, Source, TableFiles
from .fit import FitResult, fit
from .fit_alike import fit_alike, side_by_side
from .fit_ensemble import fit_ensemble
from .fit_spec import FitSpec
from .monitoring.callbacks import Callback, LiveFile, Profiler, TensorBoard
from .monitoring.checkpoints import Checkpoints
from .monitoring.history import History
from .search import SearchResult, Trial, search

__all__ = [
    "Batch",
    "Callback",
    "Checkpoints",
    "FitResult",
    "FitSpec",
    "History",
    "LiveFile",
    "NpyFile",
    "Profiler",
    "SearchResult",
    "Source",
    "TableFiles",
    "TensorBoard",
    "Trial",
    "fit",
    "fit_alike",
    "fit_ensemble",
    "make_mesh",
    "search",
    "side_by_side",
]
