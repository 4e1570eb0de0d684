"""What looks at a fit while it lasts."""

import builtins
import json
import math
import struct
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from tensorboardX.proto import event_pb2

from jaxflow.errors import InputError
from jaxflow.models import MAF, EnsembleSpec, Gaussian, ModelSpec
from jaxflow.training import Callback, Checkpoints, FitSpec, LiveFile, Profiler, TensorBoard, fit

ROWS = np.random.default_rng(0).normal(size=(2, 60, 2))
FLOW = MAF(layers=1, hidden=(8,))
SPEC = FitSpec(epochs=5, batch_size=32)


def fitted(*callbacks, spec: ModelSpec = FLOW, **how):
    model = spec.build(2, rngs=nnx.Rngs(0))
    return fit(model, ROWS[0], ROWS[1], SPEC, key=jax.random.key(0), callbacks=callbacks, **how)


class Reader(Callback):
    """Reads a file after each epoch."""

    def __init__(self, path):
        self.path, self.lines = path, []

    def update(self, row):
        self.lines.append(len(self.path.read_text().splitlines()))


def test_every_epoch_is_told_as_it_stands_in_the_history():
    told = []

    class Listener(Callback):
        def update(self, row):
            told.append(row)

    assert told == []
    result = fitted(Listener())
    assert told == result.history.rows
    assert {"gradient_norm", "learning_rate", "steps_per_second", "device_memory", "seconds"} <= told[0].keys()
    assert all(row["steps_per_second"] > 0 for row in told)


def test_steps_per_second_are_those_of_the_clock():
    result = fitted()
    seconds = np.diff(result.history.column("seconds"))
    np.testing.assert_allclose(result.history.column("steps_per_second")[1:], 2 / seconds)


@pytest.mark.parametrize(("name", "header"), [("history.csv", 1), ("history.jsonl", 0)])
def test_a_live_file_grows_with_every_epoch(name, header, tmp_path):
    path = tmp_path / "new" / name
    reader = Reader(path)
    fitted(LiveFile(path), reader)
    assert reader.lines == [header + epoch for epoch in range(1, 6)]


def test_live_files_end_as_the_history_is_written(tmp_path):
    result = fitted(LiveFile(tmp_path / "a.csv"), LiveFile(tmp_path / "a.jsonl"))
    result.history.write_csv(tmp_path / "b.csv")
    result.history.write_json_lines(tmp_path / "b.jsonl")
    for ending in ("csv", "jsonl"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == result.history.rows


def test_json_has_no_numbers_that_are_not_finite(tmp_path):
    with LiveFile(tmp_path / "a.jsonl") as file:
        file.update({"epoch": 1, "train_loss": math.nan, "best_loss": math.inf})
    line = (tmp_path / "a.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"epoch": 1, "train_loss": None, "best_loss": None}


def test_a_live_file_of_a_fit_that_goes_on_holds_all_epochs(tmp_path):
    kept = Checkpoints(directory=tmp_path / "kept", seconds=0, resume=True)
    fitted(checkpoints=kept)
    (tmp_path / "kept" / "5").rename(tmp_path / "gone")
    result = fitted(LiveFile(tmp_path / "a.jsonl"), checkpoints=kept)
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3, 4, 5]
    assert len(result.history.rows) == 5


def test_a_live_file_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"history\.txt: expected a name that ends in \.csv or \.jsonl"):
        LiveFile(tmp_path / "history.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/a\.csv cannot be written: "):
        fitted(LiveFile(tmp_path / "file" / "a.csv"))


def events_in(directory):
    """The records of an event file: a length of eight bytes, a checksum of four, the event, a checksum of four."""
    (path,) = directory.iterdir()
    content, start = path.read_bytes(), 0
    event: Any = event_pb2  # made by protobuf, and invisible to type checkers
    while start < len(content):
        (size,) = struct.unpack_from("<Q", content, start)
        yield event.Event.FromString(content[start + 12 : start + 12 + size])
        start += size + 16


def test_tensorboard_has_the_curves(tmp_path):
    result = fitted(TensorBoard(tmp_path), spec=EnsembleSpec(member=FLOW, members=2))
    curves = {}
    for event in events_in(tmp_path):
        for value in event.summary.value:
            curves.setdefault(value.tag, {})[event.step] = value.simple_value
    for tag, column in (("loss/train", "train_loss"), ("loss/valid", "valid_loss"), ("fit/gradient_norm",) * 2):
        assert list(curves[tag]) == [1, 2, 3, 4, 5]
        wanted = result.history.column(column.removeprefix("fit/"))
        np.testing.assert_allclose(list(curves[tag].values()), wanted, rtol=1e-6)
    assert ("fit/device_memory" in curves) == (result.history.column("device_memory")[0] is not None)


def test_tensorboard_without_its_package_is_refused(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *more):
        if name == "tensorboardX":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"need the package tensorboardX: pip install 'jaxflow\[tensorboard\]'"):
        TensorBoard(tmp_path)


def test_a_trace_holds_epochs_after_the_first(tmp_path):
    fitted(Profiler(tmp_path, epochs=2))
    assert list(tmp_path.rglob("*.xplane.pb"))


def test_a_trace_of_nothing_is_told(tmp_path):
    with pytest.warns(UserWarning, match="no profile was written to .*: no epoch was made"), Profiler(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_model_that_fits_itself_is_not_watched():
    with pytest.raises(InputError, match="Gaussian fits itself, at once, and takes no callbacks"):
        fit(Gaussian(2), ROWS[0], key=jax.random.key(0), callbacks=[Callback()])
