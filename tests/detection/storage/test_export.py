"""Exported detectors score as the detectors do, in a process where next to nothing of this project can be imported."""

import hashlib
import json
import subprocess
import sys
import zipfile
from typing import Any

import jax
import jax.export
import jaxtyping
import numpy as np
import pyarrow as pa
import pytest
from flax import nnx
from sklearn.exceptions import NotFittedError

from jaxflow.bijectors import Bijector
from jaxflow.data import ColumnsSpec
from jaxflow.detection import AutoencoderDetector, FlowDetector, GaussianDetector, GivenThreshold, Percentile
from jaxflow.detection.scoring.table_encoder import NEVER_SEEN
from jaxflow.detection.storage import export
from jaxflow.detection.storage.export import exported_program
from jaxflow.errors import InputError
from jaxflow.models import (
    CNF,
    MAF,
    AutoEncoderSpec,
    EnsembleSpec,
    Flow,
    GaussianMixtureSpec,
    KernelDensitySpec,
    PrincipalComponentsSpec,
    StandardNormal,
    VariationalAutoEncoderSpec,
)
from jaxflow.training import FitSpec
from tests.detection.conftest import make_rows
from tests.models.small_committee import SMALL_COMMITTEE

TRAIN = FitSpec(epochs=2, batch_size=64)
HOW: dict[str, Any] = {"threshold": Percentile(percentile=90), "calibration_folds": 0}
SIZES = (1, 7, 1000)
MAPS = ColumnsSpec.model_validate(
    {
        "types": {
            "hour": {"kind": "circular", "period": 24},
            "angle": {"kind": "circular", "period": 360},
            "heavy": {"tails": "rank_gaussian"},
            "load": {"tails": "arcsinh"},
        },
        "context": ["hour", "room"],
        "missing": "median",
    }
)
NO_CONTEXT = MAPS.model_copy(update={"context": ()})
FLOW = MAF(layers=2, hidden=(8,))
TAIL = EnsembleSpec(member=FLOW, members=2, combination="tail")
DETECTORS: dict[str, Any] = {
    "flow": FlowDetector(FLOW, columns=MAPS, train=TRAIN, **HOW),
    "ensemble": FlowDetector(
        EnsembleSpec(member=FLOW, members=2, combination="tail"), columns=MAPS, train=TRAIN, **HOW
    ),
    "gaussian": GaussianDetector(columns=MAPS, **HOW),
    "mixture": GaussianDetector(GaussianMixtureSpec(components=2), columns=NO_CONTEXT, **HOW),
    "autoencoder": AutoencoderDetector(AutoEncoderSpec(hidden=(8,)), columns=MAPS, train=TRAIN, **HOW),
    "kernel": GaussianDetector(KernelDensitySpec(rows=50), columns=NO_CONTEXT, **HOW),
    "committee": FlowDetector(SMALL_COMMITTEE, columns=NO_CONTEXT, train=TRAIN, **HOW),
    "vae": AutoencoderDetector(VariationalAutoEncoderSpec(hidden=(8,)), columns=MAPS, train=TRAIN, **HOW),
    "importance": AutoencoderDetector(
        VariationalAutoEncoderSpec(hidden=(8,), score="importance"), columns=MAPS, train=TRAIN, **HOW
    ),
    "pca": GaussianDetector(PrincipalComponentsSpec(), columns=NO_CONTEXT, **HOW),
    "distance": GaussianDetector(PrincipalComponentsSpec(score="mahalanobis"), columns=NO_CONTEXT, **HOW),
}

# What is imported by a process that has `jax` and what that needs.
ALONE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
            "jaxflow", "tests", "flax", "distrax", "optax", "orbax", "tensorflow_probability", "jaxtyping", "beartype",
            "pydantic", "sklearn", "pyarrow", "safetensors", "diffrax", "equinox", "matplotlib", "yaml", "pandas",
        }:
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
"""
SCORE_ALL = """
import glob, zipfile
import jax, jax.export, numpy as np

assert str(jax.numpy.result_type(float)) == "float32"
for path in glob.glob("*.zip"):
    with zipfile.ZipFile(path) as file:
        call = jax.jit(jax.export.deserialize(bytearray(file.read("program"))).call)
    rows, answers = np.load(path.replace("zip", "npy")), {}
    for size in SIZES:
        with jax.enable_x64(True):
            found = jax.device_get(call(rows[:size]))
        answers |= {f"{size}.{name}": values for name, values in found.items()}
    np.savez(path.replace("zip", "npz"), **answers)
