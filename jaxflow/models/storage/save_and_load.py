"""A model by itself as a directory: `model.json` and `weights.safetensors`.

The first names the spec that the model was built by and the number of its features, the second holds its parameters
and buffers. As with detectors, neither file is trusted: nothing is pickled and nothing imported, so no code from the
files runs, and the model is built only once the second is known to hold its arrays, in their shapes and types.
"""

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import Field, ValidationError

from jaxflow.config.spec import Spec, parse_spec
from jaxflow.errors import InputError
from jaxflow.models.model import Model
from jaxflow.models.named_arrays import require_planned, restore_state, state_arrays
from jaxflow.models.specs import AnyModelSpec
from jaxflow.models.storage.saved_folder import (
    WEIGHTS,
    array_bytes,
    built,
    checksum_of,
    read_folder,
    require_format,
    require_free_place,
    write_folder,
)
from jaxflow.models.storage.untrusted_files import read_arrays, read_json

FORMAT_VERSION = 1
DESCRIPTION, KIND = "model.json", "a saved model"


class SavedModel(Spec):
    """The contents of `model.json`; `checksum` is that of all else, as `checksum_of` computes it."""

    format_version: int = Field(ge=1, le=1_000_000)
    jaxflow_version: str
    model: AnyModelSpec
    n_features: int = Field(ge=1, le=1 << 53)
    float_type: Literal["float32", "float64"]
    weights_sha256: str
    checksum: str


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model that a spec has built; one saved at `path` before is replaced once the new one is complete.

    Args:
        model: what `spec.build` made, fitted or not.
        path: the directory.

    Raises:
        InputError: if the model was put together by hand, or something but its numbers was changed since it was
            built; if it holds numbers that are not finite; if `path` is taken by something else or cannot be written.
    """
    path = Path(path)
    spec = _spec_of(model)
    require_free_place(path, DESCRIPTION, KIND)
    arrays = state_arrays(model)
    wide = any(array.dtype in (np.float64, np.int64) for array in arrays.values())
    with jax.enable_x64(wide):
        try:
            require_planned(spec.planned(model.dim), arrays)
        except InputError as error:
            raise InputError(f"a {type(model).__name__} cannot be saved: {error}") from None
        if _structure(model) != _structure(built(spec, model.dim)):
            raise InputError(
                f"a {type(model).__name__} cannot be saved: its layers are no longer those that its spec builds"
            )
    weights = array_bytes(arrays)
    description = {
        "format_version": FORMAT_VERSION,
        "jaxflow_version": version("jaxflow"),
        "model": spec.model_dump(mode="json"),
        "n_features": model.dim,
        "float_type": "float64" if wide else "float32",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "checksum": "",
    }
    _require_known(spec, description)
    description["checksum"] = checksum_of(description)
    write_folder(path, DESCRIPTION, json.dumps(description, indent=2, allow_nan=False) + "\n", weights)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model that `save_model` wrote: its densities and scores are equal, bit for bit.

    Raises:
        InputError: if the directory or one of its files is missing, damaged or edited, or written in a newer format; if
            the model computes in float64 and JAX is set to float32; or if it has layers of a class that nobody has
            imported yet.
    """
    path = Path(path)
    description, weights = read_folder(path, DESCRIPTION, KIND, _read_description)
    spec: Any = description.model
    wide = description.float_type == "float64"
    if wide and jnp.result_type(float) != np.float64:
        raise InputError(
            f'{path} holds a model in float64, and JAX computes in float32: call jax.config.update("jax_enable_x64", '
            "True) first"
        )
    try:
        spec.require_imported()
    except InputError as error:
        raise InputError(f"{path / DESCRIPTION}: {error}") from None
    try:
        arrays = read_arrays(weights)
        with jax.enable_x64(wide):
            require_planned(spec.planned(description.n_features), arrays)
            model = built(spec, description.n_features)
            restore_state(model, arrays)
    except InputError as error:
        raise InputError(f"{path / WEIGHTS} is damaged: {error}") from None
    except MemoryError:
        raise InputError(f"{path / DESCRIPTION} describes a model that memory does not hold") from None
    return model


def holds_model(path: str | os.PathLike[str]) -> bool:
    """Whether a directory holds a model by itself."""
    return (Path(path) / DESCRIPTION).is_file()


def _spec_of(model: Model) -> Any:
    if model.spec is None:
        raise InputError(
            f"a {type(model).__name__} that was put together by hand cannot be saved: build it by a spec of "
            'jaxflow.models, such as MAF(), or of layers of your own by CustomFlow(layer="my_module.MyLayer")'
        )
    return model.spec


def _require_known(spec: Any, description: dict[str, Any]) -> None:
    """Refuse a spec that would be read as another one, or not at all."""
    try:
        known = SavedModel.model_validate(description).model == spec
    except ValidationError:
        known = False
    if not known:
        raise InputError(
            f"a model that {type(spec).__name__} builds cannot be saved: it is none of the specs in jaxflow.models, by "
            "which alone a model is loaded"
        )


def _structure(model: Model) -> Any:
    """All of a model but its numbers, out of training."""
    copy = nnx.merge(*nnx.split(model))
    copy.eval()
    return nnx.graphdef(copy)


def _read_description(file: Path) -> SavedModel:
    values = read_json(file)
    require_format(values, file, FORMAT_VERSION)
    description = parse_spec(SavedModel, values, str(file))
    if checksum_of(values) != description.checksum:
        raise InputError(f"{file} is damaged: it was changed after it was written, its checksum does not match")
    return description
