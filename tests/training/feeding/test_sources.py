"""Rows from files: the fit of the same rows in memory, at bounded memory, and errors that name the place."""

import os
import subprocess
import sys
import threading
from itertools import permutations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from flax import nnx
from pyarrow import csv, parquet

from jaxflow.errors import InputError, NonFiniteLoss, Preempted
from jaxflow.models import MAF, EnsembleSpec, Gaussian, Model, RealNVP
from jaxflow.models.model import weighted_mean
from jaxflow.models.named_arrays import state_arrays
from jaxflow.training import Batch, Callback, Checkpoints, FitSpec, NpyFile, TableFiles, fit
from jaxflow.training.devices import preemption
from jaxflow.training.engine.epoch import EpochKeys
from jaxflow.training.feeding import streamed_rows as stream
from jaxflow.training.feeding.read_ahead import read_ahead
from jaxflow.training.feeding.streamed_rows import Stream

SPEC = FitSpec(epochs=3, batch_size=16, learning_rate=1e-2, patience=None)
NAMES = ("a", "b", "c")


def rows(n: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3))


def write_parquet(folder, x, files: int = 3, group: int = 12):
    folder.mkdir(exist_ok=True)
    for number, part in enumerate(np.array_split(x, files)):
        table = pa.table(dict(zip(NAMES, part.T, strict=True)))
        parquet.write_table(table, folder / f"part{number}.parquet", row_group_size=group)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_parquet(tmp_path / "rows", rows())


def maf(context_dim: int = 0):
    return MAF(layers=2, hidden=(8,), context_dim=context_dim).build(3 - context_dim, rngs=nnx.Rngs(0))


def assert_same_fit(first, second):
    assert first.history.column("train_loss") == second.history.column("train_loss")
    for name, array in state_arrays(first.model).items():
        np.testing.assert_array_equal(array, state_arrays(second.model)[name])


def npy(tmp_path, x, **options):
    np.save(tmp_path / "rows.npy", x)
    return NpyFile(tmp_path / "rows.npy", **options)


@pytest.mark.parametrize("kind", ["npy", "parquet", "csv"])
def test_what_fits_into_the_buffer_gives_the_fit_of_the_rows_in_memory(kind, tmp_path, folder):
    if kind == "npy":
        source = npy(tmp_path, rows())
    elif kind == "parquet":
        source = TableFiles(folder)
    else:
        for number, part in enumerate(np.array_split(rows(), 3)):
            csv.write_csv(pa.table(dict(zip(NAMES, part.T, strict=True))), tmp_path / f"{number}.csv")
        source = TableFiles([tmp_path / f"{number}.csv" for number in range(3)])
    assert source.rows == 100
    streamed = fit(maf(), source, rows(seed=1), SPEC, key=jax.random.key(0))
    assert_same_fit(streamed, fit(maf(), rows(), rows(seed=1), SPEC, key=jax.random.key(0)))


def test_trimmed_too(folder):
    trims = SPEC.model_copy(update={"trim": 0.1})
    fits = [fit(maf(), train, rows(seed=1), trims, key=jax.random.key(0)) for train in (TableFiles(folder), rows())]
    assert_same_fit(*fits)


class Recorder(Model):
    """Its loss keeps a sum over the rows of each step in the order of the steps."""

    def __init__(self):
        self.dim, self.context_dim = 3, 0
        self.point = nnx.Param(jnp.zeros(3))

    def score(self, x, context=None):
        return jnp.sum((x - self.point[...]) ** 2, axis=-1)

    def loss(self, x, weight=None, context=None, rngs=None):
        return weighted_mean(self.score(x), weight)


@pytest.mark.parametrize("buffer_rows", [16, 40, 64])
def test_an_epoch_of_many_blocks_sees_every_row_once_in_another_order_each_time(buffer_rows, folder):
    source = TableFiles(folder, buffer_rows=buffer_rows)
    # At a rate near zero the loss of an epoch is the mean over all rows.
    spec = FitSpec(epochs=2, batch_size=16, learning_rate=1e-12, patience=None)
    losses = fit(Recorder(), source, None, spec, key=jax.random.key(0)).history.column("train_loss")
    np.testing.assert_allclose(losses, (rows() ** 2).sum(axis=1).mean(), rtol=1e-5)
    fits = [fit(maf(), source, None, SPEC, key=jax.random.key(seed)) for seed in (0, 0, 1)]
    assert_same_fit(fits[0], fits[1])
    assert fits[0].history.column("train_loss") != fits[2].history.column("train_loss")
    assert fits[0].history.column("train_loss")[-1] < fits[0].history.column("train_loss")[0]


