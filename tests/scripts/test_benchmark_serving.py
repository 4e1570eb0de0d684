import csv
import os

import numpy as np
import pytest

from jaxflow.errors import InputError
from scripts.benchmark_serving import Latency, drawn, one_core


@pytest.mark.end_to_end
def test_a_small_run_leaves_its_tables(script, tmp_path, capsys):
    size = "--rows 100000 --dim 3 --events 30 --training-rows 400 --epochs 1"
    script("benchmark_serving", *size.split(), "--work", tmp_path, "--out", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with (tmp_path / "out" / "file.csv").open() as file:
        (work,) = csv.DictReader(file)
    assert (work["rows"], work["columns"]) == ("100000", "3")
    assert int(work["read"]) > 100_000 * 3 * 8
    assert 1e8 < int(work["peak"]) < 2**30
    with (tmp_path / "out" / "events.csv").open() as file:
        events = list(csv.DictReader(file))
    kinds = ["flow", "gaussian", "autoencoder"]
    assert [row["detector"] for row in events] == [*np.repeat(kinds, 2), *["isolation forest"] * 3]
    assert {row["events"] for row in events} == {"30"}
    assert all(0 < float(row["median"]) <= float(row["p99"]) <= float(row["slowest"]) for row in events)
    # The same loop, and the calls that it is made of, say the same of the same events.
    assert len({row["flagged"] for row in events[-3:]}) == 1
    assert "peak memory is the greatest resident set" in (tmp_path / "out" / "summary.md").read_text()
    assert "Milliseconds from an event to its answer" in capsys.readouterr().out


def test_latencies_are_summarised():
    latency = Latency.of("flow", "here", [0.001] * 98 + [0.002, 0.5], [False] * 98 + [True, True])
    assert latency[:4] == ("flow", "here", 100, 2)
    np.testing.assert_allclose(latency[4:], [1.0, 2.0 + 0.01 * 498, 500.0, 251.0])
    assert np.isnan(Latency.of("flow", "here", [0.1], [False]).median_flagged)


def test_one_core_and_then_all_again():
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_rows_of_all_seeds_have_one_density():
    first, second = (np.cov(drawn(seed, 50_000, 2).T) for seed in (0, 1))
    np.testing.assert_allclose(first, second, rtol=0.1, atol=0.1)
    assert not np.array_equal(drawn(0, 5, 2), drawn(1, 5, 2))


def test_refusals(script, tmp_path):
    with pytest.raises(InputError, match="--events 0: expected at least 1"):
        script("benchmark_serving", "--events", "0")
    with pytest.raises(InputError, match=r"--rows 1000000000000: .* take 74505\.8 GiB and "):
        script("benchmark_serving", "--dim", 2, "--rows", 10**12, "--work", tmp_path)
    assert list(tmp_path.iterdir()) == []
