"""Callbacks: objects that look at a fit, epoch by epoch, while it lasts."""

import csv
import io
import os
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import jax

from jaxflow.errors import InputError
from jaxflow.training.monitoring.history import Row, json_line


class Callback:
    """Is told of every epoch between `__enter__` and `__exit__`; this one makes nothing of it."""

    def __enter__(self) -> "Callback":
        """The fit begins."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The fit has ended, well or not."""

    def restore(self, rows: Sequence[Row]) -> None:
        """The fit goes on after these epochs, which an earlier run has made."""
        for row in rows:
            self.update(row)

    def update(self, row: Row) -> None:
        """An epoch is over; its row of the history, or the means over the members of an ensemble."""

    def partway(self, epoch: int, share: float) -> None:
        """So much of an epoch (from 1) is over, where rows come from files and an epoch may be long."""


class Callbacks(Callback):
    """Several as one."""

    def __init__(self, callbacks: Sequence[Callback]):
        self.callbacks = callbacks
        self.contexts = ExitStack()

    def __enter__(self) -> "Callbacks":
        """Begin with the first, end with the last."""
        for callback in self.callbacks:
            self.contexts.enter_context(callback)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End in the other order."""
        self.contexts.__exit__(kind, error, traceback)

    def restore(self, rows: Sequence[Row]) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.restore(rows)

    def update(self, row: Row) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.update(row)

    def partway(self, epoch: int, share: float) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.partway(epoch, share)


class LiveFile(Callback):
    """The history as a file that grows a line an epoch: `.csv`, or `.jsonl` with an object a line.

    A number that is not finite is null in JSON, which has none. What was in the file before is replaced.

    Raises:
        InputError: if the name ends otherwise, or the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        if self.path.suffix not in (".csv", ".jsonl"):
            raise InputError(f"{path}: expected a name that ends in .csv or .jsonl")
        self.file: IO[bytes] | None = None

    def __enter__(self) -> "LiveFile":
        """Open the file."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror or error}") from error
        self.columns: list[str] = []
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        if self.file is not None:
            self.file.close()

    def update(self, row: Row) -> None:
        """Add a line; whoever reads the file sees it at once."""
        if self.path.suffix == ".jsonl":
            self._append(json_line(row))
            return
        line = io.StringIO(newline="")
        writer = csv.writer(line)
        if not self.columns:
            self.columns = list(row)
            writer.writerow(self.columns)
        writer.writerow([row[name] for name in self.columns])
        self._append(line.getvalue())

    def _append(self, text: str) -> None:
        """Write all of the text, or what was there before stays."""
        assert self.file is not None
        rest, before = memoryview(text.encode()), self.file.tell()
        try:
            while rest:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            with suppress(OSError):
                self.file.truncate(before)
            raise InputError(f"{self.path} cannot be written: {error.strerror or error}") from error


EVENTS = "events.out.tfevents.*"
TAGS = {"train_loss": "loss/train", "valid_loss": "loss/valid", "best_loss": "loss/best"}


class TensorBoard(Callback):
    """The history as TensorBoard event files in a directory; needs the extra `tensorboard`.

    Raises:
        InputError: if tensorboardX is not installed.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise InputError(
                "event files for TensorBoard need the package tensorboardX: pip install 'jaxflow[tensorboard]'"
            ) from None
        self.directory, self.make = Path(directory), SummaryWriter

    def __enter__(self) -> "TensorBoard":
        """Open a new event file."""
        before = set(self.directory.glob(EVENTS))
        try:
            self.writer: Any = self.make(str(self.directory))
        except OSError as error:
            raise InputError(f"{self.directory} cannot be written: {error.strerror or error}") from error
        for made in set(self.directory.glob(EVENTS)) - before:
            # Its name ends with the machine's, which is nobody's business.
            made.rename(made.with_name(f"{'.'.join(made.name.split('.')[:4])}.{os.getpid()}.jaxflow"))
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.writer.close()

    def update(self, row: Row) -> None:
        """Add a point to every curve."""
        for name, value in row.items():
            if name != "epoch" and value is not None:
                self.writer.add_scalar(TAGS.get(name, f"fit/{name}"), value, row["epoch"])


class Profiler(Callback):
    """A JAX trace of a few epochs, for TensorBoard's profiler or Perfetto.

    The first epochs of a run compile, so it begins after the first one that the run has made.

    Args:
        directory: where the trace is written.
        epochs: number of epochs it holds.
    """

    def __init__(self, directory: str | os.PathLike[str], epochs: int = 3):
        self.directory, self.epochs = Path(directory), epochs

    def __enter__(self) -> "Profiler":
        """Begin to count."""
        self.seen, self.running = 0, False
        return self

    def __exit__(self, *error: object) -> None:
        """Write the trace, if the fit ended before it was complete."""
        if self.running:
            self._stop()
        elif not self.seen:
            warnings.warn(f"no profile was written to {self.directory}: no epoch was made", stacklevel=2)

    def restore(self, rows: Sequence[Row]) -> None:
        """Forget the epochs of an earlier run, which are none of this one."""

    def update(self, row: Row) -> None:
        """Begin after the first epoch, end some later."""
        self.seen += 1
        if self.seen == 1:
            jax.profiler.start_trace(str(self.directory))
            self.running = True
        elif self.running and self.seen > self.epochs:
            self._stop()

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self.running = False
