"""A fitted detector as a directory: `detector.json` and `weights.safetensors`.

The first holds everything that can be read by eye (format version, specs, threshold), the second every array: the
model's state, the preprocessing's constants, the calibration scores. Nothing is pickled, so loading runs no code from
the files.
"""

import hashlib
import json
import os
import shutil
import uuid
import warnings
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as dump_arrays

from jaxflow.config.spec import Spec, parse_spec
from jaxflow.data.preprocessing import Preprocessing, PreprocessingStep
from jaxflow.detection.detector import DEFAULT_STEPS, Detector
from jaxflow.detection.detectors import AutoencoderDetector, FlowDetector, GaussianDetector
from jaxflow.detection.thresholds import AnyThresholdRule
from jaxflow.errors import InputError
from jaxflow.models import AnyModelSpec, restore_state, state_arrays
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.history import History

FORMAT_VERSION = 1
DESCRIPTION, WEIGHTS = "detector.json", "weights.safetensors"
DETECTORS = {kind.__name__: kind for kind in (FlowDetector, GaussianDetector, AutoencoderDetector)}


class SavedDetector(Spec):
    """The contents of `detector.json`."""

    format_version: int
    jaxflow_version: str
    detector: str
    model: AnyModelSpec
    train: FitSpec | None
    preprocessing: tuple[PreprocessingStep, ...]
    validation_fraction: float | None
    calibration_fraction: float
    random_state: int | None
    threshold_rule: AnyThresholdRule
    threshold: float = Field(allow_inf_nan=True)
    n_train: int = Field(ge=1)
    n_features: int = Field(ge=1)
    columns: tuple[str, ...]
    fitted_with_names: bool
    float_type: str
    weights_sha256: str


def save_detector(detector: Detector, path: str | os.PathLike[str]) -> None:
    """Write a fitted detector; a directory already at `path` is replaced once the new one is complete.

    Raises:
        InputError: if `path` is a file, or a directory that holds something else than a saved detector.
    """
    import jaxflow

    path = Path(path)
    if path.exists() and not (path / DESCRIPTION).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists and is no saved detector: choose another place to save to")
    weights = dump_arrays(_arrays(detector))
    seed = detector.random_state
    description = SavedDetector(
        format_version=FORMAT_VERSION,
        jaxflow_version=jaxflow.__version__,
        detector=type(detector).__name__,
        model=detector._model_spec(),
        train=getattr(detector, "train", None),
        preprocessing=detector.preprocessing_.steps,
        validation_fraction=getattr(detector, "validation_fraction", None),
        calibration_fraction=detector.calibration_fraction,
        random_state=int(seed) if isinstance(seed, int | np.integer) else None,
        threshold_rule=detector.threshold_rule_,
        threshold=detector.threshold_,
        n_train=detector.n_train_,
        n_features=detector.n_features_in_,
        columns=detector.columns_,
        fitted_with_names=hasattr(detector, "feature_names_in_"),
        float_type=str(jnp.result_type(float)),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir(parents=True)
    try:
        (temporary / WEIGHTS).write_bytes(weights)
        (temporary / DESCRIPTION).write_text(_as_json(description), encoding="utf-8")
        if path.exists():
            # A directory cannot be renamed onto one that holds files, so the old one steps aside first.
            old = path.with_name(f".{path.name}.{uuid.uuid4().hex}.old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a detector that `save` wrote, ready to score.

    Raises:
        InputError: if the directory or one of its files is missing or damaged, or was written in a newer format.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path} is no directory with a saved detector")
    description = _read_description(path / DESCRIPTION)
    if not (path / WEIGHTS).is_file():
        raise InputError(f"{path / WEIGHTS} is missing")
    weights = (path / WEIGHTS).read_bytes()
    if hashlib.sha256(weights).hexdigest() != description.weights_sha256:
        raise InputError(f"{path / WEIGHTS} is damaged: it is not the file that {DESCRIPTION} describes")
    try:
        arrays = load_arrays(weights)
        return _restore(description, arrays)
    except (SafetensorError, InputError, KeyError) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _as_json(description: SavedDetector) -> str:
    values = description.model_dump(mode="json")
    # JSON has no infinities; a threshold can be infinite where the support ends.
    values["threshold"] = repr(description.threshold)
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _read_description(file: Path) -> SavedDetector:
    if not file.is_file():
        raise InputError(f"{file} is missing")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is damaged: {error}") from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if not isinstance(version, int):
        raise InputError(f"{file} is damaged: it names no format_version")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{file} has format {version}, this jaxflow reads up to format {FORMAT_VERSION}: it needs a newer jaxflow"
        )
    description = parse_spec(SavedDetector, values, str(file))
    if description.detector not in DETECTORS:
        raise InputError(f"{file}: detector = {description.detector!r}: expected one of {', '.join(DETECTORS)}")
    return description


def _arrays(detector: Detector) -> dict[str, np.ndarray]:
    arrays = {f"model.{name}": array for name, array in state_arrays(detector.model_).items()}
    arrays |= {f"preprocessing.{name}": array for name, array in detector.preprocessing_.arrays().items()}
    arrays["calibration.scores"] = detector.calibration_scores_
    if detector.calibration_labels_ is not None:
        arrays["calibration.labels"] = detector.calibration_labels_
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _restore(description: SavedDetector, arrays: dict[str, np.ndarray]) -> Detector:
    def part(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

    parameters = {
        "model": description.model,
        "preprocessing": None if description.preprocessing == DEFAULT_STEPS else description.preprocessing,
        "threshold": description.threshold_rule,
        "calibration_fraction": description.calibration_fraction,
        "random_state": description.random_state,
    }
    kind = DETECTORS[description.detector]
    if kind is not GaussianDetector:
        parameters |= {"train": description.train, "validation_fraction": description.validation_fraction}
    detector = kind(**parameters)
    detector.preprocessing_ = Preprocessing.from_arrays(
        description.preprocessing, part("preprocessing."), description.n_features
    )
    if description.float_type != str(jnp.result_type(float)):
        warnings.warn(
            f"the detector was saved in {description.float_type} and is loaded in {jnp.result_type(float)}",
            stacklevel=3,
        )
    model = description.model.build(detector.preprocessing_.dim_out, rngs=nnx.Rngs(0))
    restore_state(model, part("model."))
    detector.model_ = model
    detector.history_ = History()
    detector.n_train_ = description.n_train
    detector.n_features_in_ = description.n_features
    detector.columns_ = description.columns
    if description.fitted_with_names:
        detector.feature_names_in_ = np.asarray(description.columns, dtype=object)
    detector.calibration_scores_ = arrays["calibration.scores"]
    detector.calibration_labels_ = arrays.get("calibration.labels")
    detector.threshold_rule_ = description.threshold_rule
    detector.threshold_ = description.threshold
    detector.offset_ = -description.threshold
    return detector
