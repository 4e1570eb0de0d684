import csv
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxflow.errors import InputError
from tests.scripts.script_modules import script_module

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def script():
    return script_module("benchmark_speed")


@pytest.fixture(scope="module")
def tables():
    return script_module("speed.tables")


class Clock:
    """Stands in for the module `time`; goes on only when told."""

    now = 0.0

    def perf_counter(self):
        return self.now


class TwoSpeeds:
    """A library with two settings."""

    def __init__(self):
        self.speed = 0.0

    def settings(self):
        return [lambda: setattr(self, "speed", 3.0), lambda: setattr(self, "speed", 5.0)]


def run(script, out, *arguments):
    script.main(["--libraries", "jaxflow", "--batch", "5", "--seconds", "0", "--out", str(out), *arguments])
    with (out / "speed.csv").open(newline="") as file:
        return list(csv.DictReader(file)), (out / "summary.md").read_text()


def test_several_numbers_of_features_make_a_figure(tables):
    figure = script_module("speed.figure").plot_cost_of_draws(
        [
            tables.Timing(20, "sample", {"jaxflow": [1e3, 2e3, 4e3], "other": [10.0, 10.0, 10.0]}),
            tables.Timing(5, "sample", {"jaxflow": [4e3, 4e3, 4e3], "other": [1e3, 1e3, 1e3]}),
        ],
        tables.Shape((8, 8), 5, 100),
    )
    axes = figure.axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines if not line.get_label().startswith("_")}
    assert lines["proportional to features"] == pytest.approx([250, 1000])
    assert [container.get_label() for container in axes.containers] == ["jaxflow", "other"]
    ours = axes.containers[0].lines[0]
    assert list(ours.get_xdata()) == [5, 20]
    assert list(ours.get_ydata()) == pytest.approx([250, 500])
    assert "µs" in axes.get_ylabel()


def test_the_figure_is_part_of_the_page(script, tmp_path, capsys):
    size = ["--dims", "2", "3", "--hidden", "4", "--layers", "1", "--tasks", "sample", "--repeats", "1"]
    _, summary = run(script, tmp_path, *size)
    assert "![Sampling](sampling.png)" in summary
    assert (tmp_path / "sampling.png").stat().st_size > 0


@pytest.mark.end_to_end
def test_writes_the_rates_of_jaxflow_alone(script, tmp_path, capsys):
    size = ["--dims", "3", "--hidden", "4", "6", "--layers", "2"]
    rows, summary = run(script, tmp_path, *size, "--repeats", "1")

    assert ",".join(rows[0]) == "library,flow,dim,hidden,layers,batch,task,rate,unit,min,max"
    assert [(row["library"], row["task"], row["unit"]) for row in rows] == [
        ("jaxflow", "train", "steps/s"),
        ("jaxflow", "fit", "steps/s"),
        ("jaxflow", "log_prob", "rows/s"),
        ("jaxflow", "sample", "rows/s"),
        ("jaxflow", "compile", "s"),
    ]
    for row in rows:
        assert [row[name] for name in ("flow", "dim", "hidden", "layers", "batch")] == ["maf", "3", "4-6", "2", "5"]
        assert 0 < float(row["rate"]) < math.inf
        assert row["min"] == row["rate"] == row["max"]

    # In each of 2 layers: 4 units that see 3 features, 6 that see 4, and 2 parameters for each feature that see 6.
    count = 2 * (4 * (3 + 1) + 6 * (4 + 1) + 2 * 3 * (6 + 1))
    assert f"## 3 features, {count} trained parameters\n" in summary
    assert "## 3 features: how many times faster" not in summary
    assert "--dims 3 --hidden 4 6 --layers 2 --repeats 1" in summary
    assert "jaxflow 0." in summary
    output = capsys.readouterr()
    assert str(tmp_path / "summary.md") in output.out.replace("\n", "")
    assert f"dim 3: trained parameters: jaxflow {count}" in output.err
    assert "dim 3: compile: jaxflow: " in output.err


