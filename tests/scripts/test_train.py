import csv
import json
import re
import socket

import numpy as np
import pytest

from jaxflow.commands import train
from jaxflow.detection import TargetFalsePositiveRate, load
from jaxflow.errors import InputError
from jaxflow.models import MAF, GaussianSpec
from jaxflow.training import FitSpec

NEEDED = (
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
)
RINGS = """\
data: {name: rings, size: 200}
model: {kind: gaussian}
"""


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "rings.yaml"
    path.write_text(RINGS)
    return path


@pytest.mark.end_to_end
def test_a_run_leaves_what_it_promises(trained, strict_json):
    figures = {f"figures/{name}.png" for name in ("loss", "scores", "roc", "precision_recall", "confusion", "reasons")}
    saved = {"model/detector.json", "model/weights.safetensors"}
    pages = {"metrics.json", "history.csv", "history.jsonl", "report.md", "provenance.json"}
    assert files_in(trained.out) == figures | saved | pages

    metrics = strict_json(trained.out / "metrics.json")
    assert all(isinstance(metrics[name], int | float) for name in NEEDED)
    assert (metrics["n_train"], metrics["n_test"], metrics["n_anomalies"]) == (120, 144, 24)
    assert metrics["roc_auc"] > 0.9
    with (trained.out / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]

    report = (trained.out / "report.md").read_text()
    assert report.startswith("# Machines\n")
    links = re.findall(r"\]\(([^)]+)\)", report)
    assert set(links) == figures
    assert all((trained.out / link).is_file() for link in links)


@pytest.mark.end_to_end
def test_a_run_says_what_it_does(trained):
    assert "Machines" in trained.stdout
    assert "ROC-AUC" in trained.stdout
    assert trained.stdout.splitlines()[-1] == f"report: {trained.out / 'report.md'}"
    assert re.search(r"^epoch 3/3  loss .* done in ", trained.stderr, re.MULTILINE)
    assert "warning" not in trained.stderr.lower()


@pytest.mark.end_to_end
def test_options_change_the_config(trained, detector, strict_json):
    assert detector.model == MAF(layers=2, hidden=(16,))
    assert detector.train == FitSpec(epochs=3, batch_size=64)
    assert detector.threshold_rule_ == TargetFalsePositiveRate(rate=0.1)
    assert detector.random_state == 3
    assert detector.columns_ == ("speed", "weight", "heat")
    assert len(detector.history_.rows) == 3
    made = strict_json(trained.out / "provenance.json")
    assert made["seed"] == 3
    assert made["command"].startswith("python .../train.py --config machines.yaml --out out --model.layers 2 ")
    assert str(trained.out.parent) not in (trained.out / "report.md").read_text()


@pytest.mark.end_to_end
def test_metrics_are_those_of_the_saved_model(trained, detector, strict_json):
    metrics = strict_json(trained.out / "metrics.json")
    x, y = trained.test_rows
    flagged = detector.predict(x) == -1
    assert metrics["threshold"] == detector.threshold_
    assert metrics["recall"] == flagged[y == 1].mean()
    assert metrics["false_positive_rate"] == pytest.approx(flagged[y == 0].mean())
    assert metrics["n_flagged"] == flagged.sum()


