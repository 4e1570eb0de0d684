"""Fits that wait for their epochs, which are made one fit at a time or those of several as one program."""

from collections.abc import Generator, Hashable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import jax

from jaxflow.training.devices.mesh import on_all
from jaxflow.training.engine.batch import Batch
from jaxflow.training.engine.epoch import FitState
from jaxflow.training.engine.loop import run_epochs
from jaxflow.training.engine.plan import Plan
from jaxflow.training.feeding.rows_in_memory import RowsInMemory
from jaxflow.training.feeding.streamed_rows import Stream
from jaxflow.training.monitoring.callbacks import Callbacks
from jaxflow.training.monitoring.checkpoints import CheckpointWriter
from jaxflow.training.monitoring.history import History

T = TypeVar("T")

# The last state of a fit by gradient steps, and its history.
Trained: TypeAlias = tuple[FitState, History]


@dataclass(frozen=True, eq=False)
class Epochs:
    """The epochs that a fit waits for: all of them, up to the one in which it stops.

    Attributes:
        state: the state before the first; given up.
        rows: the training rows.
        valid: the held-out rows.
        plan: the static side of the fit.
        callbacks: are told of each epoch.
        writer: saves the state.
    """

    state: FitState
    rows: RowsInMemory | Stream
    valid: Batch | None
    plan: Plan
    callbacks: Callbacks
    writer: CheckpointWriter | None

    def make(self) -> Trained:
        """Make them, of this fit alone."""
        mesh = self.plan.mesh
        state, (history,) = run_epochs(
            self.state,
            lambda state, rest: self.rows.advance(state, self.valid, self.plan, rest),
            epochs=self.plan.spec.epochs,
            parts=self.rows.parts,
            validated=self.valid is not None,
            steps_per_epoch=self.plan.steps_per_epoch,
            callback=self.callbacks,
            writer=self.writer,
            place=lambda state: state if mesh is None else on_all(state, mesh),
        )
        return state, history

    def kind(self) -> Hashable | None:
        """Return what is equal for epochs that can be one program; None for those that are made by themselves."""
        own = self.callbacks.callbacks or self.writer is not None or self.plan.mesh is not None
        if own or not isinstance(self.rows, RowsInMemory):
            return None
        leaves, structure = jax.tree.flatten((self.state, self.rows.batch, self.valid))
        return self.plan, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


# A fit under way: yields the epochs that it waits for, is sent what became of them, and returns its result.
Fitting: TypeAlias = Generator[Epochs, Trained, T]


def fit_alone(fitting: Fitting[T]) -> T:
    """Carry out a fit by itself: make its epochs whenever it waits for some, and return its result."""
    try:
        waiting = next(fitting)
        while True:
            waiting = fitting.send(waiting.make())
    except StopIteration as ended:
        return ended.value