@pytest.mark.end_to_end
def test_each_number_of_features_has_its_rows(script, tmp_path):
    size = ["--dims", "2", "3", "2", "--hidden", "4", "--layers", "1"]
    rows, summary = run(script, tmp_path, *size, "--tasks", "log_prob", "--repeats", "3")
    assert [(row["dim"], row["task"]) for row in rows] == [("2", "log_prob"), ("3", "log_prob")]
    assert all(float(row["min"]) < float(row["rate"]) < float(row["max"]) for row in rows)
    assert "## 2 features, " in summary
    assert "## 3 features, " in summary


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--libraries", "flowjacks"], "argument --libraries: invalid choice: 'flowjacks' (choose from "),
        (["--tasks", "fly"], "argument --tasks: invalid choice: 'fly' (choose from "),
        (["--dims", "8", "1"], "--dims 1: expected at least 2"),
        (["--hidden", "100", "0"], "--hidden 0: expected at least 1"),
        (["--layers", "0"], "--layers 0: expected at least 1"),
        (["--batch", "-3"], "--batch -3: expected at least 1"),
        (["--repeats", "0"], "--repeats 0: expected at least 1"),
        (["--seconds", "nan"], "--seconds nan: expected a finite number, 0 or more"),
        (["--seconds", "-1"], "--seconds -1: expected a finite number, 0 or more"),
    ],
)
def test_a_wrong_option_is_refused(script, tmp_path, arguments, message):
    if "--libraries" not in arguments:
        arguments = ["--libraries", "jaxflow", *arguments]
    with pytest.raises(InputError) as caught:
        script.main([*arguments, "--out", str(tmp_path / "out")])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("library", "package"), [("flowjax", "equinox"), ("zuko", "zuko"), ("zuko", "torch"), ("nflows", "nflows")]
)
def test_a_library_that_is_not_installed_is_refused(script, tmp_path, monkeypatch, library, package):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found("csv"))
    with pytest.raises(InputError) as caught:
        script.main(["--libraries", "jaxflow", library, "--out", str(tmp_path / "out")])
    assert str(caught.value) == (
        f"--libraries {library}: {package} is not installed; install the extra bench, as in pip install -e '.[bench]', "
        f"or leave {library} out of --libraries"
    )


@pytest.mark.parametrize("library", ["flowjax", "nflows"])
def test_unequal_widths_are_refused_where_a_library_has_none(script, tmp_path, monkeypatch, library):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(name=name))
    with pytest.raises(InputError, match=f"^--hidden 100 50: {library} has hidden layers of one width only; "):
        script.main(["--libraries", library, "--hidden", "100", "50", "--out", str(tmp_path)])


@pytest.mark.end_to_end
def test_a_mistake_ends_in_one_line():
    arguments = [sys.executable, str(SCRIPTS / "benchmark_speed.py"), "--libraries", "jaxflow", "zucco"]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=SCRIPTS.parent)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: argument --libraries: invalid choice: 'zucco'")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("seconds", "calls"), [(0.0, 1), (0.4, 1), (1.0, 3)])
def test_rate_is_what_was_done_over_the_time_it_took(script, monkeypatch, seconds, calls):
    clock, amounts = Clock(), []
    monkeypatch.setattr(script, "time", clock)

    def call():
        clock.now += 0.4
        amounts.append(10 * (len(amounts) + 1))
        return amounts[-1]

    assert script.rate(call, seconds) == pytest.approx(sum(amounts) / (0.4 * calls))
    assert len(amounts) == calls


def test_seconds_to_the_first_step_begin_with_nothing_compiled(script, monkeypatch):
    clock, log = Clock(), []
    monkeypatch.setattr(script, "time", clock)
    monkeypatch.setattr(script.jax, "clear_caches", lambda: log.append("cleared"))

    def first_step():
        log.append("stepped")
        clock.now += 2.5

    assert script.first_step(SimpleNamespace(first_step=first_step)) == 2.5
    assert log == ["cleared", "stepped"]


@pytest.mark.parametrize(("choose", "speed"), [(max, 5.0), (min, 3.0)])
def test_the_best_setting_counts(script, choose, speed):
    library = TwoSpeeds()
    assert script.best(choose, library, lambda: library.speed) == speed


def test_contestants_take_turns_after_one_round_to_warm_up(script):
    log = []

    def measurement(name):
        def measure():
            log.append(name)
            return float(len(log))

        return measure

    rates = script.in_turn({"a": measurement("a"), "b": measurement("b")}, 3)
    assert log == ["a", "b"] * 4
    assert rates == {"a": [3.0, 5.0, 7.0], "b": [4.0, 6.0, 8.0]}


