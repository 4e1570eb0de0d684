import csv

import numpy as np
import pytest

from jaxflow.data import Dataset
from jaxflow.errors import InputError
from scripts import contamination_study


@pytest.mark.end_to_end
def test_alarms_are_counted(tmp_path, monkeypatch, capsys):
    """Of a set whose anomalies form a group, and of one whose anomalies are normal rows by another name."""

    def load(name):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(1200, 3))
        y = np.repeat([0, 1], [1000, 200])
        x[y == 1] += 20.0 if name == "glass" else 0.0
        return Dataset(f"adbench/{name}", x, y, ("a", "b", "c"))

    monkeypatch.setattr(contamination_study, "load_adbench", load)
    monkeypatch.setattr(contamination_study, "SIMULATED_ROWS", 300)
    out = tmp_path / "out"
    contamination_study.main(["--sets", "glass", "wine", "--seeds", "1", "--simulated", "1", "--out", str(out)])
    with (out / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    simulated = [line for line in lines if line["set"].startswith("simulated: ")]
    assert len(simulated) == 12
    assert all((line["by"], line["named"]) == ("", "0") for line in simulated)
    found = {(line["set"], line["rate"]): (line["by"], line["anomalies"], line["right"]) for line in lines[12:]}
    assert found["glass", "0.05"] == ("distance", "26", "26")
    assert found["glass", "0.0"] == found["wine", "0.0"] == ("", "0", "0")
    assert found["wine", "0.1"][0] == ""
    page = (out / "summary.md").read_text()
    assert "0 of 12 fits to 300 clean simulated rows warned, 0 of 2 to normal rows of ADBench" in page
    assert "(of these sets: glass)" in page
    assert f"summary: {out / 'summary.md'}" in capsys.readouterr().out


def test_bad_options_are_refused():
    with pytest.raises(InputError, match="--seeds 0: expected at least 1"):
        contamination_study.main(["--seeds", "0"])
    with pytest.raises(InputError, match="--sets nowhere: expected names such as annthyroid, breastw, cardio"):
        contamination_study.main(["--sets", "nowhere"])
