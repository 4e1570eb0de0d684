import csv
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark_ensemble.py"
SMALL = ["--dim", "2", "--rows", "20", "--layers", "1", "--hidden", "4", "--epochs", "2", "--repeats", "1"]


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.end_to_end
def test_small_run(tmp_path):
    done = run(*SMALL, "--members", "2", "3", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "ensemble.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["members"], row["way"]) for row in rows] == [
        (members, way) for members in ("2", "3") for way in ("one fit", "fits in turn", "ensemble")
    ]
    assert all(float(row["first_seconds"]) > float(row["seconds"]) > 0 for row in rows)
    one, in_turn, together = (int(row["programs"]) for row in rows[:3])
    assert 0 < in_turn <= one  # a second fit compiles nothing
    assert together > 0
    assert "3 members" in (tmp_path / "summary.md").read_text()
    assert f"summary: {tmp_path / 'summary.md'}" in done.stdout


@pytest.mark.end_to_end
def test_bad_numbers_are_refused(tmp_path):
    done = run("--members", "0", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "--members 0: expected at least 1" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
