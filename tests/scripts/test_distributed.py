"""Two processes that find each other on one machine do the work of one."""

import signal
import socket
import time

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors.numpy import load_file

from jaxflow.errors import InputError
from tests.compiled import with_devices

NAMES = ("a", "b", "c")
CONFIG = """\
data: {{path: rows, stream: true, buffer_rows: 256}}
model: {{kind: maf, layers: 2, hidden: [16], normalization: act_norm}}
train: {{epochs: {epochs}, batch_size: 50, patience: null, input_noise: 0.1}}
"""


def rows(seed: int, n: int) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(n, 3))
    return z @ np.triu(np.ones((3, 3)))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rows").mkdir()
    for number in range(3):
        table = pa.table(dict(zip(NAMES, rows(number, 400).T, strict=True)))
        parquet.write_table(table, tmp_path / "rows" / f"part{number}.parquet", row_group_size=90)
    (tmp_path / "few.yaml").write_text(CONFIG.format(epochs=3))
    (tmp_path / "many.yaml").write_text(CONFIG.format(epochs=2000))
    return tmp_path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@pytest.fixture
def two(start, folder):
    """Starts a script in two processes."""

    def begin(name: str, *arguments):
        told = ("--distributed", "--coordinator", f"localhost:{free_port()}", "--processes", "2")
        # Two devices each, so that there are devices of the same process as well as of another.
        return [
            start(name, *arguments, *told, "--process-id", number, cwd=folder, env=with_devices(2))
            for number in range(2)
        ]

    return begin


def fit_keeping_best(processes, code: int = 0):
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), outputs
    return outputs


def weights(folder):
    return load_file(folder / "model" / "weights.safetensors")


def assert_close(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        if not name.startswith("history."):
            np.testing.assert_allclose(array, second[name], rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.end_to_end
def test_two_processes_train_the_model_of_one_and_one_of_them_writes(start, two, folder):
    fit_keeping_best([start("train", "--config", "few.yaml", "--out", "one", cwd=folder)])
    outputs = fit_keeping_best(two("train", "--config", "few.yaml", "--out", "both"))
    assert_close(weights(folder / "both"), weights(folder / "one"))
    assert "report: " in outputs[0][0]
    assert "report" not in outputs[1][0]  # JAX's own words on how the processes are connected aside
    assert "epoch" not in outputs[1][1]
    assert not (folder / "both" / "checkpoints").exists()


@pytest.mark.end_to_end
def test_one_checkpoint_of_both_from_which_one_process_goes_on(start, two, folder):
    processes = two("train", "--config", "many.yaml", "--out", "both", "--checkpoint-seconds", "0.5")
    kept = folder / "both" / "checkpoints"
    deadline = time.monotonic() + 200
    while not any(child.name.isdigit() for child in kept.glob("*")):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes]
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)  # one is told, both stop
    outputs = fit_keeping_best(processes)
    assert "saved in" in outputs[0][1]
    [last] = sorted(int(child.name) for child in kept.iterdir() if child.name.isdigit())[-1:]
    options = ("--config", "many.yaml", "--out", "both", "--resume", "--quiet", "--checkpoint-seconds", "0.2")
    process = start("train", *options, cwd=folder)
    while max((int(child.name) for child in kept.glob("*") if child.name.isdigit()), default=0) <= last:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.terminate()
    fit_keeping_best([process])


@pytest.mark.end_to_end
def test_files_are_divided_among_processes_that_score(start, two, folder):
    fit_keeping_best([start("train", "--config", "few.yaml", "--out", "one", cwd=folder)])
    options = ("--model", "one/model", "--input", "rows")
    fit_keeping_best([start("score", *options, "--output", "alone", cwd=folder)])
    outputs = fit_keeping_best(two("score", *options, "--output", "together"))
    assert [text.count("flagged") for text, _ in outputs] == [2, 1]
    for number in range(3):
        answers = [parquet.read_table(folder / name / f"part{number}.parquet") for name in ("alone", "together")]
        assert answers[0].num_rows == 400
        assert answers[0].equals(answers[1])


@pytest.mark.end_to_end
def test_a_file_that_cannot_be_scored_ends_all_processes(two, folder, gaussian):
    for number in range(3):  # the columns of the saved detector
        table = pa.table(dict(zip(("speed", "weight", "heat"), rows(number, 50).T, strict=True)))
        parquet.write_table(table, folder / "rows" / f"part{number}.parquet")
    (folder / "rows" / "part1.parquet").write_bytes(b"PAR1 broken")
    outputs = fit_keeping_best(two("score", "--model", gaussian, "--input", "rows", "--output", "answers"), code=2)
    assert "part1.parquet: cannot be read as Parquet" in outputs[1][1]
    assert "another process could not score its files" in outputs[0][1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--distributed --processes 2", "coordinator, process_id must be given too, or none of coordinator"),
        (
            "--distributed --coordinator localhost:1 --processes 2 --process-id 2",
            "process_id = 2: expected between 0 a",
        ),
        ("--processes 2", "--processes: expected no value without --distributed"),
        ("--distributed --devices 2", "--devices 2: expected no value, as --distributed uses all devices"),
    ],
)
def test_what_does_not_fit_together_is_refused(script, folder, monkeypatch, options, message):
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=message):
        script("train", "--config", "few.yaml", *options.split())


def test_scoring_in_several_processes_wants_a_directory(script, detector, folder, monkeypatch):
    monkeypatch.chdir(folder)
    file = folder / "rows" / "part0.parquet"
    with pytest.raises(InputError, match="expected a directory, whose files --distributed divides"):
        script("score", "--model", "m", "--input", file, "--output", "out.csv", "--distributed")
