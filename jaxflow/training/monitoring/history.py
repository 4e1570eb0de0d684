"""History of a fit, epoch by epoch."""

import json
import math
import os
from dataclasses import dataclass, field
from typing import Any

from jaxflow.atomic_write import write_csv, write_text

Row = dict[str, float | int | None]
WHOLE = frozenset({"epoch", "skipped_steps"})  # columns of whole numbers
MAY_LACK = frozenset({"valid_loss", "device_memory"})  # columns that may have None
OTHERS = frozenset({"train_loss", "best_loss", "learning_rate", "gradient_norm", "seconds", "steps_per_second"})
COLUMNS = WHOLE | MAY_LACK | OTHERS


def json_line(row: Row) -> str:
    """A row as a line of JSON, in which a number that is not finite is null."""
    finite = {name: value if value is None or math.isfinite(value) else None for name, value in row.items()}
    return json.dumps(finite) + "\n"


@dataclass
class History:
    """One row an epoch, or an iteration of a model that fits itself.

    Columns: `epoch` (from 1), `train_loss` and `valid_loss` (the model's loss; None where there is no held-out data),
    `best_loss` (lowest so far of the loss that is watched), `learning_rate`, `gradient_norm` (mean over the steps,
    before clipping), `skipped_steps` (steps whose loss or gradient was not finite and which changed nothing), `seconds`
    since the start, `steps_per_second` (of the first epoch with its compilation), `device_memory` (bytes in use on the
    first device; None where it does not say).

    >>> len(fit(Gaussian(1), jnp.array([[1.0], [3.0]]), key=jax.random.key(0)).history.rows) > 0
    True

    Attributes:
        rows: one for each epoch; for an ensemble, means over the members that have not stopped.
        members: the history of each member of an ensemble.
    """

    rows: list[Row] = field(default_factory=list)
    members: list["History"] = field(default_factory=list)

    def column(self, name: str) -> list[Any]:
        """All values of one column."""
        return [row[name] for row in self.rows]

    @property
    def watched(self) -> str:
        """The column that decides which parameters are best: the held-out loss where there is one."""
        return "valid_loss" if any(row["valid_loss"] is not None for row in self.rows) else "train_loss"

    @property
    def best_epoch(self) -> int:
        """The epoch whose parameters were kept."""
        losses = [(loss, row["epoch"]) for row in self.rows if (loss := row[self.watched]) is not None]
        return int(min(pair for pair in losses if not math.isnan(pair[0]))[1] or 0)

    def write_csv(self, path: str | os.PathLike) -> None:
        """Write all rows; the file appears whole or not at all."""
        columns = list(self.rows[0])
        write_csv(path, columns, ([row[name] for name in columns] for row in self.rows))

    def write_json_lines(self, path: str | os.PathLike) -> None:
        """Write all rows, an object a line; the file appears whole or not at all."""
        write_text("".join(map(json_line, self.rows)), path)
