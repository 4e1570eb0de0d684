"""A fitted detector as a directory: `detector.json` and `weights.safetensors`.

The first holds everything that can be read by eye (format version, specs, threshold), the second every array: the
model's state, the preprocessing's constants, the calibration scores, the history of the fit, and up to 1,000 of the
normal rows themselves, which explanations compare with. Checksums tie the two together: neither can be changed, by
accident or by hand, without `load` noticing. To change a threshold, load the detector, call `set_threshold`, and save
it.

Whoever means harm can make the checksums fit again, so `load` trusts neither file. Nothing is pickled and nothing
imported, so no code from the files runs; no text in them becomes a path; and the model that the first describes is
built only once the second is known to hold its arrays, in their shapes and types.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from sklearn.utils.validation import check_is_fitted

from jaxflow.config.spec import Spec, parse_spec
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.columns.numeric_maps import AnyColumnMap
from jaxflow.data.dataset import require_distinct
from jaxflow.data.encoding import Encoding
from jaxflow.data.preprocessing.imputation import Imputer
from jaxflow.data.preprocessing.steps import Preprocessing, PreprocessingStep
from jaxflow.data.tables.table_form import TableForm
from jaxflow.detection.check_parameters import DEFAULT_STEPS, checked_parameters
from jaxflow.detection.scoring.table_encoder import Inputs
from jaxflow.detection.storage.history_arrays import history_arrays, restored_history
from jaxflow.detection.storage.normal_rows_arrays import reasons_arrays, restore_reasons
from jaxflow.detection.thresholds.any_rule import AnyThresholdRule
from jaxflow.errors import InputError, counted
from jaxflow.models import AnyModelSpec
from jaxflow.models.named_arrays import require_planned, restore_state, state_arrays
from jaxflow.models.storage import saved_folder
from jaxflow.models.storage.saved_folder import (
    WEIGHTS,
    array_bytes,
    built,
    checksum_of,
    read_folder,
    require_format,
    write_folder,
)
from jaxflow.models.storage.untrusted_files import read_arrays, read_json
from jaxflow.training.engine.precision import floats_of
from jaxflow.training.fit_spec import FitSpec

FORMAT_VERSION = 3
# An array's name begins with one of them.
PARTS = ("model", "preprocessing", "missing", "history", "reasons", "calibration")
DESCRIPTION, KIND = "detector.json", "a saved detector"


class SavedDetector(Spec):
    """The contents of `detector.json`.

    `checksum` is the SHA-256 of the same contents without it, as `checksum_of` computes it; `weights_sha256` is that of
    the other file.
    """

    format_version: int = Field(ge=1, le=1_000_000)
    jaxflow_version: str
    detector: str
    model: AnyModelSpec
    train: FitSpec | None
    preprocessing: tuple[PreprocessingStep, ...]
    validation_fraction: float | None = Field(ge=-1e9, le=1e9)
    calibration_fraction: float = Field(ge=-1e9, le=1e9)
    calibration_folds: int | None = Field(ge=0, le=1 << 53)
    calibration_source: Literal["held_out", "out_of_fold", "training", "given"]
    random_state: int | None = Field(ge=-(1 << 63), le=1 << 63)
    threshold_rule: AnyThresholdRule
    threshold: float = Field(allow_inf_nan=True)
    n_train: int = Field(ge=1, le=1 << 53)
    n_features: int = Field(ge=1, le=1 << 53)
    columns: tuple[str, ...]
    columns_spec: ColumnsSpec | None
    encoding: tuple[AnyColumnMap, ...]
    table_form: TableForm | None = None
    fitted_with_names: bool
    float_type: Literal["float32", "float64"]
    weights_sha256: str
    checksum: str


def save_detector(detector: Any, kinds: Mapping[str, type], path: str | os.PathLike[str]) -> None:
    """Write a fitted detector; one saved at `path` before is replaced once the new one is complete.

    Whoever loads it at that moment has the old one or the new one, whole; only where the system cannot exchange two
    directories is there for a moment none.

    The parameters are written as what they stand for (`model=None` as the default model) and the threshold as it is
    now. A `random_state` that is no whole number is not kept.

    Args:
        detector: a fitted `Detector`.
        kinds: the classes of detectors that `load_detector` can make, by name.
        path: the directory.

    Raises:
        NotFittedError: if the detector is not fitted.
        InputError: if `path` is taken by something else (see `require_free_place`), cannot be written, or the detector
            is of a class of your own, which `load_detector` could not make.
    """
    path = Path(path)
    name = type(detector).__name__
    if kinds.get(name) is not type(detector):
        raise InputError(f"a detector of type {name} cannot be saved, expected one of {', '.join(kinds)}")
    check_is_fitted(detector, "threshold_")
    require_free_place(path)
    weights = array_bytes(_arrays(detector))
    description = _description(detector, hashlib.sha256(weights).hexdigest())
    write_folder(path, DESCRIPTION, _as_json(description), weights)


def require_free_place(path: str | os.PathLike[str]) -> None:
    """Check that a detector may be saved at `path`: nothing is there, an empty directory, or a saved detector.

    Raises:
        InputError: if `path` is a file, or a directory that holds anything else.
    """
    saved_folder.require_free_place(path, DESCRIPTION, KIND)


def load_detector(path: str | os.PathLike[str], kinds: Mapping[str, type]) -> Any:
    """Read a detector that `save_detector` wrote, ready to score: its scores are the same, bit for bit.

    Args:
        path: the directory.
        kinds: the classes that the detector may be of, by name.

    Raises:
        InputError: if the directory or one of its files is missing, damaged or edited, or written in a newer format.
    """
    path = Path(path)
    description, weights = read_folder(path, DESCRIPTION, KIND, partial(_read_description, kinds=kinds))
    detector = _unfitted(description, kinds[description.detector], path / DESCRIPTION)
    try:
        _restore(detector, description, read_arrays(weights))
    except InputError as error:
        raise InputError(f"{path / WEIGHTS} is damaged: {error}") from None
    return detector


def _description(detector: Any, weights_sha256: str) -> SavedDetector:
    seed, parameters = detector.random_state, detector.get_params(deep=False)
    values = {
        "format_version": FORMAT_VERSION,
        "jaxflow_version": version("jaxflow"),
        "detector": type(detector).__name__,
        "model": detector.model_spec_,
        "train": parameters.get("train"),
        "preprocessing": detector.preprocessing_.steps,
        "validation_fraction": parameters.get("validation_fraction"),
        "calibration_fraction": detector.calibration_fraction,
        "calibration_folds": detector.calibration_folds,
        "calibration_source": detector.calibration_source_,
        "random_state": int(seed) if isinstance(seed, int | np.integer) else None,
        "threshold_rule": detector.threshold_rule_,
        "threshold": detector.threshold_,
        "n_train": detector.n_train_,
        "n_features": detector.n_features_in_,
        "columns": detector.columns_,
        "columns_spec": detector.columns,
        "encoding": detector.inputs_.encoding.maps,
        "table_form": detector.table_form_,
        "fitted_with_names": hasattr(detector, "feature_names_in_"),
        "float_type": detector.float_type_,
        "weights_sha256": weights_sha256,
    }
    description = SavedDetector(**values, checksum="")
    return description.model_copy(update={"checksum": checksum_of(_plain(description))})


def _plain(description: SavedDetector) -> dict[str, Any]:
    # JSON has no infinities, and a threshold can be infinite where the support of a density ends.
    return description.model_dump(mode="json") | {"threshold": repr(description.threshold)}


def _as_json(description: SavedDetector) -> str:
    return json.dumps(_plain(description), indent=2, allow_nan=False) + "\n"


def _read_description(file: Path, kinds: Mapping[str, type]) -> SavedDetector:
    values = read_json(file)
    require_format(values, file, FORMAT_VERSION)
    description = parse_spec(SavedDetector, values, str(file))
    if description.detector not in kinds:
        raise InputError(f"{file}: detector = {description.detector!r}: expected one of {', '.join(kinds)}")
    if checksum_of(values) != description.checksum:
        raise InputError(f"{file} is damaged: it was changed after it was written, its checksum does not match")
    if len(description.columns) != description.n_features:
        raise InputError(
            f"{file}: columns = {list(description.columns)!r:.80}: expected {description.n_features} names"
        )
    require_distinct(description.columns, f"{file}: columns:")
    parts = {"encoding": description.encoding}
    if description.table_form is not None:
        parts["table_form"] = description.table_form.columns
    for part, entries in parts.items():
        if tuple(column.name for column in entries) != description.columns:
            each = f"expected one entry for each of {description.n_features} columns, in order"
            raise InputError(f"{file}: {part}: {each}")
    try:
        (description.columns_spec or ColumnsSpec()).require_known(description.columns)
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None
    if (description.calibration_folds or 0) > description.n_train:
        rows = counted(description.n_train, "row")
        raise InputError(
            f"{file}: calibration_folds = {description.calibration_folds}: expected at most one for each of {rows}"
        )
    if math.isnan(description.threshold):
        raise InputError(f"{file}: threshold = nan: expected a number, or an infinity")
    return description


def _arrays(detector: Any) -> dict[str, np.ndarray]:
    arrays = {f"model.{name}": array for name, array in state_arrays(detector.model_).items()}
    arrays |= {f"preprocessing.{name}": array for name, array in detector.preprocessing_.arrays().items()}
    if detector.inputs_.imputer is not None:
        arrays |= {f"missing.{name}": array for name, array in detector.inputs_.imputer.arrays().items()}
    arrays |= {f"history.{name}": array for name, array in history_arrays(detector.history_).items()}
    arrays |= {f"reasons.{name}": array for name, array in reasons_arrays(detector).items()}
    arrays["calibration.scores"] = detector.calibration_scores_
    if detector.calibration_labels_ is not None:
        arrays["calibration.labels"] = detector.calibration_labels_
    return arrays


def _unfitted(description: SavedDetector, kind: Any, file: Path) -> Any:
    parameters: dict[str, Any] = {
        "model": description.model,
        "columns": description.columns_spec,
        "preprocessing": None if description.preprocessing == DEFAULT_STEPS else description.preprocessing,
        "threshold": description.threshold_rule,
        "calibration_fraction": description.calibration_fraction,
        "calibration_folds": description.calibration_folds,
        "random_state": description.random_state,
    }
    detector: Any = kind()
    if "train" in detector.get_params(deep=False):
        parameters |= {"train": description.train, "validation_fraction": description.validation_fraction}
    detector.set_params(**parameters)
    try:
        description.model.require_imported()
        checked_parameters(detector, detector._model_spec())
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    return detector


def _restore(detector: Any, description: SavedDetector, arrays: dict[str, np.ndarray]) -> None:
    parts: dict[str, dict[str, np.ndarray]] = {name: {} for name in PARTS}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise InputError(f"the array {name:.80} belongs to no part of a detector")
        parts[part][rest] = array

    encoding = Encoding(description.encoding, (description.columns_spec or ColumnsSpec()).missing)
    preprocessing = Preprocessing.from_arrays(description.preprocessing, parts["preprocessing"], len(encoding.sources))
    inputs = Inputs(encoding, preprocessing)
    if encoding.missing == "model":
        inputs = replace(inputs, imputer=Imputer.restored(parts["missing"], inputs.dim))
    elif parts["missing"]:
        raise InputError("there are arrays for missing values, but the detector refuses them or has their medians")
    detector.inputs_ = inputs
    detector.model_spec_ = description.model
    detector.float_type_ = description.float_type
    with floats_of(description.float_type):
        require_planned(description.model.planned(inputs.dim), parts["model"])
        detector.model_ = built(description.model, inputs.dim)
        restore_state(detector.model_, parts["model"])
    detector.history_ = restored_history(parts["history"])
    detector.contamination_, detector.doubts_ = None, ()  # a warning is given once, to whoever fits
    detector.n_train_ = description.n_train
    detector.n_features_in_ = description.n_features
    detector.columns_ = description.columns
    detector.table_form_ = description.table_form or TableForm.plain(description.encoding)
    if description.fitted_with_names:
        detector.feature_names_in_ = np.asarray(description.columns, dtype=object)
    restore_reasons(detector, parts["reasons"])
    detector.calibration_scores_, detector.calibration_labels_ = _calibration(parts["calibration"])
    detector.calibration_source_ = description.calibration_source
    detector.threshold_rule_ = description.threshold_rule
    detector.threshold_ = description.threshold
    detector.offset_ = -description.threshold


def _calibration(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """The scores and, if there are any, the labels of the calibration rows."""
    if "scores" not in arrays:
        raise InputError("the array calibration.scores is missing")
    scores, labels = arrays["scores"], arrays.get("labels")
    if scores.ndim != 1 or not scores.size or scores.dtype != np.float64 or np.isnan(scores).any():
        raise InputError(
            f"the array calibration.scores is {scores.dtype}{list(scores.shape)}, expected float64, one number a row"
        )
    if labels is not None and (
        labels.shape != scores.shape or labels.dtype != np.int64 or not np.isin(labels, (0, 1)).all()
    ):
        raise InputError(
            f"the array calibration.labels is {labels.dtype}{list(labels.shape)}, expected int64, 0 or 1 for each score"
        )
    if unknown := arrays.keys() - {"scores", "labels"}:
        raise InputError(f"the array calibration.{min(unknown):.80} belongs to no part of a detector")
    return scores, labels
