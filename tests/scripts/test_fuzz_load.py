"""Saved models in which anything may have been changed: they load and score, or are refused in one sentence.

Their checksums fit, as whoever changes a file can make them. `JAXFLOW_FUZZ=50` tries fifty times as many, others each
time; nothing may take more than ten times what the files have and 300 MB, or ten seconds.
"""

import copy
import json
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save as pack

from jaxflow.data import ColumnsSpec
from jaxflow.detection import GaussianDetector, Percentile, load
from jaxflow.errors import InputError
from jaxflow.models import GaussianMixtureSpec
from tests.detection.storage.mutated_models import places, with_value, write
from tests.detection.storage.test_hostile_models import Saved
from tests.trials import counted, inputs, limited

TABLE = pa.table(
    {
        "place": ["a", "b", "c"] * 20,
        "hour": np.random.default_rng(0).uniform(0, 24, 60),
        "heavy": np.exp(np.random.default_rng(1).normal(size=60)),
        "load": np.random.default_rng(2).normal(size=60),
        "step": [0.0, 1.0, np.pi, 40.0] * 15,
        "count": np.random.default_rng(3).poisson(3, 60).astype(float),
    }
)
COLUMNS = ColumnsSpec.model_validate(
    {
        "types": {
            "hour": {"kind": "circular", "period": 24},
            "heavy": {"tails": "rank_gaussian"},
            "load": {"tails": "arcsinh"},
        },
        "missing": "median",
    }
)
HOW: dict[str, Any] = {"columns": COLUMNS, "threshold": Percentile(percentile=50), "calibration_folds": 0}
DETECTORS = {
    "gaussian": GaussianDetector(**HOW),
    "mixture": GaussianDetector(GaussianMixtureSpec(components=2), **HOW),
}

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-3, 3),
    st.integers(-(10**30), 10**30),
    st.sampled_from([5e-324, 2.3e-308, 1e-300, 1e300, 1.7e308, -1.7e308, 10**18, 1 << 53, 10**400]),
)
TEXTS = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["\ud800", "\0", "\x1b[2J", "../..", "x" * 100_000, "load", "nan", "inf", "1e9"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
DTYPES = ["BOOL", "U8", "I8", "F8_E4M3", "F16", "BF16", "I32", "F32", "F64", "I64", "U64", "C64", "object", "", 7]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for name, detector in DETECTORS.items():
        detector.fit(TABLE).save(folder / name)
        load(folder / name).anomaly_score(TABLE)
    return folder


def check(place) -> bool:
    """Whether the model loads; it then scores rows, and otherwise is refused in a sentence."""
    with limited("load", sum(file.stat().st_size for file in place.iterdir())):
        try:
            detector = load(place)
        except InputError as error:
            sentence = str(error)
            assert sentence.isprintable()
            assert len(sentence) < 2000
            loaded = False
        else:
            loaded = True
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with suppress(InputError):  # its columns may have other names
                    assert not np.isnan(detector.anomaly_score(TABLE)).any()
    counted("load", 1, not loaded)
    return loaded


@st.composite
def changed_descriptions(draw, description):
    """A description in which values are others, or keys are gone, renamed, or more."""
    changed = copy.deepcopy(description)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 5]))):
        found = [place for place in places(changed) if place[0] not in ("checksum", "weights_sha256")]
        place = draw(st.sampled_from(found))
        kind = draw(st.sampled_from(["value", "value", "number", "like", "gone", "renamed", "more", "repeated"]))
        if kind in ("value", "number"):
            changed = with_value(changed, place, draw(VALUES if kind == "value" else NUMBERS))
        elif kind == "like":  # what stands elsewhere in it
            other = draw(st.sampled_from(found))
            taken: Any = changed
            for key in other:
                taken = taken[key]
            changed = with_value(changed, place, copy.deepcopy(taken))
        else:
            around: Any = changed
            for key in place[:-1]:
                around = around[key]
            value = around[place[-1]]
            if isinstance(around, dict):
                if kind != "repeated":
                    del around[place[-1]]
                if kind != "gone":
                    around[draw(TEXTS)] = value
            elif kind == "gone":
                del around[place[-1]]
            else:
                around += [copy.deepcopy(value)] * draw(st.sampled_from([1, 2, 1000]))
    return changed


@inputs(40)
@given(st.sampled_from(sorted(DETECTORS)), st.data())
def test_changed_descriptions(originals, tmp_path, name, data):
    saved = Saved(originals / name)
    changed = data.draw(changed_descriptions(saved.description))
    changed.setdefault("format_version", 3)
    check(write(tmp_path / "model", changed, saved.weights))


