"""A fit that goes on from a checkpoint ends as if it had never been interrupted."""

import json
import logging
import os
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from flax import nnx

from jaxflow.errors import InputError, Preempted
from jaxflow.models import MAF, EnsembleSpec, Gaussian
from jaxflow.training import Batch, Checkpoints, FitSpec, fit
from jaxflow.training.devices.preemption import listening
from jaxflow.training.monitoring import checkpoints
from jaxflow.training.monitoring.callbacks import Callback
from jaxflow.training.monitoring.checkpoints import discard, has_checkpoints

ROWS = np.random.default_rng(0).normal(1.0, 2.0, size=(3, 60, 2))
SPEC = FitSpec(epochs=4, batch_size=16, input_noise=0.1, learning_rate=1e-2, patience=None)
# Batch statistics are buffers, dropout is random state in the model; both must come back as well.
MEMBER = MAF(layers=1, hidden=(8, 8), normalization="batch_norm", residual=True, dropout=0.2)
IMPATIENT = SPEC.model_copy(update={"patience": 1, "learning_rate": 0.3})


def fitted(spec, checkpoints=None, fit_spec=SPEC, rows=ROWS[0], seed=1, callbacks=()):
    model, key = spec.build(2, rngs=nnx.Rngs(0)), jax.random.key(seed)
    return fit(model, Batch(rows), ROWS[1], fit_spec, key=key, checkpoints=checkpoints, callbacks=callbacks)


def rows_of(history):
    clock = {"seconds", "steps_per_second"}
    return [{name: value for name, value in row.items() if name not in clock} for row in history.rows]


def assert_same(result, expected):
    one, other = jax.tree.leaves(nnx.state(result.model)), jax.tree.leaves(nnx.state(expected.model))
    for array, wanted in zip(one, other, strict=True):
        assert array.dtype == wanted.dtype
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            array, wanted = jax.random.key_data(array), jax.random.key_data(wanted)
        np.testing.assert_array_equal(array, wanted)
    np.testing.assert_equal(rows_of(result.history), rows_of(expected.history))
    for history, wanted in zip(result.history.members, expected.history.members, strict=True):
        np.testing.assert_equal(rows_of(history), rows_of(wanted))


@pytest.mark.parametrize(
    ("model", "spec"),
    [(MEMBER, SPEC), (EnsembleSpec(member=MEMBER, members=3), IMPATIENT)],
    ids=["flow", "ensemble that stops early"],
)
def test_goes_on_as_if_nothing_had_happened(model, spec, tmp_path):
    expected = fitted(model, fit_spec=spec)
    every = Checkpoints(directory=tmp_path / "kept", seconds=0, keep=100)
    assert_same(fitted(model, every, spec), expected)
    saved = sorted((int(folder.name) for folder in every.directory.iterdir()), reverse=True)
    assert saved == list(range(len(expected.history.rows), 0, -1))
    resume = Checkpoints(directory=every.directory, seconds=1e6, resume=True)
    for left in (saved, saved[-1:]):  # from the last one, and from the first one alone
        for epoch in set(saved) - set(left):
            shutil.rmtree(every.directory / str(epoch))
        assert_same(fitted(model, resume, spec), expected)
    shutil.rmtree(every.directory)
    assert_same(fitted(model, resume, spec), expected)  # from none at all


def test_only_the_last_ones_are_kept(tmp_path):
    fitted(MEMBER, Checkpoints(directory=tmp_path, seconds=0, keep=2))
    assert len([folder for folder in tmp_path.iterdir() if folder.name.isdigit()]) == 2


def test_nothing_is_written_before_it_is_due(tmp_path):
    fitted(MEMBER, Checkpoints(directory=tmp_path / "kept", seconds=1e6))
    assert not (tmp_path / "kept").exists()


def test_time_goes_on_counting(tmp_path):
    fitted(MEMBER, Checkpoints(directory=tmp_path, seconds=0, keep=100))
    shutil.rmtree(tmp_path / "4")
    before = time.perf_counter()
    seconds = fitted(MEMBER, Checkpoints(directory=tmp_path, resume=True)).history.column("seconds")
    assert seconds == sorted(seconds)
    assert seconds[3] - seconds[2] < time.perf_counter() - before


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"fit_spec": SPEC.model_copy(update={"learning_rate": 0.5})}, "learning_rate was 0.01 and is 0.5"),
        ({"rows": ROWS[2]}, "training data differs"),
        ({"seed": 2}, "random key differs"),
        ({"spec": MAF(layers=3, hidden=(8,))}, "model differs"),
        ({"spec": MEMBER.model_copy(update={"activation": "tanh"})}, "model differs"),  # with the very same arrays
    ],
)
def test_another_fit_is_not_resumed(changed, complaint, tmp_path):
    fitted(MEMBER, Checkpoints(directory=tmp_path, seconds=0))
    with pytest.raises(InputError, match=rf"checkpoint .*\d is of another fit: {complaint}; remove the directory"):
        fitted(**{"spec": MEMBER, **changed}, checkpoints=Checkpoints(directory=tmp_path, resume=True))


def test_checkpoints_are_not_overwritten_unasked(tmp_path):
    fitted(MEMBER, Checkpoints(directory=tmp_path, seconds=0))
    with pytest.raises(InputError, match="holds checkpoints of an earlier fit: resume it, or remove the directory"):
        fitted(MEMBER, Checkpoints(directory=tmp_path))


