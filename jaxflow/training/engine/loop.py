"""The host's side of a fit: epoch after epoch, reports into histories, a checkpoint now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import jax
import numpy as np

from jaxflow.training.devices import preemption
from jaxflow.training.engine.epoch import FitState, Record
from jaxflow.training.engine.records import history_rows, mean_history, mean_row
from jaxflow.training.monitoring.callbacks import Callback
from jaxflow.training.monitoring.checkpoints import CheckpointWriter
from jaxflow.training.monitoring.history import History

Report = TypeVar("Report")


def run_epochs(
    state: FitState,
    advance: Callable[[FitState, Callable[[FitState, int], None]], tuple[FitState, Record]],
    *,
    epochs: int,
    steps_per_epoch: int,
    validated: bool,
    parts: int | None = None,
    callback: Callback,
    writer: CheckpointWriter | None = None,
    place: Callable[[Any], Any] = lambda state: state,
) -> tuple[FitState, list[History]]:
    """Advance a fit, or those of several members at once, until all have stopped.

    Args:
        state: the first state; given up.
        advance: makes one epoch; it may give up the state it is given. The function that it is handed besides is for
            epochs of several parts: called with the state after a part and the number of parts done, it saves the state
            if it is time.
        epochs: the largest number of epochs.
        steps_per_epoch: of one member.
        validated: whether there are held-out rows.
        parts: number of programs an epoch consists of, where they are several.
        callback: is told of each epoch.
        writer: saves the state; a fit that was saved before goes on from there.
        place: puts a state where `advance` wants it.

    Returns:
        The last state, and a history of each member, or the one there is, up to the epoch in which it stopped.

    Raises:
        Preempted: if the process was asked to stop, once the state is saved.
    """
    stopped = np.atleast_1d(np.asarray(state.stopped))
    histories = [History() for _ in stopped]
    state = place(state)
    per_epoch = 1 if parts is None else parts
    with ExitStack() as contexts:
        if writer is not None:
            contexts.enter_context(writer)
            contexts.enter_context(preemption.listening())
            restored = writer.restore(state, len(histories))
            if restored is not None:
                state, histories = restored
                state = place(state)
                stopped = np.atleast_1d(np.asarray(state.stopped)).copy()
        first = max(len(history.rows) for history in histories)
        longest = max(histories, key=lambda history: len(history.rows))
        before = float(longest.rows[-1]["seconds"] or 0.0) if longest.rows else 0.0
        started = time.perf_counter() - before
        contexts.enter_context(callback)
        if first:
            callback.restore(mean_history(histories).rows)
        read = time.perf_counter()

        def step() -> Record:
            nonlocal state
            state, record = advance(state, rest)
            return record

        def due() -> bool:
            return writer is not None and writer.due

        def rest(partway: FitState, part: int) -> None:
            done = len(histories[0].rows)
            callback.partway(done + 1, part / per_epoch)
            if writer is not None and writer.due:
                writer.save(done * per_epoch + part, partway, histories, f"in epoch {done + 1}")

        number = first
        remaining = 0 if stopped.all() else epochs
        # An epoch of several parts is long, and is not begun in vain; there is nothing to gain by reading late either.
        for number, report, at_rest in lagging(first, remaining, step, due if parts is None else lambda: True):
            record = jax.device_get(report)
            before, read = read, time.perf_counter()
            measured = {
                "seconds": read - started,
                "steps_per_second": steps_per_epoch / (read - before),
                "device_memory": device_memory(),
            }
            rows = history_rows(number, record, validated, measured)
            running = np.flatnonzero(~stopped)
            for index in running:
                histories[index].rows.append(rows[index])
            callback.update(mean_row([rows[index] for index in running]))
            stopped = np.atleast_1d(record.stopped)
            if at_rest and writer is not None and writer.due:
                writer.save(number * per_epoch, state, histories, f"after epoch {number}")
            if stopped.all():
                break
        if writer is not None and writer.due:
            writer.save(number * per_epoch, state, histories, f"after epoch {number}")
    return state, histories


def device_memory() -> int | None:
    """Bytes in use on the first device; None where it does not say, as CPUs do not."""
    memory = jax.local_devices()[0].memory_stats()
    return None if memory is None else memory.get("bytes_in_use")


def lagging(
    first: int, epochs: int, advance: Callable[[], Report], at_rest: Callable[[], bool]
) -> Iterator[tuple[int, Report, bool]]:
    """Call `advance` for each epoch and give its report once the next call has been made.

    So the report of an epoch is read while the next one runs, and the device never waits for the host. A caller that
    stops has started one epoch too many, which must do nothing if the report says that the fit has stopped. Where
    `at_rest` asks for it, the report is given before the next call is made.

    Args:
        first: number of epochs that have been made before.
        epochs: number of epochs when all have been made.
        advance: makes the next one.
        at_rest: whether the next report is wanted before the epoch that follows it.

    Yields:
        The number of the epoch, its report, and whether that was asked for.
    """
    previous = None
    for number in range(first, epochs + 1):
        if previous is not None and at_rest():
            yield number, previous, True
            previous = None
        report = advance() if number < epochs else None
        if previous is not None:
            yield number, previous, False
        previous = report
