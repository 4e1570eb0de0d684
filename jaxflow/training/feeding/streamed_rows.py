"""Training rows that come from a source, a block at a time."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxflow.errors import InputError, NonFiniteLoss
from jaxflow.models.model import Model
from jaxflow.training.devices.mesh import from_hosts, gathered, on_all
from jaxflow.training.engine.bad_steps import blamed, rows_of_step
from jaxflow.training.engine.batch import Batch
from jaxflow.training.engine.epoch import EpochKeys, FitState, Part, Record, finish
from jaxflow.training.engine.plan import Plan, TracedHyperparameters, follows_data
from jaxflow.training.engine.precision import floats_of
from jaxflow.training.engine.shuffle import random_order
from jaxflow.training.engine.step import Totals, Trained, run_steps
from jaxflow.training.engine.trim import trimmed
from jaxflow.training.feeding.read_ahead import read_ahead
from jaxflow.training.feeding.sources import Source
from jaxflow.training.fit_spec import FitSpec

FIRST_CHUNKS = 64  # chunks that are read for the first values of layers


class Piece(NamedTuple):
    """Rows `start` to `stop` of a chunk."""

    chunk: int
    start: int
    stop: int


class Stream:
    """Rows of a source: an epoch is a sequence of blocks, each read and laid on the device while the last one computes.

    The chunks of the source are taken in random order and cut into blocks of `source.buffer_rows` rows, in which the
    rows are shuffled. Where one block holds all rows, the fit is that of the same rows in memory, number by number.

    Attributes:
        rows: number of rows.
        parts: number of blocks.
    """

    def __init__(self, source: Source, model: Model, spec: FitSpec):
        _refuse_unsuitable(source, model)
        self.source, self.dim = source, model.dim
        self.float_type = str(jnp.result_type(float))
        self.rows = source.rows
        self.block_rows = self.rows
        self.steps = -(-self.rows // spec.batch_size)
        if self.rows > source.buffer_rows:
            # Whole steps, so that only the last block has one that is filled up.
            self.steps = max(1, source.buffer_rows // spec.batch_size)
            self.block_rows = min(self.steps * spec.batch_size, self.rows)
        self.parts = -(-self.rows // self.block_rows)
        self.mesh: Mesh | None = None
        self._last: tuple[int, np.ndarray] | None = None

    def prepare(self, model: Model) -> None:
        """Nothing: a model that has yet to look at all rows is refused."""

    def first_rows(self, count: int) -> Batch:
        """At most that many rows, spread evenly over all chunks or over `FIRST_CHUNKS` of them."""
        chunks = range(len(self.source.lengths))
        chosen = chunks if self.parts == 1 else chunks[:: -(-len(chunks) // FIRST_CHUNKS)]
        step = -(-int(self.source.lengths[list(chosen)].sum()) // count)
        rows, seen = [], 0
        for chunk in chosen:
            values = self.source.read(chunk)
            rows.append(values[-seen % step :: step].copy())  # or the whole chunk would be kept
            seen += len(values)
        return self._batch(np.concatenate(rows))

    def place(self, mesh: Mesh | None) -> None:
        """Lay the blocks on the devices of a mesh from now on."""
        self.mesh = mesh

    def advance(
        self, state: FitState, valid: Batch | None, plan: Plan, rest: Callable[[FitState, int], Any]
    ) -> tuple[FitState, Record]:
        """Make an epoch, or what is left of it; `rest` is called after each block but the last."""
        assert state.part is not None
        key, epoch, knobs = state.key, state.epoch, state.knobs
        trained, totals = state.trained, state.part.totals
        keys = EpochKeys.of(key, epoch)
        first = int(state.part.done)
        with closing(read_ahead(self._blocks(self._layout(keys)[first:]))) as blocks:
            for number, block in enumerate(blocks, start=first):
                # Waits for the block before: blocks that wait for the device would fill the memory.
                jax.block_until_ready(totals)
                if plan.spec.bad_steps == "stop" and int(trained.bad_step) >= 0:
                    break
                trained, totals = _run_block(
                    trained,
                    totals,
                    block,
                    self._shuffle_key(keys, number),
                    keys.steps,
                    knobs,
                    epoch,
                    np.int32(number * self.steps),
                    count=min(self.block_rows, self.rows - number * self.block_rows),
                    plan=plan,
                )
                if number + 1 < self.parts:
                    # Added, not made anew, so that it lies where the rest of the state does.
                    done = state.part.done + (number + 1 - first)
                    rest(state._replace(trained=trained, part=Part(totals, done)), number + 1)
        return _finish(state._replace(trained=None), trained, totals, valid, plan=plan)

    def explained(self, state: FitState, plan: Plan) -> NonFiniteLoss:
        """The error of a fit that ended at a bad step; the row is named by its place."""
        keys = EpochKeys.of(state.key, state.epoch - 1)
        number, step = divmod(int(state.trained.bad_step), self.steps)
        pieces = self._layout(keys)[number]
        order = random_order(self._shuffle_key(keys, number), _count(pieces))
        within = np.asarray(rows_of_step(order, step, plan))
        starts = self.source.starts
        numbers = np.concatenate([starts[chunk] + np.arange(start, stop) for chunk, start, stop in pieces])[within]
        batch = self._batch(self._read(pieces)[within])
        error = blamed(state, batch, numbers, plan)
        where = self.source.where(error.rows[0]) if error.rows else "the source"
        error.source = f"the source, counted from 0 (the first is {where})"
        return error

    def identity(self) -> Any:
        """Return what tells these rows from others."""
        text = json.dumps([self.source.identity(), self.source.buffer_rows])
        return np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)

    def _layout(self, keys: EpochKeys) -> list[list[Piece]]:
        """The pieces of each block of an epoch."""
        lengths = self.source.lengths
        order = np.arange(len(lengths))
        if self.parts > 1:
            order = np.asarray(jax.random.permutation(jax.random.fold_in(keys.shuffle, self.parts), len(lengths)))
        blocks: list[list[Piece]] = [[]]
        left = self.block_rows
        for chunk in order.tolist():
            start, length = 0, int(lengths[chunk])
            while start < length:
                if not left:
                    blocks.append([])
                    left = self.block_rows
                stop = min(length, start + left)
                blocks[-1].append(Piece(chunk, start, stop))
                left -= stop - start
                start = stop
        return blocks

    def _shuffle_key(self, keys: EpochKeys, number: int) -> PRNGKeyArray:
        return keys.shuffle if self.parts == 1 else jax.random.fold_in(keys.shuffle, number)

    def _blocks(self, layout: list[list[Piece]]) -> Iterator[Batch]:
        with floats_of(self.float_type):  # which a thread does not inherit
            for pieces in layout:
                if self.mesh is None:
                    yield self._batch(self._read(pieces))
                elif jax.process_count() == 1:
                    yield on_all(self._batch(self._read(pieces)), self.mesh)
                else:
                    yield self._shared(pieces, self.mesh)

    def _shared(self, pieces: list[Piece], mesh: Mesh) -> Batch:
        """A block of which each process has read its part, with rows of zeros after the last."""
        count = _count(pieces)
        share = -(-count // jax.device_count()) * jax.local_device_count()
        first = min(count, jax.process_index() * share)
        mine = _cut(pieces, first, min(count, first + share))
        values = np.zeros((share, len(self.source.columns)), self.float_type)
        values[: _count(mine)] = self._read(mine)
        context = from_hosts(values[:, self.dim :], mesh) if values.shape[1] > self.dim else None
        return Batch(from_hosts(values[:, : self.dim], mesh), None, context)

    def _read(self, pieces: list[Piece]) -> Float[np.ndarray, "rows columns"]:
        values, filled = np.empty((_count(pieces), len(self.source.columns)), self.float_type), 0
        for chunk, start, stop in pieces:
            # A chunk may end one block and begin the next.
            if self._last is None or self._last[0] != chunk:
                self._last = None
                self._last = chunk, self.source.read(chunk)
            end = filled + stop - start
            with np.errstate(over="ignore"):
                values[filled:end] = self._last[1][start:stop]
            if not np.isfinite(values[filled:end]).all():
                row, column = np.argwhere(~np.isfinite(values[filled:end]))[0]
                place = self.source.where(int(self.source.starts[chunk]) + start + int(row))
                cell = self._last[1][start + row, column]
                name = self.source.columns[column]
                raise InputError(f"{place}, column {name} is {cell:g}, more than {self.float_type} holds")
            filled = end
        return values

    def _batch(self, values: Float[np.ndarray, "rows columns"]) -> Batch:
        with np.errstate(over="ignore"):  # which `_read` finds
            values = values.astype(self.float_type, copy=False)
        context = jnp.asarray(values[:, self.dim :]) if values.shape[1] > self.dim else None
        return Batch(jnp.asarray(values[:, : self.dim]), None, context)


def _count(pieces: Sequence[Piece]) -> int:
    return sum(stop - start for _, start, stop in pieces)


def _cut(pieces: Sequence[Piece], first: int, last: int) -> list[Piece]:
    """The pieces of the rows `first` to `last` of all these rows."""
    cut, seen = [], 0
    for chunk, start, stop in pieces:
        begin, end = max(first - seen, 0), min(last - seen, stop - start)
        if begin < end:
            cut.append(Piece(chunk, start + begin, start + end))
        seen += stop - start
    return cut


def _refuse_unsuitable(source: Source, model: Model) -> None:
    if not model.prepared:
        raise InputError(f"{type(model).__name__} looks at all rows before the fit, which a source does not allow")
    if follows_data(model):
        raise InputError(
            "a layer of the model, such as BatchNorm, wants all rows at once, which a source does not allow"
        )
    wanted = model.dim + model.context_dim
    if len(source.columns) != wanted:
        raise InputError(
            f"train has {len(source.columns)} columns, expected {wanted}: {model.dim} features and {model.context_dim} "
            "context features after them"
        )


@partial(jax.jit, static_argnames=("count", "plan"), donate_argnames="trained")
def _run_block(
    trained: Trained,
    totals: Totals,
    rows: Batch,
    shuffle_key: PRNGKeyArray,
    steps_key: PRNGKeyArray,
    knobs: TracedHyperparameters,
    epoch: Int[Array, ""],
    first: Int[Array, ""],
    *,
    count: int,
    plan: Plan,
) -> tuple[Trained, Totals]:
    """The steps over the first `count` of these rows; what several processes have read is first brought together."""
    rows = rows if plan.mesh is None else gathered(rows, plan.mesh)
    order = random_order(shuffle_key, count)
    if plan.spec.trim:
        rows = jax.tree.map(lambda array: array[:count], rows)  # without those that fill up what processes have read
        rows = trimmed(trained, rows, knobs.trim, order, plan)
    blocks = plan.blocks(jax.tree.map(lambda array: array[order], rows))
    trained, more = run_steps(trained, blocks, steps_key, knobs, plan, epoch=epoch, first=first)
    return trained, jax.tree.map(jnp.add, totals, more)


@partial(jax.jit, static_argnames="plan", donate_argnames=("state", "trained"))
def _finish(state, trained, totals, valid, *, plan):
    return finish(state, trained, totals, valid, plan)
