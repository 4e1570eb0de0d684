import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxflow.config.spec import parse_spec
from jaxflow.detection import AutoencoderDetector, FlowDetector, GivenThreshold, Percentile
from jaxflow.errors import InputError
from jaxflow.experiment.run import Run, run_experiment, score_run
from jaxflow.experiment.run_files import require_writable, run_metrics, write_run
from jaxflow.experiment.spec import Experiment
from jaxflow.models import MAF, AutoEncoderSpec
from jaxflow.training import FitSpec

PROVENANCE = {"command": "python here.py", "seed": 3}
NEEDED = {
    "roc_auc",
    "pr_auc",
    "prevalence",
    "precision",
    "recall",
    "f1",
    "threshold",
    "false_positive_rate",
    "n_train",
    "n_test",
    "n_flagged",
    "fit_seconds",
    "score_seconds",
    "calibration",
}


def strict_json(path):
    return json.loads(path.read_text(), parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))


def linked(report):
    return re.findall(r"\]\(([^)]+)\)", report.read_text())


@pytest.fixture(scope="module")
def run() -> Run:
    values = {"data": {"name": "rings", "size": 200}, "model": {"kind": "gaussian"}}
    return run_experiment(parse_spec(Experiment, values, "here"))


@pytest.fixture(scope="module")
def fitted_by_steps() -> Any:
    x = np.random.default_rng(0).normal(size=(60, 3))
    return FlowDetector(MAF(layers=1, hidden=(4,)), train=FitSpec(epochs=2), threshold=Percentile()).fit(x)


def write(run, out, **options):
    write_run(run, out, title="A title", provenance=PROVENANCE, **options)
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


def test_a_run_with_labels_in_two_dimensions(run, tmp_path):
    files = write(run, tmp_path / "new" / "out")
    figures = {
        f"figures/{name}.png" for name in ("scores", "roc", "precision_recall", "confusion", "density", "reasons")
    }
    assert files == {"metrics.json", "provenance.json", "history.csv", "history.jsonl", "report.md"} | figures
    out = tmp_path / "new" / "out"
    metrics = strict_json(out / "metrics.json")
    assert metrics.keys() >= NEEDED
    assert metrics == run_metrics(run)
    assert metrics["n_flagged"] == run.n_flagged
    assert metrics["threshold"] == run.detector.threshold_
    assert strict_json(out / "provenance.json") == PROVENANCE
    assert set(linked(out / "report.md")) == figures
    text = (out / "report.md").read_text()
    assert text.startswith("# A title\n")
    count = len(run.detector.calibration_scores_)
    assert f"(rate = 0.05, beyond = tail) took that threshold from {count} out-of-fold calibration scores" in text
    assert "GaussianDetector (gaussian) on 2 features" in text
    assert f"Of {len(run.scores)} test rows {run.n_flagged} are flagged. Fitting took " in text
    assert "python here.py" in text


def test_a_run_of_steps_shows_its_loss(fitted_by_steps, tmp_path):
    x = np.random.default_rng(1).normal(size=(20, 3))
    files = write(score_run(fitted_by_steps, x, fit_seconds=1.5, n_train=60), tmp_path)
    assert files == {
        "metrics.json",
        "provenance.json",
        "history.csv",
        "history.jsonl",
        "report.md",
        "figures/loss.png",
        "figures/scores.png",
        "figures/reasons.png",
    }
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[0]["valid_loss"]) == fitted_by_steps.history_.rows[0]["valid_loss"]


def test_a_detector_fitted_before_has_no_history_to_show(fitted_by_steps, tmp_path):
    x = np.random.default_rng(1).normal(size=(20, 3))
    run = score_run(fitted_by_steps, x, n_train=60)
    figures = {"figures/scores.png", "figures/reasons.png"}
    assert write(run, tmp_path) == {"metrics.json", "provenance.json", "report.md"} | figures
    metrics = strict_json(tmp_path / "metrics.json")
    assert metrics["fit_seconds"] is None
    # Without labels what needs them is null, and nothing is missing.
    assert metrics.keys() >= NEEDED
    unknown = {"roc_auc", "pr_auc", "prevalence", "precision", "recall", "f1", "false_positive_rate", "fit_seconds"}
    assert {name for name, value in metrics.items() if value is None} == unknown
    assert (metrics["n_train"], metrics["n_test"]) == (60, 20)
    assert "Fitting" not in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("labelled", [True, False])
def test_an_infinite_threshold_is_valid_json(run, tmp_path, labelled):
    detector = run.detector
    before = detector.threshold_rule_, detector.calibration_scores_, None
    detector._decide(Percentile(percentile=50), np.array([np.inf, np.inf]), None)
    y = run.y if labelled else None
    write(score_run(detector, run.x, y, n_train=50), tmp_path)
    detector._decide(*before)
    metrics = strict_json(tmp_path / "metrics.json")
    assert metrics["threshold"] == "Infinity"
    assert float(metrics["threshold"]) == np.inf
    assert metrics["n_flagged"] == 0


def test_one_class_alone_has_no_curves(run, tmp_path):
    normal = run.y == 0
    files = write(score_run(run.detector, run.x[normal], run.y[normal], n_train=50), tmp_path)
    assert {"figures/roc.png", "figures/precision_recall.png", "figures/confusion.png"}.isdisjoint(files)
    assert strict_json(tmp_path / "metrics.json")["roc_auc"] is None


def test_a_given_threshold_is_not_said_to_come_from_scores(run, tmp_path):
    detector = run.detector
    before = detector.threshold_rule_
    detector.set_threshold(GivenThreshold(value=4.0))
    write(score_run(detector, run.x, n_train=50), tmp_path)
    detector.set_threshold(before)
    text = (tmp_path / "report.md").read_text()
    assert "above 4; that threshold was given. Of " in text
    assert "calibration scores" not in text