"""


def alone(program: str, folder) -> str:
    """What a program prints in a process that cannot import this project."""
    command = [sys.executable, "-W", "error", "-c", ALONE + program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plant(seed=0, n=300):
    """A column for every map: numbers far from 0, heavy tails, levels, counts, texts, angles, gaps, a constant."""
    rng = np.random.default_rng(seed)
    hour = rng.uniform(0, 24, n)
    load = 10 * np.sin(2 * np.pi * hour / 24) + rng.normal(size=n)
    return pa.table(
        {
            "place": rng.choice(["north", "south", "east"], n),
            "room": rng.choice(["a", "b"], n),
            "hour": hour,
            "angle": rng.vonmises(2, 3, n) * 180 / np.pi,
            "load": load,
            "heavy": np.exp(2 * rng.normal(size=n)),
            "alarms": rng.poisson(2, n).astype(float),
            "step": rng.choice([0.0, 1.0, np.pi, 40.0], n),
            "version": np.full(n, 7.0),
            "time": 1.7e9 + rng.normal(size=n),
            "temperature": pa.array(np.where(rng.random(n) < 0.2, np.nan, load + rng.normal(size=n)), from_pandas=True),
        }
    )


def odd(codes):
    """Some rows with gaps where there were none, categories of none, values far out and another constant."""
    codes, rng = codes.copy(), np.random.default_rng(0)
    some = rng.random(codes.shape) < 0.03
    codes[some] = rng.choice([np.nan, -1.0, 8.0, 0.5, 1e6, -1e300], some.sum())
    texts = codes[:, :2]
    texts[~np.isin(texts, (0.0, 1.0, 2.0)) & ~np.isnan(texts)] = -1.0
    return codes


def answers_of(detector, codes):
    with jax.enable_x64(True):
        return jax.device_get(exported_program(detector).call(codes))


@pytest.fixture(scope="module", autouse=True)
def _shapes_unchecked():
    """jaxtyping cannot broadcast a number of rows that is a symbol."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def fitted():
    return {name: detector.fit(plant()) for name, detector in DETECTORS.items()}


@pytest.fixture(scope="module")
def exported(fitted, tmp_path_factory):
    """A folder with all detectors exported, rows, and the answers that a process with JAX alone gave."""
    folder = tmp_path_factory.mktemp("exported")
    for name, detector in fitted.items():
        detector.export(folder / f"{name}.zip")
        np.save(folder / f"{name}.npy", odd(detector.codes(plant(1, max(SIZES)))))
    alone(SCORE_ALL.replace("SIZES", str(SIZES)), folder)
    return folder


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", DETECTORS)
def test_jax_alone_gives_the_answers_of_the_detector(exported, fitted, name):
    detector, rows = fitted[name], np.load(exported / f"{name}.npy")
    answers = np.load(exported / f"{name}.npz")
    scores = detector.scores_of_rows(rows)
    assert 100 < (scores > NEVER_SEEN / 2).sum() < 900
    assert np.isfinite(scores).sum() > 900
    for size in SIZES:
        found = answers[f"{size}.score"]
        assert found.dtype == answers[f"{size}.p_value"].dtype == np.float64
        np.testing.assert_allclose(found, scores[:size], rtol=2e-5, atol=2e-5)
        clear = ~np.isclose(scores[:size], detector.threshold_, rtol=1e-4, atol=1e-4)
        expected = scores[:size] > detector.threshold_
        np.testing.assert_array_equal(answers[f"{size}.anomaly"][clear], expected[clear])
        # Rounding may carry a score past one of the calibration scores.
        step = 1.01 / (len(detector.calibration_scores_) + 1)
        p_values = answers[f"{size}.p_value"]
        np.testing.assert_allclose(p_values, detector._p_values_of_scores(scores[:size]), atol=step)
        # To the last digit they are whole numbers of steps.
        steps = p_values * (len(detector.calibration_scores_) + 1)
        np.testing.assert_allclose(steps, np.round(steps), rtol=1e-14)


def test_the_file_says_what_goes_in_and_what_made_it(exported, fitted):
    with zipfile.ZipFile(exported / "gaussian.zip") as file:
        assert file.namelist() == ["detector.json", "program"]
        about, program = json.loads(file.read("detector.json")), file.read("program")
    assert about["program_sha256"] == hashlib.sha256(program).hexdigest()
    restored = jax.export.deserialize(bytearray(program))
    assert about["platforms"] == list(restored.platforms) == ["cpu", "cuda", "tpu"]
    assert about["calling_convention_version"] == restored.calling_convention_version
    assert about["jax_version"] == jax.__version__
    assert [column["name"] for column in about["columns"]] == plant().column_names
    assert about["columns"][0] == {
        "name": "place",
        "kind": "categorical",
        "holds": "categorical, 3 categories",
        "context": False,
        "categories": ["east", "north", "south"],
    }
    assert {column["kind"] for column in about["columns"]} == {
        *("categorical", "circular", "arcsinh", "rank_gaussian", "discrete", "levels", "continuous")
    }
    assert (about["model"], about["float_type"], about["missing"]) == ("gaussian", "float32", "median")
    assert about["threshold"] == fitted["gaussian"].threshold_


def test_the_program_names_no_file_or_folder_of_this_machine(exported):
    with zipfile.ZipFile(exported / "gaussian.zip") as file:
        assert b".py" not in file.read("program")


