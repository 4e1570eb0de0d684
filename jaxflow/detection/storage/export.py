"""A fitted detector as one file that scores without jaxflow: what `jax.export` makes of it, and its description.

The file is a zip of `program`, the serialized program (StableHLO with all constants in it, for any number of rows, for
CPUs, CUDA and TPUs), and `detector.json`, which says what goes in and what comes out. To score with it takes JAX, numpy
and flatbuffers, with which JAX reads and writes such programs, and nothing else:

    import hashlib, json, zipfile
    import jax, jax.export, numpy as np

    with zipfile.ZipFile("detector.zip") as file:
        about, program = json.loads(file.read("detector.json")), file.read("program")
    if hashlib.sha256(program).hexdigest() != about["program_sha256"]:
        raise SystemExit("detector.zip is damaged: its program is not the one that was written")
    score = jax.jit(jax.export.deserialize(bytearray(program)).call)

    columns = [column["name"] for column in about["columns"]]
    rows = np.array([[0.5, 7.0, 1.0], [0.1, np.nan, 0.0]])  # one column for each of these, in their order
    with jax.enable_x64(True):  # the program takes float64; all else in the process may stay with float32
        answers = jax.device_get(score(rows))
    print(answers["score"], answers["anomaly"], answers["p_value"])

Run only what you have exported yourself, or what comes from somebody whose programs you would run: unlike a saved
detector, whose files are data, this is a program, and JAX runs whatever it says. The hash finds a file that was damaged
or changed in part; whoever makes the whole file makes the hash as well. Keep a hash of the whole file elsewhere if it
passes through hands of others.

A column of numbers takes them as they are. A column with "categories" takes the place of the category in that list,
counted from 0, and -1 for every other; as jaxflow reads them, a text and the same text with blanks around it are one
category, and a number is the one that is written like it: 3 and 3.0 are "3". A missing value is NaN.

All that lies around the model is computed in float64, so that a large offset of a column costs no digits. (TPUs have no
float64 of their own and imitate it.) A program is compiled anew for each number of rows, of which there must be one at
least: give it batches of one size, padded with any rows.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.export import Exported, export, symbolic_shape
from jaxtyping import Array, Bool, Float64
from sklearn.utils.validation import check_is_fitted

from jaxflow.atomic_write import replacing
from jaxflow.bijectors import NeuralODE
from jaxflow.data.columns.discrete_maps import UNSEEN, Categorical
from jaxflow.data.encoding import Encoding
from jaxflow.detection.scoring.row_scorer import counted_grid, table_scores
from jaxflow.detection.scoring.score_in_chunks import within_reach
from jaxflow.detection.scoring.table_encoder import Inputs
from jaxflow.errors import InputError
from jaxflow.models.model import Model
from jaxflow.networks.matmul_precision import exact_products
from jaxflow.training.engine.precision import floats_of

FORMAT_VERSION = 1
PLATFORMS = ("cpu", "cuda", "tpu")
DESCRIPTION, PROGRAM = "detector.json", "program"


def export_detector(detector: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted detector to one file that scores without jaxflow; the module's docstring says how.

    For each row the program gives `score`, `anomaly` (score above the threshold) and `p_value`, as `anomaly_score`,
    `predict` and `p_values` do, up to rounding. A row that these refuse, as it holds an infinity or lacks a value where
    that is not allowed, has the score and the p-value NaN and is an anomaly.

    Raises:
        NotFittedError: if the detector is not fitted.
        InputError: if flatbuffers is not installed, the detector cannot be exported (its model fills gaps, as
            columns.missing = model asks for; it has a continuous flow, whose solver calls Python; it has a layer of
            your own that needs to know the number of rows), or `path` cannot be written.
    """
    check_is_fitted(detector, "threshold_")
    if find_spec("flatbuffers") is None:
        raise InputError("programs are written with flatbuffers, which is not installed: pip install jaxflow[export]")
    if detector.inputs_.imputer is not None:
        raise InputError(
            "columns.missing = model: a detector that averages over draws for what is missing cannot be exported, "
            "expected refuse or median"
        )
    program = exported_program(detector)
    serialized = bytes(program.serialize())
    description = _description(detector, program, hashlib.sha256(serialized).hexdigest())
    text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(DESCRIPTION, text)
        file.writestr(PROGRAM, serialized)


