"""Saving and loading of whatever can be: a detector, or a model by itself."""

import os
from pathlib import Path
from typing import Any

from jaxflow.detection.detector import Detector
from jaxflow.detection.detectors import load as load_detector
from jaxflow.errors import InputError
from jaxflow.models import Model
from jaxflow.models.storage.save_and_load import holds_model, load_model, save_model


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a model that a spec has built, such as a flow, or a fitted detector to a directory, for `load`.

    What was saved there before is replaced once the new one is complete.

    >>> import jaxflow, tempfile
    >>> from flax import nnx
    >>> flow = jaxflow.models.MAF(layers=1, hidden=(4,)).build(2, rngs=nnx.Rngs(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     jaxflow.save(flow, f"{folder}/flow")
    ...     jaxflow.load(f"{folder}/flow").dim
    2

    Raises:
        InputError: if the model was put together by hand, `path` is taken by something else or cannot be written.
    """
    if isinstance(model, Detector):
        model.save(path)
    elif isinstance(model, Model):
        save_model(model, path)
    else:
        raise InputError(f"{type(model).__name__} {model!r:.60} cannot be saved, expected a model or a detector")


def load(path: str | os.PathLike[str]) -> Any:
    """Read what `save` wrote, a detector or a model: its scores are equal, bit for bit.

    Loading runs no code from the files and imports nothing.

    Raises:
        InputError: if the directory or one of its files is missing, damaged or edited, or written in a newer format;
            if a model computes in float64 and JAX is set to float32, or has layers of a class not imported yet.
    """
    if not Path(path).is_dir():
        raise InputError(f"{path} is no directory, expected one with a saved detector or model")
    return load_model(path) if holds_model(path) else load_detector(path)
