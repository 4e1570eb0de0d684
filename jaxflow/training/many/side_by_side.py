"""Fits made side by side, of which those alike run as one program."""

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxflow.training.engine.batch import Batch
from jaxflow.training.engine.epoch import FitState, run_epoch
from jaxflow.training.engine.loop import run_epochs
from jaxflow.training.engine.plan import Plan
from jaxflow.training.engine.precision import floats_of
from jaxflow.training.many.members import advance_members, member_axes, take_turns
from jaxflow.training.monitoring.callbacks import Callbacks
from jaxflow.training.monitoring.history import History

T = TypeVar("T")


def side_by_side(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Do several jobs that fit models, and train in one program what they fit at the same time and is alike.

    A job is any function of no arguments, such as `partial(detector.fit, X)`. One works at a time, up to the next fit
    by gradient steps, and waits there for the others. Of the fits at which all have arrived, those of equal structure,
    `FitSpec` and shapes are stacked and run under `vmap`; the rest run by themselves, as do fits with progress,
    checkpoints, several devices, watchers or a source. Data sets of one size class (`models.size_class`) and width
    have equal shapes in a committee. A fit's result is that of the fit alone but for rounding.

    On an accelerator, which one small fit does not fill, this is faster; on CPUs fits that are stacked take turns, and
    nothing is gained but that they are compiled once.

    Args:
        jobs: each is called once, in a thread of its own.

    Returns:
        What they return, in their order.

    Raises:
        Exception: that of the first job that raised one, after all have ended.
    """
    if len(jobs) < 2:
        return [job() for job in jobs]
    meeting = Meeting()
    with ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(meeting.attend, job) for job in jobs]
        meeting.preside(len(jobs))
    return [future.result() for future in futures]


def current_meeting() -> "Meeting | None":
    """Return the meeting of the job in whose thread this is called, if there is one."""
    return _MEETING.get()


_MEETING: ContextVar["Meeting | None"] = ContextVar("_MEETING", default=None)


@dataclass(eq=False)
class _Fit:
    """A fit about to make its first epoch, and what became of it."""

    state: FitState
    train: Batch
    valid: Batch | None
    plan: Plan
    float_type: str = field(default_factory=lambda: str(jnp.result_type(float)))
    outcome: tuple[FitState, History] | None = None
    error: BaseException | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def kind(self) -> Hashable:
        """Equal for fits that can be one program."""
        leaves, structure = jax.tree.flatten((self.state, self.train, self.valid))
        return self.plan, self.float_type, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


class Meeting:
    """Where the threads of jobs wait for one another, while the thread that presides runs their fits."""

    def __init__(self):
        self.turn = threading.Lock()  # held by the one job that works
        self.news: SimpleQueue[_Fit | None] = SimpleQueue()  # a fit to be run, or None for a job that has ended
        self.float_type = str(jnp.result_type(float))
        self.closed = False

    def attend(self, job: Callable[[], T]) -> T:
        """Do a job when it is its turn; what it fits meets the fits of others."""
        with self.turn:
            try:
                if self.closed:
                    raise CancelledError
                _MEETING.set(self)
                with floats_of(self.float_type):  # a thread begins with that of the process
                    return job()
            finally:
                _MEETING.set(None)
                self.news.put(None)

    def run(self, state: FitState, train: Batch, valid: Batch | None, plan: Plan) -> tuple[FitState, History]:
        """The last state and the history of a fit; called by a job."""
        fit = _Fit(state, train, valid, plan)
        self.news.put(fit)
        self.turn.release()
        try:
            fit.ended.wait()
        finally:
            self.turn.acquire()
        if fit.outcome is None:
            raise CancelledError if fit.error is None else fit.error
        return fit.outcome

    def preside(self, jobs: int) -> None:
        """Run the fits whenever all jobs that have not ended wait for one."""
        waiting: list[_Fit] = []
        try:
            while jobs:
                news = self.news.get()
                if news is None:
                    jobs -= 1
                else:
                    waiting.append(news)
                if waiting and len(waiting) == jobs:
                    _run_all(waiting)
                    for fit in waiting:
                        fit.ended.set()
                    waiting = []
        finally:
            # Interrupted: whoever waits, or comes to wait, ends.
            self.closed = True
            while jobs:
                for fit in waiting:
                    fit.ended.set()
                news = self.news.get()
                jobs -= news is None
                waiting = [] if news is None else [news]


def _run_all(fits: Sequence[_Fit]) -> None:
    groups: dict[Hashable, list[_Fit]] = {}
    for fit in fits:
        groups.setdefault(fit.kind(), []).append(fit)
    for alike in groups.values():
        try:
            with floats_of(alike[0].float_type):
                outcomes = _run(alike)
        except Exception as error:
            for fit in alike:
                fit.error = error
        else:
            for fit, outcome in zip(alike, outcomes, strict=True):
                fit.outcome = outcome


def _run(alike: Sequence[_Fit]) -> list[tuple[FitState, History]]:
    first = alike[0]
    how: Any = {
        "epochs": first.plan.spec.epochs,
        "validated": first.valid is not None,
        "steps_per_epoch": first.plan.steps_per_epoch,
        "watcher": Callbacks([]),
    }
    if len(alike) == 1:
        state, (history,) = run_epochs(
            first.state, lambda state, _: run_epoch(state, first.train, first.valid, plan=first.plan), **how
        )
        return [(state, history)]
    states, train, valid = _stacked([(fit.state, fit.train, fit.valid) for fit in alike])
    axes = member_axes(train), None if valid is None else member_axes(valid)
    states, histories = run_epochs(
        states,
        lambda states, _: advance_members(states, train, valid, plan=first.plan, axes=axes, in_turn=take_turns()),
        **how,
    )
    return [(_taken(states, jnp.asarray(index)), history) for index, history in enumerate(histories)]


@jax.jit
def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *trees)


@jax.jit
def _taken(trees: Any, index: Int[Array, ""]) -> Any:
    return jax.tree.map(lambda array: array[index], trees)