def test_a_damaged_checkpoint_is_named(tmp_path):
    fitted(MEMBER, Checkpoints(directory=tmp_path, seconds=0))
    shutil.rmtree(tmp_path / "4" / "state")
    with pytest.raises(InputError, match=r"checkpoint .*4 cannot be read, remove it to go on from the one before"):
        fitted(MEMBER, Checkpoints(directory=tmp_path, resume=True))


def row(epoch, **changed):
    numbers = dict.fromkeys(["train_loss", "best_loss", "learning_rate", "gradient_norm", "seconds"], 0.5)
    row = {"epoch": epoch, "skipped_steps": 0, "steps_per_second": 3, "valid_loss": None, "device_memory": None}
    return {**row, **numbers, **changed}


DAMAGED = {
    "none": [],
    "no list": {"rows": []},
    "nothing": None,
    "a number": [5],
    "texts": [["x"]],
    "a column alone": [[{"epoch": 1}]],
    "more columns": [[row(1, more=1)]],
    "too many": [[row(1)], [row(1)]],
    "an epoch left out": [[row(1), row(3)]],
    "a column that is a list": [[row(1, seconds=[])]],
    "a loss that is a text": [[row(1, train_loss="0.5")]],
    "a loss that is not there": [[row(1, train_loss=None)]],
    "a loss that is true": [[row(1, train_loss=True)]],
    "half a step": [[row(1, skipped_steps=0.5)]],
    "an epoch that is a mapping": [[row({})]],
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    kept = tmp_path_factory.mktemp("kept")
    fitted(MEMBER, Checkpoints(directory=kept, seconds=0, keep=1))
    return kept


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_histories_are_named(kept, case):
    place = kept / "4" / "fit" / "metadata"
    whole = place.read_text()
    try:
        place.write_text(json.dumps(json.loads(whole) | {"histories": DAMAGED[case]}))
        with pytest.raises(InputError, match=r"checkpoint .*4 cannot be read, remove .*: its histories (are|have) "):
            fitted(MEMBER, Checkpoints(directory=kept, resume=True))
    finally:
        place.write_text(whole)


def test_histories_that_are_whole_are_taken():
    found = checkpoints._histories([[row(1), row(2, train_loss=float("nan"))], []], 2)
    assert [len(history.rows) for history in found] == [2, 0]


def test_what_is_discarded_is_no_checkpoint_at_any_moment(tmp_path, monkeypatch):
    kept = tmp_path / "checkpoints"
    fitted(MEMBER, Checkpoints(directory=kept, seconds=0))
    with monkeypatch.context() as interrupted:
        interrupted.setattr(shutil, "rmtree", lambda *_, **__: None)
        discard(kept)
    assert not has_checkpoints(kept)
    fitted(MEMBER, Checkpoints(directory=kept, seconds=0))
    discard(kept)
    assert not list(tmp_path.iterdir())


class Full:
    """Orbax where there is no space left: it fails at once or in the background, and leaves what it began."""

    def __init__(self, place, error, late):
        self.place, self.error, self.late = place, error, late

    def save(self, position, **_):
        (self.place / f"{position}.orbax-checkpoint-tmp" / "state.orbax-checkpoint-tmp" / "d").mkdir(parents=True)
        if not self.late:
            self.close()

    def close(self):
        logging.getLogger("absl").error("much of what is known")
        raise self.error


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("UNAVAILABLE: Error writing [OS error 27: EFBIG File too large] [source]"), "EFBIG File too large"),
        (ValueError("x" * 10_000), "x" * 200),
    ],
)
def test_what_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, error, said, late):
    monkeypatch.setattr(checkpoints, "LONGEST_WAIT", 0.0)
    kept = tmp_path / "kept"
    writer = checkpoints.CheckpointWriter(Checkpoints(directory=kept, seconds=0), {})
    vars(writer)["_manager"] = Full(kept, error, late)
    with pytest.raises(InputError) as refused, writer:
        writer.save(1, {"a": np.zeros(1)}, [], "after epoch 1")
    assert str(refused.value) == f"{kept}: a checkpoint cannot be written: {said}"
    assert not list(tmp_path.iterdir())
    assert checkpoints._not_of_orbax not in logging.getLogger("absl").filters


def test_a_model_that_fits_itself_takes_none(tmp_path):
    with pytest.raises(InputError, match="Gaussian fits itself, at once, and takes no checkpoints"):
        fit(Gaussian(2), ROWS[0], key=jax.random.key(0), checkpoints=Checkpoints(directory=tmp_path))


class Sender(Callback):
    """Sends SIGTERM to its own process after the second epoch."""

    def update(self, row):
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_saves_the_state_and_ends_the_fit(tmp_path):
    expected = fitted(MEMBER)
    kept = Checkpoints(directory=tmp_path, seconds=1e6, resume=True)
    with pytest.raises(Preempted, match=r"stopped after epoch [34], saved in "):
        fitted(MEMBER, kept, callbacks=[Sender()])
    assert_same(fitted(MEMBER, kept), expected)


def test_sigterm_is_listened_to_for_a_while_only():
    before = signal.getsignal(signal.SIGTERM)
    with listening():
        inside = signal.getsignal(signal.SIGTERM)
        assert inside is not before
        with listening():
            assert signal.getsignal(signal.SIGTERM) is inside
        assert signal.getsignal(signal.SIGTERM) is inside
    assert signal.getsignal(signal.SIGTERM) is before
