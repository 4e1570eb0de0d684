import csv

import numpy as np
import pytest

from jaxflow.errors import InputError
from scripts.benchmark_streaming import draw, true_log_density


@pytest.mark.end_to_end
def test_a_small_run_leaves_its_tables(script, tmp_path, capsys):
    size = "--gib 0.00005 --file-rows 2000 --dim 3 --layers 1 --hidden 4 --batch 256 --buffer-rows 1024"
    script("benchmark_streaming", *size.split(), "--work", tmp_path / "work", "--out", tmp_path / "out")
    with (tmp_path / "out" / "streaming.csv").open() as file:
        works = list(csv.DictReader(file))
    ways = {"train": ["files", "files, from start to end", "memory"], "score": ["files", "memory"]}
    assert [(work["task"], work["way"]) for work in works] == [(task, way) for task in ways for way in ways[task]]
    assert len(list((tmp_path / "work" / "rows").glob("*.parquet"))) == 2
    assert works[3]["rows"] == "4000"
    # A process is said to have been as large as the one that started it, here the one of all tests.
    assert all(int(work["peak"]) > 1e8 for work in works[:4])
    assert "mean log-density" in (tmp_path / "out" / "summary.md").read_text()
    assert "Rows a second and memory" in capsys.readouterr().out


def test_the_density_is_that_of_the_draws():
    """Its mean over draws is minus the entropy, which the chain rule gives."""
    x = draw(np.random.default_rng(0), 200_000, 3)
    entropy = 3 * 0.5 * np.log(2 * np.pi * np.e) + 2 * np.log(0.5)
    assert true_log_density(x) == pytest.approx(-entropy, abs=0.01)


def test_refusals(script):
    with pytest.raises(InputError, match="--gib 0: expected more than 0"):
        script("benchmark_streaming", "--gib", "0")
    with pytest.raises(InputError, match="--batch 0: expected at least 1"):
        script("benchmark_streaming", "--batch", "0")