def test_the_error_of_an_autoencoder_is_no_density(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 2))
    detector = AutoencoderDetector(AutoEncoderSpec(hidden=(2,)), train=FitSpec(epochs=1), threshold=Percentile())
    assert "figures/density.png" not in write(score_run(detector.fit(x), x, n_train=60), tmp_path)


def test_more_tables_and_figures_have_their_place(run, tmp_path):
    (tmp_path / "other.png").write_bytes(b"")
    tables = [("Side by side", ("run", "F1"), [("this", 0.5)])]
    write(run, tmp_path, tables=tables, figures=[("Other", "other.png", "Made before.")])
    text = (tmp_path / "report.md").read_text()
    assert "## Side by side" in text
    assert "## What the columns were taken for" in text
    assert "| x0 | continuous |" in text
    assert "other.png" in linked(tmp_path / "report.md")


def test_a_second_run_replaces_the_first(run, tmp_path):
    first = write(run, tmp_path)
    assert write(run, tmp_path) == first


def test_figures_that_the_second_run_lacks_do_not_stay(run, fitted_by_steps, tmp_path):
    x = np.random.default_rng(1).normal(size=(20, 3))
    write(score_run(fitted_by_steps, x, fit_seconds=1.5, n_train=60), tmp_path)
    assert (tmp_path / "figures" / "loss.png").is_file()
    (tmp_path / "figures" / "mine.png").write_text("mine")
    write(run, tmp_path)
    assert not (tmp_path / "figures" / "loss.png").exists()
    assert (tmp_path / "figures" / "mine.png").exists()


def test_a_file_in_the_place_of_the_figures_is_refused(tmp_path):
    (tmp_path / "figures").write_text("mine")
    with pytest.raises(InputError, match="figures is a file, expected a directory"):
        require_writable(tmp_path)


def test_a_place_that_can_be_written_is_let_pass_and_left_alone(tmp_path, monkeypatch):
    require_writable(tmp_path)
    require_writable(tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    require_writable(Path("a/b"))
    require_writable(Path())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "a", "a/b"])
def test_a_place_at_or_below_a_file_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError) as error:
        require_writable(tmp_path / "file" / below)
    place = tmp_path / "file"
    assert str(error.value) == f"{place / below} cannot be written: {place} is a file, expected a directory"


def test_a_place_without_permission_is_refused(tmp_path, monkeypatch):
    # For root every place is writable, so the answer of the system is made up.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(InputError) as error:
        require_writable(tmp_path / "new")
    sentence = f"{tmp_path / 'new'} cannot be written: there is no permission to write to {tmp_path}"
    assert str(error.value) == sentence


def test_the_report_says_why_rows_are_anomalous(run, tmp_path):
    write(run, tmp_path)
    worst = int(np.argmax(run.scores))
    section = (tmp_path / "report.md").read_text().partition("## The most anomalous rows\n")[2]
    lines = section.strip().splitlines()[:12]
    assert lines[0] == "| row | score | flagged | first reason | second |"
    assert lines[2].startswith(f"| {run.numbers[worst]} | ")
    assert "| yes |" in lines[2]
    reason = run.detector.explain(run.x[[worst]]).top(1)[0][0]
    assert f"| {reason.column} = " in lines[2]
    assert len(lines) == 12


def test_the_report_says_what_would_have_to_change(run, tmp_path):
    write(run, tmp_path, reasons_method="replacement")
    text = (tmp_path / "report.md").read_text()
    section = text.partition("## What would have to change for those that are flagged to pass\n")[2]
    lines = section.partition("##")[0].strip().splitlines()
    assert lines[0].startswith("| row | score then | most |")
    worst = int(np.argmax(run.scores))
    found = run.detector.counterfactual(run.x[[worst]])
    (changes,) = found.top(2)
    assert len(changes) >= 1
    assert lines[2].startswith(f"| {run.numbers[worst]} | ")
    assert f"| {changes[0].column} = {changes[0].value:.4g} becomes {changes[0].becomes:.4g} |" in lines[2]
    flagged = np.sort(run.scores)[-10:] > run.detector.threshold_
    assert len(lines) == 2 + flagged.sum()
    reason = run.detector.explain(run.x[[worst]], "replacement").top(1)[0][0]
    assert f"| {reason} |" in text


def test_a_report_does_without_a_normal_point_where_none_passes(run, tmp_path):
    detector = run.detector
    before = detector.threshold_rule_
    detector.set_threshold(GivenThreshold(value=-1e6))
    write(score_run(detector, run.x, n_train=50), tmp_path)
    detector.set_threshold(before)
    text = (tmp_path / "report.md").read_text()
    assert "## The most anomalous rows" in text
    assert "What would have to change" not in text


def test_without_a_flagged_row_there_is_no_figure_of_reasons(run, tmp_path):
    write(run, tmp_path)
    calm = np.argsort(run.scores)[:20]
    files = write(score_run(run.detector, run.x[calm], n_train=1), tmp_path)
    assert "figures/reasons.png" not in files
    assert "## The most anomalous rows" in (tmp_path / "report.md").read_text()


def test_a_detector_saved_before_there_were_normal_rows_has_its_report(run, tmp_path, monkeypatch):
    monkeypatch.delattr(run.detector, "normal_rows_")
    assert "figures/reasons.png" not in write(run, tmp_path)
    assert "The most anomalous" not in (tmp_path / "report.md").read_text()