CALLS = ("train", "step_alone", "fit", "sample")


def test_whole_fits_and_bare_steps_are_timed_beside_epochs(script):
    libraries = [
        SimpleNamespace(name=name, step_name=step_name, fits=fits, **dict.fromkeys(CALLS, lambda: 1))
        for name, step_name, fits in (("jaxflow", None, True), ("zuko", "zuko step alone", False))
    ]
    assert list(script.contestants("train", libraries, 0.0)) == ["jaxflow", "zuko", "zuko step alone"]
    assert list(script.contestants("fit", libraries, 0.0)) == ["jaxflow"]
    assert list(script.contestants("sample", libraries, 0.0)) == ["jaxflow", "zuko"]
    assert list(script.contestants("compile", libraries, 0.0)) == ["jaxflow", "zuko"]


def test_the_csv_holds_the_median_the_least_and_the_greatest(tables):
    timings = [tables.Timing(8, "compile", {"zuko": [1.0, 0.5, 4.0]}), tables.Timing(9, "train", {"nflows": [2.0]})]
    assert tables.csv_text(timings, tables.Shape((100, 50), 5, 10)).splitlines()[1:] == [
        "zuko,maf,8,100-50,5,10,compile,1.0,s,0.5,4.0",
        "nflows,maf,9,100-50,5,10,train,2.0,steps/s,2.0,2.0",
    ]


def test_ratios_are_taken_round_by_round(tables):
    assert tables.times_faster("train", [6.0, 2.0, 9.0], [1.0, 2.0, 3.0]) == [6.0, 1.0, 3.0]
    # Of seconds the fewer are the better.
    assert tables.times_faster("compile", [1.0, 2.0], [4.0, 1.0]) == [4.0, 0.5]


def test_tables_set_each_peer_against_jaxflow(tables):
    timings = [
        tables.Timing(
            8,
            "train",
            {
                "jaxflow": [6.0, 2.0, 9.0],
                "flowjax": [1.0, 2.0, 3.0],
                "flowjax step alone": [2.0, 4.0, 1.0],
            },
        ),
        tables.Timing(8, "compile", {"jaxflow": [1.0, 1.0, 2.0], "flowjax": [3.0, 4.0, 5.0]}),
        tables.Timing(9, "train", {"jaxflow": [1.0], "flowjax": [1.0]}),
    ]
    medians, ratios = tables.tables(8, timings, {"jaxflow": 1234, "flowjax": 1234})
    assert medians == (
        "8 features, 1,234 trained parameters",
        ["library", "train (steps/s)", "compile (s)"],
        [
            ["jaxflow", "6.000", "1.000"],
            ["flowjax", "2.000", "4.000"],
            ["flowjax step alone", "2.000", ""],
        ],
    )
    assert ratios == (
        "8 features: how many times faster jaxflow is",
        ["pair", "train", "compile"],
        [
            ["jaxflow / flowjax", "3 (1 to 6)", "3 (2.5 to 4)"],
            ["jaxflow / flowjax step alone", "3 (0.5 to 9)", ""],
        ],
    )


def test_parameter_counts_that_differ_are_all_named(tables):
    timings = [tables.Timing(8, "train", {"flowjax": [1.0], "zuko": [2.0]})]
    ((heading, _, _),) = tables.tables(8, timings, {"flowjax": 1000, "zuko": 999})
    assert heading == "8 features, trained parameters: flowjax 1,000, zuko 999"


def test_torch_computes_where_jax_does():
    torch_device = script_module("speed.peers").torch_device
    with_cuda, without = (
        SimpleNamespace(cuda=SimpleNamespace(is_available=lambda has=has: has)) for has in (True, False)
    )
    assert torch_device(without, "cpu", "zuko") == "cpu"
    assert torch_device(with_cuda, "cpu", "zuko") == "cpu"
    assert torch_device(with_cuda, "gpu", "zuko") == "cuda"
    with pytest.raises(InputError, match=r"^jax computes on gpu and this torch on cpu only: .* leave zuko out"):
        torch_device(without, "gpu", "zuko")
