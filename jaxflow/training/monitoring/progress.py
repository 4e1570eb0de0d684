"""Showing how a fit is going."""

import sys
import time
from collections.abc import Sequence
from io import TextIOBase
from types import TracebackType
from typing import IO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxflow.config.printing import Nowhere, write_line
from jaxflow.training.monitoring.callbacks import Callback
from jaxflow.training.monitoring.history import Row

SECONDS_BETWEEN_LINES = 5.0


class FitProgress(Callback):
    """A bar with loss, best loss, epochs and time left; plain lines where the stream is no terminal.

    Args:
        epochs: the largest number of epochs.
        stream: where to write; standard error by default, so that standard output stays clean.
    """

    def __init__(self, epochs: int, stream: TextIOBase | None = None):
        self.epochs = epochs
        self.stream = stream or sys.stderr or Nowhere()  # None would mean standard output, where answers may go
        self.bar: Progress | None = None
        self.last_row: Row | None = None
        self.last_line = 0.0
        self.made_before = 0

    def __enter__(self) -> "FitProgress":
        """Draw the bar, if there is a terminal to draw it on."""
        self.started = self.last_line = self.compiled = time.perf_counter()
        console = Console(file=cast(IO[str], self.stream))
        if console.is_terminal:
            self.bar = Progress(
                TextColumn("fitting"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("epochs  loss {task.fields[loss]}  best {task.fields[best]}  left"),
                TimeRemainingColumn(),
                console=console,
            )
            self.bar.start()
            self.task = self.bar.add_task("fitting", total=self.epochs, loss="-", best="-")
        return self

    def restore(self, rows: Sequence[Row]) -> None:
        """Say from where the fit goes on."""
        self.made_before = int(rows[-1]["epoch"] or 0) if rows else 0
        if self.bar is None and rows:
            write_line(self.stream, f"going on after epoch {self.made_before}/{self.epochs}")

    def update(self, row: Row) -> None:
        """Show an epoch; without a terminal, only the first, the last and one every few seconds."""
        self.last_row = row
        first = row["epoch"] == self.made_before + 1
        if first:
            # The first epoch includes the compilation and says little of the others.
            self.compiled = time.perf_counter()
        if self.bar is not None:
            self.bar.update(
                self.task, completed=row["epoch"], loss=_number(_watched(row)), best=_number(row["best_loss"])
            )
        elif first or time.perf_counter() - self.last_line > SECONDS_BETWEEN_LINES:
            self._line(row)

    def partway(self, epoch: int, share: float) -> None:
        """Show how far a long epoch has come."""
        if self.bar is not None:
            self.bar.update(self.task, completed=epoch - 1 + share)
        elif time.perf_counter() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.perf_counter()
            write_line(self.stream, f"epoch {epoch}/{self.epochs}  {share:.0%} of it done")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Say where the fit ended."""
        if self.bar is not None:
            self.bar.stop()
        if self.last_row is not None and error is None:
            self._line(self.last_row, ended=True)

    def _line(self, row: Row, *, ended: bool = False) -> None:
        self.last_line = time.perf_counter()
        spent = self.last_line - self.started
        epoch = row["epoch"] or 0
        if ended:
            rest = f"  done in {spent:.1f} s"
        elif epoch > self.made_before + 1:
            each = (self.last_line - self.compiled) / (epoch - self.made_before - 1)
            rest = f"  at most {each * (self.epochs - epoch):.0f} s left"
        else:
            rest = ""
        loss, best = _number(_watched(row)), _number(row["best_loss"])
        write_line(self.stream, f"epoch {epoch}/{self.epochs}  loss {loss}  best {best}{rest}")


def _watched(row: Row) -> float | int | None:
    return row["train_loss"] if row["valid_loss"] is None else row["valid_loss"]


def _number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.4f}"
