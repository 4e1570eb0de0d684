"""From what the device reports to rows of a history."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxflow.training.engine.epoch import Record
from jaxflow.training.monitoring.history import History, Row


def history_rows(number: int, records: Record, validated: bool, measured: Row) -> list[Row]:
    """The rows of one epoch, one for each member; one alone if there are no members.

    Args:
        number: the epoch, from 1.
        records: what it reported, on the host; numbers, or arrays (members,).
        validated: whether there are held-out rows.
        measured: columns that are known on the host alone, the same for all members.
    """
    members = jax.tree.map(np.atleast_1d, records)
    return [
        _history_row(number, jax.tree.map(lambda array, i=i: array[i], members), validated) | measured
        for i in range(members.stopped.size)
    ]


def _history_row(number: int, record: Record, validated: bool) -> Row:
    return {
        "epoch": number,
        "train_loss": float(record.train_loss),
        "valid_loss": float(record.valid_loss) if validated else None,
        "best_loss": float(record.best_loss),
        "learning_rate": None if math.isnan(record.learning_rate) else float(record.learning_rate),
        "gradient_norm": float(record.gradient_norm),
        "skipped_steps": int(record.skipped_steps),
    }


def mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rows of one epoch's histories as one: means, and the sum of skipped steps."""
    if len(rows) == 1:
        return dict(rows[0])

    def mean_of(name: str) -> float:
        values = np.array([row[name] for row in rows], float)
        return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else math.nan

    mean: dict[str, Any] = {name: None if value is None else mean_of(name) for name, value in rows[0].items()}
    return mean | {"epoch": rows[0]["epoch"], "skipped_steps": sum(row["skipped_steps"] for row in rows)}


def mean_history(histories: Sequence[History]) -> History:
    """One history of all: means over the members that have not stopped yet."""
    longest = max(len(history.rows) for history in histories)
    rows = [
        mean_row([history.rows[index] for history in histories if index < len(history.rows)])
        for index in range(longest)
    ]
    return History(rows, list(histories))
