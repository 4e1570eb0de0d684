"""A file of one's own is learned from without a config, and rows are named as they stand in it."""

import gzip
import json
import re

import numpy as np
import pytest

from jaxflow.commands import train
from jaxflow.errors import InputError
from jaxflow.experiment.configs import config_file, config_names

GAUSSIAN = ("--model.kind", "gaussian")


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A file of 200 rows, of which row 7 is far out; the label says so."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(200, 2))
    x[6] = 40.0
    lines = [f"{a!r},{b!r},{int(row == 6)}" for row, (a, b) in enumerate(x.tolist())]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["amount,age,fraud", *lines]) + "\n")
    return path


def facts(out):
    return json.loads((out / "metrics.json").read_text())


def test_a_file_needs_no_config(table, tmp_path):
    train.main(["mine.csv", "--label", "fraud", *GAUSSIAN])
    out = tmp_path / "out" / "mine"
    assert facts(out)["n_anomalies"] == 1
    report = (out / "report.md").read_text()
    assert report.startswith("# mine.csv\n")
    assert re.search(r"## The most anomalous rows\n.*?\n\| 7 \|", report, re.DOTALL)


def test_all_rows_of_a_file_without_labels_are_learned_from(table, tmp_path, capsys):
    bare = table.with_name("bare.csv.gz")
    bare.write_bytes(
        gzip.compress("\n".join(line.rpartition(",")[0] for line in table.read_text().splitlines()).encode())
    )
    train.main([str(bare), *GAUSSIAN])
    assert "no column of labels is named (--label COLUMN), so all rows are learned from" in capsys.readouterr().err
    found = facts(tmp_path / "out" / "bare")
    assert (found["n_train"], found["n_test"]) == (200, 200)
    assert "| 7 |" in (tmp_path / "out" / "bare" / "report.md").read_text()


def test_a_column_called_label_is_the_label(table, tmp_path, capsys):
    table.write_text(table.read_text().replace("fraud", "label"))
    train.main([str(table), *GAUSSIAN])
    assert facts(tmp_path / "out" / "mine")["n_anomalies"] == 1
    assert "no column of labels" not in capsys.readouterr().err


def test_a_config_by_name_gives_the_model_and_the_file_the_title(table, tmp_path):
    train.main([str(table), "--label", "fraud", "--config", "gaussian_lesson", "--variants", "{}"])
    assert (tmp_path / "out" / "mine" / "report.md").read_text().startswith("# mine.csv\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "expected a file to learn from, as in `jaxflow train mine.csv`, or a --config"),
        (["--config", "quickstrt"], "--config quickstrt: there is no such file or config, did you mean quickstart?"),
        (["mine.csv", "--data.path", "b.csv"], "--data.path b.csv: expected no value, as mine.csv is given already"),
        (
            ["mine.csv", "--label", "Frod", *GAUSSIAN],
            "mine.csv: label column Frod is missing, did you mean fraud? (for none: --data.label null)",
        ),
        (["mien.csv", *GAUSSIAN], "mien.csv"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(table, arguments, sentence):
    with pytest.raises(InputError) as error:
        train.main(arguments)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_every_config_is_found_by_its_name_and_a_file_comes_first(tmp_path, monkeypatch):
    assert {"quickstart", "thyroid_committee", "two_moons_nsf"} <= set(config_names())
    for name in config_names():
        assert config_file(name).is_file()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text("")
    assert not config_file("quickstart").is_absolute()
