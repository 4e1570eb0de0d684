"""The `jaxflow` command finds its verbs, and says in one line what it does not know."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jaxflow.commands.verbs import VERBS, main
from jaxflow.config.command_line import command_given, program

ROOT = Path(__file__).parents[2]


def ended(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["jaxflow", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


@pytest.mark.parametrize(("words", "code"), [((), 2), (("--help",), 0), (("-h",), 0), (("help",), 0)])
def test_help_names_every_verb(monkeypatch, capsys, words, code):
    assert ended(monkeypatch, *words) == code
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line.startswith("  ")} == set(VERBS)
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trian", "unknown verb 'trian', did you mean train?; jaxflow --help lists the verbs"),
        ("frobnicate", "unknown verb 'frobnicate'; jaxflow --help lists the verbs"),
        ("--versoin", "unknown option '--versoin'; jaxflow --help lists the verbs"),
    ],
)
def test_a_verb_that_there_is_not_ends_in_one_line(monkeypatch, capsys, word, sentence):
    assert ended(monkeypatch, word) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_verbs_and_what_they_cannot_be_are_told_before_jax_is_imported():
    script = (
        "import sys, jaxflow.commands.verbs as verbs\n"
        "sys.argv = ['jaxflow', 'trian']\n"
        "try:\n    verbs.main()\nexcept SystemExit:\n    print(sorted({'jax', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_main_of_its_own_and_a_script(verb):
    assert callable(importlib.import_module(f"jaxflow.commands.{verb}").main)
    if verb == "inspect":  # a script of that name would hide a module of Python from all scripts beside it
        return
    assert f'run_verb("{verb}")' in (ROOT / "scripts" / f"{verb}.py").read_text()


def test_programs_and_records_name_the_command_that_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jaxflow train", "--config", "a.yaml"])
    assert program("train") == "jaxflow train"
    assert command_given("train", None) == ["jaxflow", "train", "--config", "a.yaml"]
    monkeypatch.setattr(sys, "argv", ["scripts/train.py", "--config", "a.yaml"])
    assert program("train") == "train.py"
    assert command_given("train", None) == ["python", "scripts/train.py", "--config", "a.yaml"]


@pytest.mark.end_to_end
def test_the_module_runs_a_verb_and_takes_its_exit_code(tmp_path):
    command = [sys.executable, "-m", "jaxflow", "export", "--model", tmp_path / "none", "--output", tmp_path / "d.zip"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert json.dumps(str(tmp_path / "none"))[1:-1] in done.stderr