def test_results_go_to_out_and_the_name_of_the_config(script, config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script("train", "--config", config)
    assert (tmp_path / "out" / "rings" / "model" / "detector.json").is_file()
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "report: out/rings/report.md"
    assert out.startswith("rings")
    assert "gaussian on rings" in err


def test_a_second_run_replaces_the_first(script, config, tmp_path, strict_json):
    script("train", "--config", config, "--out", tmp_path / "out")
    first, files = strict_json(tmp_path / "out" / "metrics.json"), files_in(tmp_path)
    script("train", "--config", config, "--out", tmp_path / "out", "--seed", "5")
    assert files_in(tmp_path) == files
    assert strict_json(tmp_path / "out" / "metrics.json")["roc_auc"] != first["roc_auc"]
    assert load(tmp_path / "out" / "model").random_state == 5


def test_what_was_not_written_by_a_run_keeps_its_place(script, config, tmp_path):
    out, mine = (
        tmp_path / "out",
        {"checkpoints/notes.txt", "checkpoints/1/model.pt", "evaluation/notes.txt", "notes.txt"},
    )
    for name in mine:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    script("train", "--config", config, "--out", out)
    script("evaluate", "--model", out / "model", "--config", config)
    assert (out / "evaluation" / "metrics.json").is_file()
    script("train", "--config", config, "--out", out)
    assert mine < files_in(out)
    assert {name for name in files_in(out) if name.startswith("evaluation")} == {"evaluation/notes.txt"}
    flow = ("--model.kind", "maf", "--model.layers", "1", "--train.epochs", "1", "--quiet", "--overwrite")
    with pytest.raises(InputError, match="checkpoints holds 1, which has the name of a checkpoint and is none that"):
        script("train", "--config", config, "--out", out, *flow)
    (out / "checkpoints" / "1" / "model.pt").unlink()
    (out / "checkpoints" / "1").rmdir()
    script("train", "--config", config, "--out", out, "--checkpoint-seconds", "0", *flow)
    assert {name for name in files_in(out) if name.startswith("checkpoints")} == {"checkpoints/notes.txt"}


@pytest.mark.parametrize("other", [("--data.name", "two_moons"), ("--model.kind", "pca")])
def test_results_of_other_data_or_models_are_not_replaced_unasked(script, config, tmp_path, other):
    out = tmp_path / "out"
    script("train", "--config", config, "--out", out)
    before = {name: (out / name).read_bytes() for name in files_in(out)}
    with pytest.raises(InputError, match=r"results of train.py on rings \(gaussian\), expected none or those of"):
        script("train", "--config", config, "--out", out, *other)
    with pytest.raises(InputError, match=r"out holds results of train.py on rings .* or --overwrite to replace them"):
        script("evaluate", "--model", out / "model", "--config", config, "--out", out)
    assert {name: (out / name).read_bytes() for name in files_in(out)} == before
    script("train", "--config", config, "--out", out, *other, "--overwrite")
    assert (out / "model" / "detector.json").read_bytes() != before["model/detector.json"]


def test_checkpoints_are_not_looked_for_in_a_file(script, config, tmp_path):
    (tmp_path / "checkpoints").write_text("mine")
    options = ("--model.kind", "maf", "--model.layers", "1", "--resume")
    with pytest.raises(InputError, match="checkpoints is a file, expected a directory for checkpoints or a new place"):
        script("train", "--config", config, "--out", tmp_path, *options)


def test_every_variant_is_a_run_of_its_own(script, config, tmp_path, strict_json, capsys):
    config.write_text(RINGS + "variants:\n  diagonal: {model.covariance: diagonal}\n  more: {data.size: 300}\n")
    out = tmp_path / "out"
    script("train", "--config", config, "--out", out)
    own = {"metrics.json", "history.csv", "report.md", "provenance.json", "model/detector.json"}
    for folder in (out, out / "diagonal", out / "more"):
        assert own <= files_in(folder)
        assert (folder / "figures" / "density.png").is_file()
    assert load(out / "diagonal" / "model").model == GaussianSpec(covariance="diagonal")
    assert load(out / "model").model == GaussianSpec(covariance="full")
    assert strict_json(out / "more" / "metrics.json")["n_train"] == 150
    report = (out / "report.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", report)
    assert {"diagonal/figures/density.png", "more/figures/density.png"} <= set(links)
    assert all((out / link).is_file() for link in links)
    row = next(line for line in report.splitlines() if line.startswith("| diagonal |"))
    assert f"{strict_json(out / 'diagonal' / 'metrics.json')['roc_auc']:#.4g}" in row
    assert "Variants side by side" in capsys.readouterr().out


def test_variants_without_a_density_figure_link_to_none(script, config, tmp_path):
    config.write_text(RINGS + "variants:\n  diagonal: {model.covariance: diagonal}\n")
    out = tmp_path / "out"
    script("train", "--config", config, "--out", out)
    assert "diagonal/figures/density.png" in (out / "report.md").read_text()
    script("train", "--config", config, "--out", out, "--data.features", "x0")
    assert "density.png" not in (out / "report.md").read_text()


def test_data_without_labels_is_scored_without_metrics(script, machines, tmp_path, strict_json, capsys):
    x = machines(tmp_path / "mine.csv", normal=80, anomalies=0, labels=False)
    config = tmp_path / "mine.yaml"
    config.write_text(f"data: {{path: {tmp_path / 'mine.csv'}, label: null}}\nmodel: {{kind: gaussian}}\n")
    threshold = ["--detection.threshold.rate", "0.2"]
    script("train", "--config", config, "--out", tmp_path / "out", *threshold)
    metrics = strict_json(tmp_path / "out" / "metrics.json")
    assert metrics["roc_auc"] is None
    assert (metrics["n_train"], metrics["n_test"]) == (80, 80)
    detector = load(tmp_path / "out" / "model")
    assert metrics["n_flagged"] == int(re.findall(r"flagged\W+(\d+)", capsys.readouterr().out)[0])
    assert np.mean(detector.predict(x) == -1) < 0.5


def test_a_fit_can_be_watched_and_profiled(script, config, tmp_path):
    out = tmp_path / "out"
    flow = ("--model.kind", "maf", "--model.layers", "1", "--train.epochs", "4")
    script("train", "--config", config, "--out", out, "--quiet", "--tensorboard", "--profile", *flow)
    [events] = (out / "tensorboard").iterdir()
    assert socket.gethostname() not in events.name
    assert events.stat().st_size > 500
    assert list((out / "profile").rglob("*.xplane.pb"))
    epochs = [json.loads(line)["epoch"] for line in (out / "history.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len((out / "history.csv").read_text().splitlines()) == 1 + len(epochs)


@pytest.mark.parametrize("option", ["--tensorboard", "--profile"])
def test_a_model_that_fits_itself_cannot_be_watched(script, config, tmp_path, option):
    with pytest.raises(InputError, match=f"{option}: a gaussian fits itself: there are no epochs to watch"):
        script("train", "--config", config, "--out", tmp_path / "out", option)
    assert not (tmp_path / "out").exists()


def test_a_poisoned_row_ends_the_run_and_what_was_learnt_is_kept(script, tmp_path, strict_json):
    x = np.random.default_rng(0).normal(size=(200, 2))
    x[::40] = 1e30  # some of these are to learn from
    (tmp_path / "rows.csv").write_text("a,b\n" + "\n".join(f"{a},{b}" for a, b in x))
    path = tmp_path / "poisoned.yaml"
    path.write_text(
        "data: {path: rows.csv, label: null}\nsplit: {test_fraction: 0.5}\npreprocessing: []\n"
        "model: {kind: maf, layers: 1, hidden: [4]}\ntrain: {epochs: 3, batch_size: 8}\n"
        "detection: {validation_fraction: 0.0, calibration_folds: 0}\n"
    )
    options = ("--config", path, "--data.path", tmp_path / "rows.csv", "--out", tmp_path / "out", "--quiet")
    with pytest.raises(InputError, match=r"^rows: the loss .* epoch 1, step \d+, because of row") as error:
        script("train", *options)
    [named] = re.findall(r"because of rows? ([\d, ]+) of rows, counted from 1; the best", str(error.value))
    assert all((int(number) - 1) % 40 == 0 for number in named.split(", "))
    assert (tmp_path / "out" / "report.md").is_file()
    assert np.isfinite(load(tmp_path / "out" / "model").anomaly_score(x[1:9])).all()
    script("train", *options, "--train.bad_steps", "skip")
    with (tmp_path / "out" / "history.csv").open() as file:
        assert all(int(row["skipped_steps"]) > 0 for row in csv.DictReader(file))


@pytest.mark.parametrize("quiet", [True, False])
def test_progress_is_shown_unless_quiet(script, config, tmp_path, monkeypatch, quiet):
    asked = []
    real = train.run_experiment
    monkeypatch.setattr(train, "run_experiment", lambda e, *, progress, **_: asked.append(progress) or real(e))
    script("train", "--config", config, "--out", tmp_path / "out", *(["--quiet"] if quiet else []))
    assert asked == [not quiet]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "train",
            ["--model.layers", "number of transforming layers", "--train.epochs", "passes over the training data"],
        ),
        ("train", ["--detection.threshold.rate", "share of normal rows that may be flagged", "--out", "--quiet"]),
        ("train", ["--data.name", "a data set of the registry", "--split.protocol", "--seed"]),
        ("evaluate", ["--model", "--data.path", "a file of your own", "--split.test_fraction", "--config"]),
        ("score", ["--input", "CSV or Parquet file", "--follow", "--chunk-rows", "(default: 65536)"]),
        ("sample", ["--count", "number of rows to draw", "--seed", ".parquet"]),
    ],
)
def test_help_describes_every_option(script, capsys, name, expected):
    with pytest.raises(SystemExit) as leaving:
        script(name, "--help")
    assert not leaving.value.code
    text = " ".join(capsys.readouterr().out.split())
    assert all(word in text for word in expected), text
