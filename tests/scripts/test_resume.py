"""train.py killed at any moment goes on from its last checkpoint, bit for bit."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

KILLS = int(os.environ.get("JAXFLOW_KILLS", "2"))
EPOCHS = 120 * KILLS
CONFIG = f"""\
data: {{name: two_moons, size: 2000}}
model: {{kind: maf, layers: 3, hidden: [32]}}
train: {{epochs: {EPOCHS}, patience: null, input_noise: 0.1}}
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "moons.yaml").write_text(CONFIG)
    return tmp_path / "moons.yaml"


@pytest.fixture
def train(start, config):
    def begin(out: Path, *more: str):
        arguments = ("--config", config, "--out", out, "--checkpoint-seconds", "0.1", *more)
        return start("train", *arguments, cwd=config.parent)

    return begin


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def last_checkpoint(out):
    return max((int(child.name) for child in out.glob("checkpoints/*") if child.name.isdigit()), default=0)


def wait_for_checkpoint(process, out):
    """Wait until one more has been written."""
    before = last_checkpoint(out)
    while process.poll() is None and last_checkpoint(out) == before:
        time.sleep(0.01)


@pytest.mark.end_to_end
def test_killed_at_random_moments(train, tmp_path):
    finish(train(tmp_path / "whole"))
    expected = load_file(tmp_path / "whole" / "model" / "weights.safetensors")
    rng, out = np.random.default_rng(), tmp_path / "killed"
    for number in range(KILLS):
        process = train(out, "--resume")
        wait_for_checkpoint(process, out)
        time.sleep(rng.uniform(0, 0.5))
        assert process.poll() is None
        process.kill()
        assert ("beginning from the start" in process.communicate()[1]) == (number == 0)
    assert 0 < last_checkpoint(out) < EPOCHS
    finish(train(out, "--resume"))
    weights = load_file(out / "model" / "weights.safetensors")
    assert weights.keys() == expected.keys()
    clock = {"history.7.seconds", "history.8.steps_per_second"}  # which alone knows of the interruptions
    for name in expected.keys() - clock:
        np.testing.assert_array_equal(weights[name], expected[name], err_msg=name)
    assert not (out / "checkpoints").exists()


@pytest.mark.end_to_end
def test_sigterm_saves_and_ends_with_0(train, tmp_path):
    out = tmp_path / "out"
    process = train(out)
    wait_for_checkpoint(process, out)
    process.send_signal(signal.SIGTERM)
    errors = finish(process)
    assert "--resume goes on from there" in errors.splitlines()[-1]
    assert not (out / "model").exists()

    refused = train(out)
    _, errors = refused.communicate(timeout=300)
    assert refused.returncode == 2
    assert errors.splitlines()[-1].endswith("go on from there with --resume, or remove the directory to begin anew")

    finish(train(out, "--resume"))
    assert (out / "metrics.json").is_file()
