import importlib
import importlib.metadata
import json
import shlex
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jaxflow.evaluation.provenance import provenance

# By name: as an attribute of the package, `provenance` is the function.
MODULE = importlib.import_module("jaxflow.evaluation.provenance")


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    result = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return result.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository that jaxflow seems to run from."""
    module = tmp_path / "jaxflow" / "evaluation" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    git(tmp_path, "init", "-q")
    monkeypatch.setattr(MODULE, "__file__", str(module))
    return tmp_path


def test_it_holds_what_is_promised_and_nothing_about_who_ran_it():
    values = provenance(["python", "scripts/train.py"], 7)
    assert set(values) == {
        "command",
        "seed",
        "versions",
        "platform",
        "cpu_count",
        "device_kind",
        "device_count",
        "git_commit",
        "git_uncommitted_changes",
        "time_utc",
    }
    assert values["seed"] == 7
    assert set(values["versions"]) == {"python", "jaxflow", "jax", "flax", "optax", "numpy", "scikit-learn"}
    assert values["versions"]["jax"] == importlib.metadata.version("jax")
    assert values["cpu_count"] >= 1
    assert values["device_count"] >= 1
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert datetime.fromisoformat(values["time_utc"]).utcoffset() == timedelta(0)


def test_no_absolute_path_remains_in_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [
        str(tmp_path / ".venv/bin/python"),
        "scripts/train.py",
        "--config",
        str(tmp_path / "configs" / "a b.yaml"),
        f"--out={tmp_path}/out",
        "--data.path=/home/someone/secret/data.csv",
        "/home/someone/secret/model",
        "../shared/data.csv",
        "--train.rate=0.1",
    ]
    assert shlex.split(provenance(command, None)["command"]) == [
        ".venv/bin/python",
        "scripts/train.py",
        "--config",
        "configs/a b.yaml",
        "--out=out",
        "--data.path=.../data.csv",
        ".../model",
        "../shared/data.csv",
        "--train.rate=0.1",
    ]


def test_an_interpreter_that_is_a_link_stays_inside_the_folder(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere" / "python").write_text("")
    (tmp_path / "here" / "python").symlink_to(tmp_path / "elsewhere" / "python")
    monkeypatch.chdir(tmp_path / "here")
    assert provenance([str(tmp_path / "here" / "python")], None)["command"] == "python"
    (tmp_path / "also_here").symlink_to(tmp_path / "here")
    assert provenance([str(tmp_path / "also_here" / "data.csv")], None)["command"] == "data.csv"


def test_the_commit_and_whether_tracked_files_differ_from_it(checkout):
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "first")
    (checkout / "untracked").write_text("")
    clean = provenance([], None)
    assert clean["git_commit"] == git(checkout, "rev-parse", "HEAD")
    assert clean["git_uncommitted_changes"] is False
    (checkout / "results").mkdir()
    (checkout / "results" / "table.csv").write_text("a,b")
    git(checkout, "add", "results")
    assert provenance([], None)["git_uncommitted_changes"] is False  # results decide no number
    (checkout / "jaxflow" / "evaluation" / "provenance.py").write_text("changed = True")
    assert provenance([], None)["git_uncommitted_changes"] is True


def test_a_repository_without_a_commit_has_none(checkout):
    values = provenance([], None)
    assert values["git_commit"] is values["git_uncommitted_changes"] is None


def test_somebody_elses_repository_around_an_installed_package_does_not_count(checkout, monkeypatch):
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "first")
    installed = checkout / ".venv" / "site-packages" / "jaxflow" / "evaluation" / "provenance.py"
    installed.parent.mkdir(parents=True)
    monkeypatch.setattr(MODULE, "__file__", str(installed))
    assert provenance([], None)["git_commit"] is None


def test_a_machine_without_git_has_no_commit(checkout, monkeypatch):
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "first")
    monkeypatch.setenv("PATH", str(Path(checkout) / "empty"))
    assert provenance([], None)["git_commit"] is None