def exported_program(detector: Any) -> Exported:
    """From codes, float64 (rows, columns), to a dict of `score`, `anomaly` and `p_value`.

    Raises:
        InputError: if the model cannot be exported.
    """
    model = _exported_model(detector.model_, detector.inputs_, detector.float_type_)
    inputs, grid = detector.inputs_, counted_grid(detector.model_)

    def answers(x: Float64[Array, "n columns"]) -> dict[str, Array]:
        x, usable = _usable(inputs.encoding, x)
        scores = jnp.where(usable, _scores(model, inputs, grid, x), jnp.nan)
        return {
            "score": scores,
            "anomaly": ~(scores <= detector.threshold_),
            "p_value": jnp.where(usable, detector._p_values_of_scores(scores), jnp.nan),
        }

    with jax.enable_x64(True), _no_source_files():
        (rows,) = symbolic_shape("rows")
        x = jax.ShapeDtypeStruct((rows, len(inputs.encoding.maps)), np.float64)
        return export(jax.jit(answers), platforms=PLATFORMS)(x)


def _exported_model(model: Model, inputs: Inputs, float_type: str) -> Exported:
    """The model's `score` by itself: it is traced with the default float type with which it was fitted."""
    if any(isinstance(module, NeuralODE) for _, module in nnx.iter_modules(model)):
        raise InputError("a continuous flow cannot be exported: the solver of its equation calls back into Python")
    graph, state = nnx.split(model)

    def score(rows: Array, context: Array | None) -> Array:
        with exact_products():
            return nnx.merge(graph, state).score(rows, context)

    with floats_of(float_type), _no_source_files():
        (rows,) = symbolic_shape("rows")
        z, context = (jax.ShapeDtypeStruct((rows, dim), float_type) for dim in (inputs.dim, inputs.context_dim))
        try:
            return export(jax.jit(score), platforms=PLATFORMS)(z, context if inputs.context_dim else None)
        except Exception as error:
            # A layer of the user's may do anything: look at the number of rows, call Python, draw numbers.
            reason = (str(error).splitlines() or [""])[0]
            raise InputError(
                f"this {type(model).__name__} cannot be exported as a program for any number of rows on "
                f"{', '.join(PLATFORMS)} ({type(error).__name__}: {reason:.200})"
            ) from error


@contextmanager
def _no_source_files() -> Iterator[None]:
    """Programs made in here do not say which lines of which files, in which folders, they come from."""
    frames = "jax_traceback_in_locations_limit"
    before = jax.config.values[frames]
    jax.config.update(frames, 0)
    try:
        yield
    finally:
        jax.config.update(frames, before)


def _usable(encoding: Encoding, x: Float64[Array, "n columns"]) -> tuple[Float64[Array, "n columns"], Bool[Array, "n"]]:
    """Rows with `UNSEEN` for what is the place of no category, and which of them `Encoding.codes` would not refuse."""
    refused = jnp.isinf(x) if encoding.missing != "refuse" else ~jnp.isfinite(x)
    sizes = np.array([len(column.categories) if isinstance(column, Categorical) else 0 for column in encoding.maps])
    place = (x >= 0) & (x < sizes) & (x == jnp.floor(x))
    return jnp.where((sizes == 0) | place | jnp.isnan(x), x, UNSEEN), ~refused.any(axis=1)


def _scores(
    model: Exported, inputs: Inputs, grid: Bool[np.ndarray, "dim"] | None, x: Float64[Array, "n columns"]
) -> Float64[Array, "n"]:
    """`RowScorer` in a program; `grid` is the model's `counted_grid`."""
    z, context = inputs.model_rows(x)
    float_type = model.in_avals[0].dtype
    rows, given = (None if part is None else within_reach(part, float_type).astype(float_type) for part in (z, context))
    scores = model.call(rows, given).astype(x.dtype)
    # As in `score_rows`: what overflows on its way through the model is infinitely far.
    return table_scores(jnp.where(jnp.isnan(scores), jnp.inf, scores), inputs, grid, x)


def _description(detector: Any, program: Exported, program_sha256: str) -> dict[str, Any]:
    """Return the content of `detector.json`."""
    encoding, threshold = detector.inputs_.encoding, float(detector.threshold_)
    columns = []
    for name, column, (_, holds) in zip(detector.columns_, encoding.maps, detector.inputs_.describe(), strict=True):
        columns.append({"name": name, "kind": column.kind, "holds": holds, "context": column.context})
        if isinstance(column, Categorical):
            columns[-1]["categories"] = list(column.categories)
    return {
        "format": "jaxflow export",
        "format_version": FORMAT_VERSION,
        "jaxflow_version": version("jaxflow"),
        "jax_version": jax.__version__,
        "calling_convention_version": program.calling_convention_version,
        "platforms": list(program.platforms),
        "program_sha256": program_sha256,
        "detector": type(detector).__name__,
        "model": detector.model_spec_.kind,
        "float_type": detector.float_type_,  # of the model; what goes in and comes out is float64
        "columns": columns,
        "missing": encoding.missing,
        # JSON has no infinities: these are texts, which float() reads as well.
        "threshold": threshold if np.isfinite(threshold) else repr(threshold),
        "threshold_rule": detector.threshold_rule_.model_dump(mode="json"),
        "calibration_rows": len(detector.calibration_scores_),
    }
