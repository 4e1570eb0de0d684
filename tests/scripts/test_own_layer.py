"""A layer from outside the package, from a config to a trained, saved and loaded flow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxflow.errors import InputError
from tests.bijectors import own_layer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory with what the page on own layers says to write."""
    place = tmp_path_factory.mktemp("own")
    (place / "my_layers.py").write_text(own_layer.blocks("python")[0])
    (place / "own.yaml").write_text(own_layer.blocks("yaml")[0])
    return place


def run(place: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(place)}
    command = [sys.executable, str(ROOT / "scripts" / script), *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)


def test_the_layer_is_as_short_as_promised():
    assert len(own_layer.blocks("python")[0].splitlines()) <= 30


@pytest.mark.end_to_end
def test_it_trains_and_is_loaded_once_its_module_is_imported(place):
    done = run(place, "train.py", "--config", "own.yaml", "--train.epochs", "2", "--out", "out")
    assert done.returncode == 0, done.stderr
    draws = ("--model", "out/model", "--count", "5", "--output", "draws.csv")
    refused = run(place, "sample.py", *draws)
    assert refused.returncode == 2
    assert "import my_layers first" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    drawn = run(place, "sample.py", *draws, "--import", "my_layers")
    assert drawn.returncode == 0, drawn.stderr
    assert len((place / "draws.csv").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ("my_layers.Quartic", "cannot be imported: module 'my_layers' has no attribute 'Quartic'"),
        ("your_layers.Cubic", "cannot be imported: No module named 'your_layers'"),
        ("my_layers.nnx", "expected a subclass of jaxflow.bijectors.Bijector"),
        ("Cubic", "model.layer = 'Cubic'"),
        (
            "jaxflow.bijectors.Sigmoid",
            "cannot be made as jaxflow.bijectors.Sigmoid(dim, start=..., rngs=...): ",
        ),
    ],
)
def test_a_path_that_leads_to_no_layer_is_refused(script, place, monkeypatch, layer, sentence):
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    with pytest.raises(InputError) as refused:
        script("train", "--config", "own.yaml", "--model.layer", layer, "--out", "none")
    assert sentence in str(refused.value).splitlines()[-1]