def test_rows_for_first_values_are_spread_over_all_chunks(tmp_path):
    x = rows()
    source = TableFiles(write_parquet(tmp_path / "rows", x, group=5), buffer_rows=len(x))
    for count in (7, 20, len(x)):
        found = Stream(source, maf(), SPEC).first_rows(count).x
        np.testing.assert_allclose(found, x[:: -(-len(x) // count)], rtol=1e-6)


def test_every_block_is_shuffled_in_its_own_way(folder):
    blocks, whole = (Stream(TableFiles(folder, buffer_rows=count), maf(), SPEC) for count in (16, 10_000))
    keys = EpochKeys.of(jax.random.key(0), jnp.asarray(0))
    drawn = [jax.random.key_data(blocks._shuffle_key(keys, number)).tolist() for number in range(3)]
    assert len({tuple(key) for key in drawn}) == 3
    # One block is shuffled as the rows in memory are.
    assert whole._shuffle_key(keys, 0) == keys.shuffle


def test_steps_in_blocks_are_those_of_the_same_order_in_memory(tmp_path):
    """One step a block, so the blocks' order is that of the chunks, and a loop over it makes the same steps."""
    x = rows(64)
    folder = write_parquet(tmp_path / "rows", x, files=1, group=16)
    spec = FitSpec(epochs=1, batch_size=16, learning_rate=0.05, warmup=0.0, weight_decay=0.0, clip_norm=None)
    result = fit(Recorder(), TableFiles(folder, buffer_rows=16), None, spec, key=jax.random.key(0))
    means = [x[start : start + 16].mean(axis=0) for start in range(0, 64, 16)]
    reached = np.asarray(result.model.point[...])
    possible = [_adam([means[index] for index in order], spec) for order in permutations(range(4))]
    distances = np.abs(np.array(possible) - reached).max(axis=1)
    assert distances.min() < 1e-6
    assert np.sum(distances < 1e-4) == 1


def _adam(means, spec):
    point, first, second = np.zeros(3), np.zeros(3), np.zeros(3)
    for step, mean in enumerate(means):
        gradient = 2 * (point - mean)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        total = len(means)
        share = spec.final_learning_rate + (1 - spec.final_learning_rate) * 0.5 * (1 + np.cos(np.pi * step / total))
        direction = (first / (1 - 0.9 ** (step + 1))) / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
        point = point - spec.learning_rate * share * direction
    return point


def test_a_watcher_is_told_of_every_block_but_the_last_of_an_epoch(folder):
    told = []

    class Listener(Callback):
        def partway(self, epoch, share):
            told.append((epoch, share))

    source = TableFiles(folder, buffer_rows=32)
    fit(maf(), source, None, SPEC.model_copy(update={"epochs": 2}), key=jax.random.key(0), callbacks=[Listener()])
    assert told == [(epoch, part / 4) for epoch in (1, 2) for part in (1, 2, 3)]


def test_a_second_epoch_compiles_nothing(folder, compilations):
    source = TableFiles(folder, buffer_rows=32)
    fit(maf(), source, rows(seed=1), SPEC, key=jax.random.key(0))
    with compilations() as second:
        fit(maf(), source, rows(seed=1), SPEC, key=jax.random.key(1))
    assert not second


def test_columns_after_the_features_are_the_context(folder):
    source = TableFiles(folder, columns=["b", "c", "a"])
    x = rows()
    streamed = fit(maf(context_dim=1), source, None, SPEC, key=jax.random.key(0))
    assert_same_fit(
        streamed, fit(maf(context_dim=1), Batch(x[:, [1, 2]], None, x[:, :1]), None, SPEC, key=jax.random.key(0))
    )


def test_a_large_source_is_looked_at_in_places_for_first_values(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxflow.training.feeding.streamed_rows.FIRST_CHUNKS", 4)
    source = TableFiles(write_parquet(tmp_path / "rows", rows(1000), files=2, group=10), buffer_rows=500)
    read = []
    original = source._read
    monkeypatch.setattr(source, "_read", lambda chunk: (read.append(chunk), original(chunk))[1])
    model = RealNVP(layers=2, hidden=(8,), normalization="act_norm").build(3, rngs=nnx.Rngs(0))
    result = fit(model, source, None, SPEC.model_copy(update={"epochs": 1}), key=jax.random.key(0))
    assert read[:4] == [0, 25, 50, 75]
    assert np.isfinite(result.history.column("train_loss")).all()


def test_a_fit_in_float64_reads_float64(folder):
    with jax.enable_x64(True):
        streamed = fit(maf(), TableFiles(folder), None, SPEC, key=jax.random.key(0))
        whole = fit(maf(), rows(), None, SPEC, key=jax.random.key(0))
    for name, array in state_arrays(streamed.model).items():
        assert array.dtype == np.float64 or array.dtype.kind != "f"
        np.testing.assert_allclose(array, state_arrays(whole.model)[name], rtol=1e-12)


@pytest.mark.parametrize(("after", "trim"), [(1, 0.0), (4, 0.0), (7, 0.0), (4, 0.1)])
def test_a_fit_that_is_stopped_within_an_epoch_goes_on_bit_for_bit(after, trim, folder, tmp_path, monkeypatch):
    source = TableFiles(folder, buffer_rows=32)  # four blocks an epoch
    spec = SPEC.model_copy(update={"trim": trim})
    whole = fit(maf(), source, rows(seed=1), spec, key=jax.random.key(0))
    asked = iter([False] * after + [True] * 1000)
    monkeypatch.setattr(preemption, "asked_to_stop", lambda: next(asked))
    saved = Checkpoints(directory=tmp_path / "saved", seconds=1e9)
    with pytest.raises(Preempted, match=r"stopped (in|after) epoch"):
        fit(maf(), source, rows(seed=1), spec, key=jax.random.key(0), checkpoints=saved)
    monkeypatch.setattr(preemption, "asked_to_stop", lambda: False)
    resumed = saved.model_copy(update={"resume": True})
    again = fit(maf(), source, rows(seed=1), spec, key=jax.random.key(0), checkpoints=resumed)
    assert_same_fit(again, whole)
    assert len(again.history.rows) == 3


def test_other_files_are_another_fit(folder, tmp_path):
    saved = Checkpoints(directory=tmp_path / "saved", seconds=0)
    fit(maf(), TableFiles(folder), None, SPEC, key=jax.random.key(0), checkpoints=saved)
    write_parquet(folder, rows(seed=5))
    with pytest.raises(InputError, match="is of another fit: training data differs"):
        fit(maf(), TableFiles(folder), None, SPEC, key=jax.random.key(0),
            checkpoints=saved.model_copy(update={"resume": True}))  # fmt: skip


def compare_small_chunks_with_memory(folder: str, *buffers: int) -> None:
    stream.FIRST_CHUNKS = 4
    for buffer_rows in buffers:
        source = TableFiles(write_parquet(Path(folder) / str(buffer_rows), rows(), group=5), buffer_rows=buffer_rows)
        spec = RealNVP(layers=2, hidden=(8,), normalization="act_norm")
        streamed, resident = (
            fit(spec.build(3, rngs=nnx.Rngs(0)), data, None, SPEC, key=jax.random.key(0)) for data in (source, rows())
        )
        assert_same_fit(streamed, resident)


@pytest.mark.end_to_end
def test_many_small_chunks_that_fit_are_the_rows_in_memory(tmp_path):
    # In a process whose programs are compiled as a user's are: those of the tests, two here, round a little otherwise.
    program = "import sys; from tests.training.feeding import test_sources as t; "
    program += "t.compare_small_chunks_with_memory(sys.argv[1], 100, 101, 1000)"
    command, root = [sys.executable, "-c", program, str(tmp_path)], Path(__file__).parents[3]
    environment = os.environ | {"XLA_FLAGS": "", "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_of_many_files_every_one_counts_for_the_identity(folder, monkeypatch):
    source = TableFiles(folder)
    names = [f"part{number:05}.parquet" for number in range(2000)]
    seen = []
    for changed in range(0, 2000, 400):
        monkeypatch.setattr(source, "identity", lambda changed=changed: [*names[:changed], "other", *names[changed:]])
        seen.append(Stream(source, maf(), SPEC).identity().tobytes())
    assert len(set(seen)) == 5


def test_after_a_bad_step_no_more_is_read(tmp_path, monkeypatch):
    folder = write_parquet(tmp_path / "rows", np.full((1600, 3), 1e30), files=1, group=16)
    source = TableFiles(folder, buffer_rows=16)
    read = []
    original = source._read
    monkeypatch.setattr(source, "_read", lambda chunk: (read.append(chunk), original(chunk))[1])
    model = Recorder()
    with pytest.raises(NonFiniteLoss):
        fit(model, source, None, SPEC, key=jax.random.key(0))
    assert len(read) < 50 + 64  # of 100 blocks, and 50 chunks for first values


def test_pieces_that_do_not_fit_are_refused(tmp_path):
    folder = write_parquet(tmp_path / "rows", rows(), files=1, group=50)
    with pytest.raises(InputError, match=r"part0\.parquet: a row group has 50 rows, expected at most 4 times"):
        TableFiles(folder, buffer_rows=12)
    csv.write_csv(pa.table(dict(zip(NAMES, rows().T, strict=True))), tmp_path / "rows.csv")
    with pytest.raises(InputError, match=r"rows\.csv: the file has 100 rows, expected at most 4 times"):
        TableFiles(tmp_path / "rows.csv", buffer_rows=24)


def test_a_number_that_float32_does_not_hold_is_named(tmp_path):
    x = rows()
    x[60, 2] = 1e200
    source = TableFiles(write_parquet(tmp_path / "rows", x, files=2))
    with pytest.raises(InputError, match=r"part1\.parquet: row 11, column c is 1e\+200, more than float32 holds"):
        fit(maf(), source, None, SPEC, key=jax.random.key(0))


@pytest.mark.parametrize("bad", [0, 37, 99])
def test_a_row_that_ends_a_fit_is_named_by_its_place(bad, tmp_path):
    x = rows()
    x[bad] = 1e30
    source = TableFiles(write_parquet(tmp_path / "rows", x, files=2), buffer_rows=32)
    with pytest.raises(NonFiniteLoss) as caught:
        fit(maf(), source, rows(seed=1), SPEC, key=jax.random.key(0))
    assert caught.value.rows == (bad,)
    assert f"part{bad // 50}.parquet: row {bad % 50 + 1})" in str(caught.value)


def test_a_cell_that_is_no_number_is_named_when_it_is_read(tmp_path):
    x = rows()
    x[70, 1] = np.nan
    source = TableFiles(write_parquet(tmp_path / "rows", x, files=2), buffer_rows=32)
    with pytest.raises(InputError, match=r"part1.parquet: row 21, column b is nan, expected a finite number"):
        fit(maf(), source, None, SPEC, key=jax.random.key(0))
    with pytest.raises(InputError, match=r"rows.npy: index 70, column x1 is nan"):
        fit(maf(), npy(tmp_path, x), None, SPEC, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: Gaussian(3), "Gaussian fits itself, to rows in memory, and takes no source"),
        (lambda: EnsembleSpec(member=MAF(), members=2).build(3, rngs=nnx.Rngs(0)), "an ensemble is fitted to rows"),
        (lambda: MAF(dequantize="uniform").build(3, rngs=nnx.Rngs(0)), "looks at all rows before the fit"),
        (lambda: MAF(normalization="batch_norm").build(3, rngs=nnx.Rngs(0)), "wants all rows at once"),
        (lambda: MAF().build(2, rngs=nnx.Rngs(0)), "train has 3 columns, expected 2: 2 features and 0"),
    ],
)  # fmt: skip
def test_models_that_do_not_suit_a_source_are_refused(model, message, folder):
    spec = None if "Gaussian" in message else SPEC
    with pytest.raises(InputError, match=message):
        fit(model(), TableFiles(folder), None, spec, key=jax.random.key(0))


def test_held_out_rows_come_from_memory(folder):
    with pytest.raises(InputError, match="valid is a source, expected rows in memory"):
        fit(maf(), rows(), TableFiles(folder), SPEC, key=jax.random.key(0))


def test_files_that_do_not_suit_are_refused(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: there is no file in it, expected some that end in"):
        TableFiles(tmp_path / "empty")
    with pytest.raises(InputError, match=r"gone\.parquet: there is no such file"):
        TableFiles(tmp_path / "gone.parquet")
    (tmp_path / "rows.txt").write_text("a")
    with pytest.raises(InputError, match=r"rows\.txt: unknown extension"):
        TableFiles(tmp_path / "rows.txt")
    with pytest.raises(InputError, match=r"part0\.parquet: column d is missing"):
        TableFiles(folder, columns=["a", "d"])
    with pytest.raises(InputError, match="buffer_rows = 0: expected a whole number of at least 1"):
        TableFiles(folder, buffer_rows=0)
    (folder / "part1.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(InputError, match=r"part1\.parquet: cannot be read as Parquet"):
        TableFiles(folder)


def test_arrays_that_do_not_suit_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.npy: there is no such file"):
        NpyFile(tmp_path / "gone.npy")
    with pytest.raises(InputError, match=r"holds float64\(3,\), expected a matrix of numbers"):
        npy(tmp_path, np.zeros(3))
    with pytest.raises(InputError, match=r"has shape \(0, 3\), expected at least one row"):
        npy(tmp_path, np.zeros((0, 3)))
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(InputError, match=r"text\.npy: cannot be read as NPY"):
        NpyFile(tmp_path / "text.npy")


def test_what_is_read_ahead_is_the_same_and_errors_come_in_their_turn():
    assert list(read_ahead(range(10))) == list(range(10))

    def fails():
        yield 1
        raise InputError("at the second")

    items = read_ahead(fails())
    assert next(items) == 1
    with pytest.raises(InputError, match="at the second"):
        next(items)


def test_a_reader_that_gives_up_ends_the_thread():
    made = []

    def endless():
        while True:
            made.append(len(made))
            yield made[-1]

    items = read_ahead(endless(), depth=2)
    assert next(items) == 0
    items.close()
    assert len(made) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]
