import csv
from typing import Any

import numpy as np
import pytest

from jaxflow.data import Dataset
from jaxflow.errors import InputError
from tests.scripts.script_modules import script_module


@pytest.fixture(scope="module")
def study():
    return script_module("calibration_study")


@pytest.fixture
def made(study, monkeypatch):
    """A data set in the place of those that would be downloaded, and Gaussians in that of flows.

    The list is of the data sets that were loaded.
    """
    rng = np.random.default_rng(0)
    x, asked = np.concatenate([rng.normal(size=(300, 2)), rng.normal(size=(20, 2)) + 50]), []

    def load(name):
        asked.append(name)
        return Dataset(f"adbench/{name}", x, np.repeat([0, 1], [300, 20]), ("x0", "x1"))

    monkeypatch.setattr(study, "load_adbench", load)
    original = study.make_detector
    monkeypatch.setattr(study, "make_detector", lambda model, *rest, **how: original("Gaussian", *rest, **how))
    return asked


def read(out):
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def measured(study, out, **options):
    given: Any = {"sets": ["wine"], "seeds": 2, "epochs": 1, "rows": 200} | options
    arguments = [f"--{name}={value}" for name, value in given.items() if name != "sets"]
    study.main([*arguments, "--out", str(out), "--sets", *given["sets"]])
    return read(out)


def test_what_is_measured(study, made):
    options = study.Namespace(epochs=1, rows=200)
    dataset = study.load_adbench("wine")
    found = list(study.measure(dataset, "wine", 0, "Gaussian", options))
    assert len(found) == 12
    assert {(result.n_train, result.n_test) for result in found} == {(100, 100)}
    by = {(result.rule, result.rate): result for result in found}
    assert by["training percentile", 0.01].n_calibration == 80
    assert by["split-conformal", 0.01].n_calibration == by["POT", 0.01].n_calibration == 20
    assert [by["default", rate].n_calibration for rate in (0.05, 0.01)] == [100, 100]
    assert by["default", 0.01].source == "out_of_fold"
    assert [by["default", rate].branch for rate in (0.05, 0.01, 0.001)] == ["conformal", "conformal", "tail"]
    assert by["split-conformal", 0.001].branch == "largest"
    # Were an anomaly among the unseen rows, it would be flagged by every rule.
    assert by["default", 0.001].flagged == 0
    assert all(result.flagged <= 20 for result in found)


def test_the_study_goes_on_where_it_stopped(study, made, tmp_path):
    first = measured(study, tmp_path, seeds=1)
    assert [(row["seed"], row["model"]) for row in first[::12]] == [("0", "flow"), ("0", "Gaussian")]
    page = (tmp_path / "summary.md").read_text()
    assert "1 data sets of ADBench, 1 random split(s)" in page
    assert "Gaussian, training percentile" in page
    assert (tmp_path / "calibration.png").is_file()
    asked = len(made)
    assert measured(study, tmp_path, seeds=1) == first
    assert len(made) == asked  # nothing was measured again
    assert " results stood in `results.csv` before" in (tmp_path / "summary.md").read_text()
    both = measured(study, tmp_path, seeds=2)
    assert both[: len(first)] == first
    assert len(both) == 2 * len(first)
    for changed in ({"epochs": 2}, {"rows": 201}):
        with pytest.raises(InputError, match=r"results.csv was measured with --.*, not .*: remove it"):
            measured(study, tmp_path, **changed)


def test_what_was_fixed(study):
    flow = study.make_detector("flow", 1, 60, calibration_fraction=0.2)
    assert flow.train.patience == 10
    assert flow.train.input_noise == 0.1
    assert flow.model.layers == 5
    assert type(study.make_detector("Gaussian", 1, 60, calibration_fraction=0.2)).__name__ == "GaussianDetector"
    assert len(study.DEVELOPMENT_SETS) == 21


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seeds", "0"], "--seeds 0: expected at least 1"),
        (["--rows", "9"], "--rows 9: expected at least 50"),
        (["--sets", "nothing"], "--sets nothing: expected names such as annthyroid, "),
    ],
)
def test_bad_options_are_refused(study, tmp_path, arguments, sentence):
    with pytest.raises(InputError) as error:
        study.main([*arguments, "--out", str(tmp_path / "out")])
    assert str(error.value).startswith(sentence)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_a_table_of_something_else_is_refused(study, made, tmp_path, text):
    (tmp_path / "results.csv").write_text(text)
    with pytest.raises(InputError, match=r"is not a table of calibration_study\.py: remove"):
        measured(study, tmp_path)
    assert (tmp_path / "results.csv").read_text() == text
