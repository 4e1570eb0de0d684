import csv
from typing import Any, NamedTuple

import numpy as np
import pytest

from jaxflow.data import Dataset
from jaxflow.detection import FlowDetector, Percentile
from jaxflow.errors import InputError
from jaxflow.training import FitSpec
from tests.models.small_committee import SMALL_COMMITTEE
from tests.scripts.script_modules import script_module


class Study(NamedTuple):
    """The script, the data set that it is given, and the names of those that it asked for."""

    script: Any
    data: Dataset
    asked: list[str]


@pytest.fixture
def study(monkeypatch):
    """The script with a small committee as the default detector, and a data set in the place of ADBench's."""
    module, detectors = script_module("committee_study"), script_module("adbench.detectors")

    def make(seed):
        return FlowDetector(
            SMALL_COMMITTEE,
            threshold=Percentile(percentile=50),
            train=FitSpec(epochs=2),
            calibration_fraction=0.0,
            random_state=seed,
        )

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(300, 3)), rng.normal(size=(60, 3)) + 1.5])
    data = Dataset("adbench/wine", x, np.repeat([0, 1], [300, 60]), ("x0", "x1", "x2"))
    asked = []
    monkeypatch.setattr(module, "DEFAULT", SMALL_COMMITTEE)
    monkeypatch.setitem(detectors.DETECTORS, "flow", detectors.Entry("flow", make))
    monkeypatch.setattr(module, "load_adbench", lambda name: asked.append(name) or data)
    return Study(module, data, asked)


def read(out):
    with (out / "results.csv").open(newline="") as file:
        return {row["detector"]: row for row in csv.DictReader(file)}


def test_the_default_is_the_detector_and_the_other_ways_differ(study, tmp_path, capsys):
    study.script.main(["--datasets", "wine", "--seeds", "0", "--out", str(tmp_path)])
    found = read(tmp_path)
    (detector,) = script_module("adbench.attempt").measure([(study.data, "wine", "flow", "random", 0.0, 0)])
    for key in ("roc_auc", "pr_auc", "f1"):
        assert float(found["default"][key]) == pytest.approx(getattr(detector, key), abs=2e-3)
    alone = {title: float(row["roc_auc"]) for title, row in found.items()}
    members = (
        "kernel density",
        "kernel density of ranks",
        "mixture",
        "mixture of arcsinh",
        "flow",
        "one flow of ranks",
    )
    for title in (*members, "flows alone", "without any flow", "ranks alone", "power 1", "tail of shape 0"):
        assert 0.6 < alone[title] < 1
    assert len({alone[title] for title in members}) == len(members)
    assert "Means over the sets" in capsys.readouterr().out
    page = (tmp_path / "summary.md").read_text()
    assert "protocol random" in page
    assert f"| {100 * alone['kernel density']:.2f} |" in page

    study.asked.clear()
    study.script.main(["--datasets", "wine", "--seeds", "0", "--out", str(tmp_path)])
    assert study.asked == []
    assert read(tmp_path) == found

    record = tmp_path / "detectors.json"
    assert "CommitteeSpec" in record.read_text()
    record.write_text(record.read_text().replace("percentile=50", "percentile=60"))
    with pytest.raises(InputError, match=r"the results of flow were made with threshold .*: give another --out$"):
        study.script.main(["--datasets", "wine", "--seeds", "0,1", "--out", str(tmp_path)])


def test_the_ways_name_every_kind_of_member(study):
    ways = {way.title: way for way in study.script.all_ways()}
    assert len(ways) == len(study.script.all_ways())
    assert ways["default"].members == (0, 1, 2, 3, 4, 5, 6)
    assert ways["default"].voices == (0, 1, 2, 3, 3, 4, 5)
    assert ways["without any kernel density"].members == (2, 3, 4, 5, 6)
    assert ways["without any kernel density"].voices == (0, 1, 1, 2, 3)
    assert ways["ranks alone"].members == (1, 4, 5)
    assert ways["kernel densities twice"].weights == (4, 2, 1, 0.5, 1.5, 1, 1)


def test_a_set_that_cannot_be_fitted_is_a_row_and_tried_again(study, tmp_path, monkeypatch, capsys):
    few = Dataset("adbench/pima", np.zeros((10, 3)), np.repeat([0, 1], [5, 5]), ("x0", "x1", "x2"))
    monkeypatch.setattr(study.script, "load_adbench", lambda name: study.data if name == "wine" else few)
    choice = ["--seeds", "0", "--out", str(tmp_path)]
    with pytest.raises(InputError, match=r"no fit worked: .*results\.csv has the errors"):
        study.script.main(["--datasets", "pima", *choice])
    study.script.main(["--datasets", "pima,wine", *choice])
    assert "pima (1/2), seed 0: InputError: " in capsys.readouterr().err
    assert "Left out since a fit failed: pima." in (tmp_path / "summary.md").read_text()

    monkeypatch.setattr(study.script, "load_adbench", lambda name: study.data)
    study.script.main(["--datasets", "pima,wine", *choice])
    assert "2 data set(s)" in (tmp_path / "summary.md").read_text()


def test_seeds_that_are_no_numbers_are_refused(study):
    with pytest.raises(InputError, match="--seeds a: expected whole numbers"):
        study.script.main(["--seeds", "a"])