@st.composite
def changed_arrays(draw, arrays):
    """Arrays of which some are of another shape, type or name, or hold other numbers."""
    arrays = dict(arrays)
    for _ in range(draw(st.sampled_from([1, 1, 1, 3]))):
        name = draw(st.sampled_from(sorted(arrays)))
        array = arrays.pop(name)
        kind = draw(st.sampled_from(["numbers", "numbers", "scaled", "type", "shape", "name", "longer", "gone"]))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "numbers":
                value = draw(st.one_of(st.floats(), st.sampled_from([5e-324, 1e-310, 1e308, -1e308, 0.0, -1.0, 1e18])))
                array = np.where(np.arange(array.size).reshape(array.shape) % 2 == 0, value, array).astype(array.dtype)
            elif kind == "scaled":
                array = (array * draw(st.sampled_from([0.0, -1.0, 1e-300, 1e30, 1e300]))).astype(array.dtype)
            elif kind == "type":
                array = array.astype(draw(st.sampled_from(["?", "i1", "u8", "f2", "f4", "f8", "i4", "i8"])))
            elif kind == "shape":
                array = draw(st.sampled_from([array[None], array.ravel(), array[:0], array.T, array.ravel()[:1]]))
            elif kind == "longer" and array.ndim:
                array = np.concatenate([array] * draw(st.sampled_from([2, 100])))
        if kind == "name":
            name = draw(st.one_of(TEXTS.filter(lambda text: text != "\ud800"), st.sampled_from(sorted(arrays))))
        if kind != "gone":
            arrays[name] = np.asarray(array, order="C")
    return arrays


@inputs(40)
@given(st.sampled_from(sorted(DETECTORS)), st.data())
def test_changed_arrays(originals, tmp_path, name, data):
    saved = Saved(originals / name)
    arrays = data.draw(changed_arrays(saved.arrays))
    check(write(tmp_path / "model", saved.description, pack(arrays)))


@inputs(40)
@given(st.sampled_from(sorted(DETECTORS)), st.data())
def test_changed_headers(originals, tmp_path, name, data):
    saved, draw = Saved(originals / name), data.draw
    header: Any = saved.header
    places = [entry["data_offsets"] for entry in header.values() if "data_offsets" in entry]
    for _ in range(draw(st.integers(1, 3))):
        entry = header[draw(st.sampled_from(sorted(header)))]
        key = draw(st.sampled_from(["dtype", "shape", "data_offsets", "offset", "other"]))
        sizes = st.one_of(st.integers(-2, 100), st.integers(-(10**30), 10**30))
        if key == "dtype":
            entry["dtype"] = draw(st.sampled_from(DTYPES))
        elif key == "offset":
            entry["data_offsets"] = [offset + draw(st.integers(-8, 8)) for offset in draw(st.sampled_from(places))]
        elif key == "other":
            entry[draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))] = draw(VALUES)
        else:
            entry[key] = draw(st.lists(sizes, max_size=4))
        if draw(st.booleans()):
            header[draw(TEXTS)] = header.pop(draw(st.sampled_from(sorted(header))))
        header = {key: value for key, value in header.items() if isinstance(value, dict)}
    length = draw(st.one_of(st.none(), st.none(), st.integers(0, 10**4), st.integers(0, 2**64 - 1)))
    saved.with_header(json.dumps(header).encode(), length)
    check(write(tmp_path / "model", saved.description, saved.weights))


@inputs(40)
@given(st.sampled_from(sorted(DETECTORS)), st.booleans(), st.data())
def test_damaged_bytes(originals, tmp_path, name, of_weights, data):
    saved, draw = Saved(originals / name), data.draw
    place = write(tmp_path / "model", saved.description, saved.weights)
    file = place / ("weights.safetensors" if of_weights else "detector.json")
    damaged = bytearray(file.read_bytes())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(damaged)))
        end = start + draw(st.integers(0, 20))
        damaged[start:end] = draw(
            st.one_of(st.binary(max_size=20), st.sampled_from([b"[" * 10**5, b"9" * 10**4, b"\xff"]))
        )
    if draw(st.booleans()):
        del damaged[draw(st.integers(0, len(damaged))) :]
    if of_weights:
        write(place, saved.description, bytes(damaged))
    else:
        file.write_bytes(damaged)
    check(place)


def test_both_ends_are_reached(originals, tmp_path):
    saved = Saved(originals / "gaussian")
    assert check(write(tmp_path / "model", saved.description, saved.weights))
    assert not check(write(tmp_path / "model", saved.description | {"n_train": 0}, saved.weights))
