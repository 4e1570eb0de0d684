import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from jaxflow.commands.verbs import VERBS
from jaxflow.data import DataSpec, SplitSpec, load_dataset, split_dataset
from jaxflow.data.tables.frame import as_frame
from jaxflow.detection import Detector, GaussianDetector, load

ROOT = Path(__file__).parents[2]
FEATURES = ("speed", "weight", "heat")
CONFIG = """\
title: Machines
seed: 3
data: {{path: {table}}}
model: {{kind: maf, hidden: [16]}}
train: {{epochs: 50, batch_size: 64}}
"""


def make_rows(seed: int, normal: int, anomalies: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(normal + anomalies, 3)) @ np.array([[1, 0.9, 0], [0, 0.4, 0], [0, 0, 1]])
    x[normal:] += rng.choice([-4, 4], size=(anomalies, 3))
    return x * [1.0, 1e4, 1e-3] + [10.0, -5e4, 0.0], np.repeat([0, 1], [normal, anomalies])


def write_table(path: Path, x: np.ndarray, labels: np.ndarray | None = None) -> Path:
    lines = [",".join(FEATURES) + ("" if labels is None else ",label")]
    for index, row in enumerate(x.tolist()):
        lines.append(",".join(map(repr, row)) + ("" if labels is None else f",{labels[index]}"))
    path.write_text("\n".join(lines) + "\n")
    return path


class Trained(NamedTuple):
    """A run of train.py in a process of its own."""

    config: Path
    out: Path
    stdout: str
    stderr: str

    @property
    def model(self) -> Path:
        return self.out / "model"

    @property
    def test_rows(self) -> tuple[np.ndarray, np.ndarray]:
        dataset = load_dataset(DataSpec(path=self.config.parent / "machines.csv"))
        split = split_dataset(dataset, SplitSpec(), seed=3)
        assert split.y_test is not None
        return split.x_test, split.y_test


@pytest.fixture(scope="session")
def script():
    """Runs a verb or a script in this process: `script("train", "--config", path)`."""

    def run(name: str, *arguments: Any) -> None:
        room = "jaxflow.commands" if name in VERBS else "scripts"
        importlib.import_module(f"{room}.{name}").main([str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def start():
    """Starts a script in a process of its own, away from the checkout."""

    def begin(name: str, *arguments: Any, cwd: Path, **pipes: Any) -> subprocess.Popen:
        command = [sys.executable, ROOT / "scripts" / f"{name}.py", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | pipes
        return subprocess.Popen(command, cwd=cwd, **pipes)

    return begin


@pytest.fixture(scope="session")
def trained(start, tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    table = write_table(folder / "machines.csv", *make_rows(0, 240, 24))
    config = folder / "machines.yaml"
    config.write_text(CONFIG.format(table=table))
    overrides = ["--model.layers", "2", "--train.epochs=3", "--detection.threshold.rate", "0.1"]
    process = start("train", "--config", config, "--out", folder / "out", *overrides, cwd=folder)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    return Trained(config, folder / "out", stdout, stderr)


@pytest.fixture(scope="session")
def detector(trained) -> Detector:
    return load(trained.model)


@pytest.fixture(scope="session")
def _gaussian() -> GaussianDetector:
    detector = GaussianDetector().fit(as_frame(make_rows(1, 200, 0)[0], FEATURES))
    assert isinstance(detector, GaussianDetector)
    return detector


@pytest.fixture
def gaussian(_gaussian, tmp_path) -> Path:
    """A saved detector that costs little."""
    _gaussian.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="session")
def strict_json():
    """Reads a JSON file that holds no NaN and no infinity."""

    def read(path: Path) -> Any:
        return json.loads(path.read_text(), parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))

    return read


@pytest.fixture(scope="session")
def machines():
    """Makes a table of rows like those of the training data: `machines(path, seed=1, normal=50, anomalies=5)`."""

    def make(path: Path, *, seed: int = 1, normal: int = 50, anomalies: int = 5, labels: bool = True) -> np.ndarray:
        x, y = make_rows(seed, normal, anomalies)
        write_table(path, x, y if labels else None)
        return x

    return make
