"""The README's code runs as printed, and what it names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_is_code_to_run():
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_runs_as_printed(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"README block {number + 1}", "exec"), {})
    said = re.findall(r"^print\(.*\)  # (.*)$", BLOCKS[number], flags=re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == said


def test_scripts_configs_and_pictures_that_it_names_exist():
    for path in re.findall(
        r"(?<![\w/])(?:scripts|configs|results)/[\w/.]+\.\w+", README + (ROOT / "CONTRIBUTING.md").read_text()
    ):
        assert (ROOT / path).is_file(), path
    for name in re.findall(r"`(\w+)`", README.split("Configs:")[1].split("\n\n")[0]):
        assert (ROOT / "configs" / f"{name}.yaml").is_file(), name
