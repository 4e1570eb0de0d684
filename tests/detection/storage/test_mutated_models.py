"""Models that ask for too much, wherever it stands, are refused at once and without memory.

`JAXFLOW_FUZZ=50` tries fifty times as many, others each time.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxflow.detection import FlowDetector, Percentile
from jaxflow.models import MAF
from jaxflow.training import FitSpec

TIMES = int(os.environ.get("JAXFLOW_FUZZ", "1"))
MODELS = 200  # that are tried
ROOT = Path(__file__).parents[3]


@pytest.mark.end_to_end
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
def test_models_that_ask_for_too_much_are_refused_at_once(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4))
    how = {"train": FitSpec(epochs=1), "threshold": Percentile(percentile=50), "calibration_folds": 0}
    FlowDetector(MAF(layers=1, hidden=(4,)), **how).fit(x).save(tmp_path / "saved")
    seed = 0 if TIMES == 1 else random.randrange(1 << 32)
    program = ROOT / "tests" / "detection" / "storage" / "mutated_models.py"
    command = [sys.executable, program, tmp_path / "saved", tmp_path / "tried", seed, MODELS * TIMES]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, (seed, done.stderr[-5000:])
    assert json.loads(done.stdout)["refused"] > 0.9 * MODELS * TIMES
