"""Training rows that lie on the device as a whole."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from jaxflow.errors import NonFiniteLoss
from jaxflow.models.model import Model
from jaxflow.training.devices.mesh import on_all
from jaxflow.training.engine.bad_steps import explained
from jaxflow.training.engine.batch import Batch, spread_rows
from jaxflow.training.engine.epoch import FitState, Record, run_epoch
from jaxflow.training.engine.plan import Plan


class RowsInMemory:
    """Rows in memory: an epoch is one program.

    Attributes:
        rows: number of rows.
        parts: number of programs an epoch consists of, where they are several.
    """

    parts = None

    def __init__(self, batch: Batch):
        self.batch = batch
        self.rows = batch.x.shape[0]

    def prepare(self, model: Model) -> None:
        """Let the model look at all rows."""
        model.prepare(self.batch.x)

    def first_rows(self, count: int) -> Batch:
        """At most that many rows, spread evenly, from which layers take their first values."""
        spread = spread_rows(self.batch, count)
        return jax.tree.map(lambda array: array[spread], self.batch)

    def place(self, mesh: Mesh | None) -> None:
        """Lay the rows on the devices of a mesh."""
        self.batch = self.batch if mesh is None else on_all(self.batch, mesh)

    def advance(
        self, state: FitState, valid: Batch | None, plan: Plan, rest: Callable[[FitState, int], Any]
    ) -> tuple[FitState, Record]:
        """Make an epoch."""
        return run_epoch(state, self.batch, valid, plan=plan)

    def explained(self, state: FitState, plan: Plan) -> NonFiniteLoss:
        """The error of a fit that ended at a bad step."""
        return explained(state, self.batch, plan)

    def identity(self) -> Batch:
        """Return what tells these rows from others."""
        return self.batch
