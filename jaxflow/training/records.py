"""From what the device reports to rows of a history."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from jaxflow.training.epoch import Record
from jaxflow.training.history import Row

Report = TypeVar("Report")


def lagging(epochs: int, advance: Callable[[], Report]) -> Iterator[tuple[int, Report]]:
    """Call `advance` for each epoch and give its report once the next call has been made.

    So the report of an epoch is read while the next one runs, and the device never waits for the host. A caller that
    stops has started one epoch too many, which must do nothing if the report says that the fit has stopped.
    """
    previous = None
    for number in range(epochs + 1):
        report = advance() if number < epochs else None
        if previous is not None:
            yield number, previous
        previous = report


def history_row(number: int, record: Record, seconds: float, validated: bool) -> Row:
    """The row of one epoch."""
    return {
        "epoch": number,
        "train_loss": float(record.train_loss),
        "valid_loss": float(record.valid_loss) if validated else None,
        "best_loss": float(record.best_loss),
        "learning_rate": float(record.learning_rate),
        "gradient_norm": float(record.gradient_norm),
        "skipped_steps": int(record.skipped_steps),
        "seconds": seconds,
    }