@pytest.mark.end_to_end
def test_the_code_in_the_documentation_does_what_it_says(tmp_path):
    x = make_rows(0, 100)
    detector = GaussianDetector(columns=ColumnsSpec(missing="median"), **HOW).fit(x)
    detector.export(tmp_path / "detector.zip")
    code = documented_code()
    show = "print(json.dumps({name: values.tolist() for name, values in answers.items()}))"
    answers = json.loads(alone("\n".join([*code, show]), tmp_path).splitlines()[-1])
    asked = np.array([[0.5, 7.0, 1.0], [0.1, np.nan, 0.0]])
    np.testing.assert_allclose(answers["score"], detector.anomaly_score(asked), rtol=1e-5)
    np.testing.assert_array_equal(answers["anomaly"], detector.predict(asked) == -1)
    np.testing.assert_allclose(answers["p_value"], detector.p_values(asked))


def documented_code() -> list[str]:
    """The code in the module's documentation."""
    return [line[4:] for line in (export.__doc__ or "").splitlines() if line.startswith("    ") or not line]


def test_the_code_in_the_documentation_runs_no_program_that_was_changed(tmp_path, monkeypatch):
    about = {"columns": [], "program_sha256": hashlib.sha256(b"a program").hexdigest()}
    with zipfile.ZipFile(tmp_path / "detector.zip", "w") as file:
        file.writestr("detector.json", json.dumps(about))
        file.writestr("program", b"another program")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jax.export, "deserialize", lambda _: pytest.fail("the program was read"))
    with pytest.raises(SystemExit, match="its program is not the one that was written"):
        exec("\n".join(documented_code()), {})


def test_rows_that_the_detector_refuses_have_no_score_and_are_anomalies():
    x = make_rows(0, 200)
    detector = GaussianDetector(**HOW).fit(x)
    asked = x[:4].copy()
    asked[1, 0], asked[2, 1], asked[3, 2] = np.nan, np.inf, 1e300
    answers = answers_of(detector, asked)
    np.testing.assert_array_equal(np.isnan(answers["score"]), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(answers["p_value"]), [False, True, True, False])
    np.testing.assert_array_equal(answers["anomaly"][1:], True)
    np.testing.assert_allclose(answers["score"][[0, 3]], detector.anomaly_score(asked[[0, 3]]), rtol=1e-5)


def test_what_is_the_place_of_no_category_was_never_seen(fitted):
    detector = fitted["gaussian"]
    codes = np.repeat(detector.codes(plant(1, 1)), 5, axis=0)
    codes[1:, 0] = [-1.0, 3.0, 0.5, -7.0]
    scores = answers_of(detector, codes)["score"]
    np.testing.assert_allclose(scores[1:], detector.scores_of_rows(codes[1:2])[0], rtol=1e-9)
    assert scores[1] > scores[0] + NEVER_SEEN / 2


def test_double_precision_stays_double():
    x = make_rows(0, 200)
    with jax.enable_x64(True):
        detector = GaussianDetector(**HOW).fit(x)
    expected = detector.anomaly_score(x)
    np.testing.assert_allclose(answers_of(detector, x)["score"], expected, rtol=1e-12)


def test_an_infinite_threshold_can_be_read(tmp_path):
    detector = GaussianDetector(threshold=GivenThreshold(value=0.0)).fit(make_rows(0, 100))
    detector.threshold_ = np.inf
    detector.export(tmp_path / "detector.zip")
    with zipfile.ZipFile(tmp_path / "detector.zip") as file:
        assert float(json.loads(file.read("detector.json"))["threshold"]) == np.inf


class CountsRows(Bijector):
    """A layer that wants to know how many rows there are."""

    def inverse_and_log_det(self, x, context=None):
        """Not the same for two rows as for three."""
        return x + (len(x) > 2), 0 * x[..., 0]

    def forward_and_log_det(self, z, context=None):
        """The same, which it is not asked for."""
        return self.inverse_and_log_det(z, context)


def test_what_cannot_be_exported_is_refused_and_nothing_written(tmp_path, monkeypatch):
    x, path = make_rows(0, 60), tmp_path / "detector.zip"
    with pytest.raises(NotFittedError):
        GaussianDetector().export(path)
    filling = GaussianDetector(columns=ColumnsSpec(missing="model"), **HOW).fit(x)
    with pytest.raises(InputError, match=r"^columns\.missing = model: a detector that averages .* expected refuse"):
        filling.export(path)
    detector = GaussianDetector(**HOW).fit(x)
    model = detector.model_
    detector.model_ = CNF(hidden=(2,)).build(3, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"^a continuous flow cannot be exported: the solver .* calls back into"):
        detector.export(path)
    detector.model_ = Flow(StandardNormal(3), CountsRows())
    with pytest.raises(InputError, match=r"^this Flow cannot be exported .* any number of rows .*'_DimExpr' object"):
        detector.export(path)
    detector.model_ = model
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"flatbuffers, which is not installed: pip install jaxflow\[export\]"):
        detector.export(path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    detector, path = GaussianDetector(**HOW).fit(make_rows(0, 60)), tmp_path / "detector.zip"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(InputError, match=r"detector\.zip cannot be written: No space left on device"):
        detector.export(path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
