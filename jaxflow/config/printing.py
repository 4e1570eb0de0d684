"""Printing of scripts, whose standard streams may be closed, full or gone.

A script that writes files does its work whatever becomes of its streams: what cannot be printed is lost, and if it was
to go to standard output the exit code says so. Only answers that have no other place to go end with their stream.
"""

import errno
import io
import logging
import os
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn

from jaxflow.errors import InputError, one_line

DESCRIPTORS = {"stdin": 0, "stdout": 1, "stderr": 2}


class Standard(io.FileIO):
    """Standard output or error, of which writing never fails; the first failure is remembered, and ends the writing.

    Args:
        descriptor: 1 or 2.
        closed_before: whether it leads nowhere because it was closed when the process began.
    """

    def __init__(self, descriptor: int, closed_before: bool = False):
        super().__init__(descriptor, "w", closefd=False)
        self.closed_before = closed_before
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of `data` or lose it."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while self.failure is None and len(rest):
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except OSError as error:
                self.failure = error
        return size


class Nowhere(io.TextIOBase):
    """A stream for what nobody asked to see."""

    def write(self, text: str) -> int:
        """Lose it."""
        return len(text)


def use_standard_streams() -> None:
    """Make streams that are there of those that may be closed, and never fail; to be called once, by a script.

    Descriptors that are closed lead to nowhere from then on: the next file that is opened would get their numbers, and
    what a library prints would be written into it. What is printed is escaped where the stream's encoding has no such
    character. A standard input that is closed stays None.
    """
    for name, descriptor in DESCRIPTORS.items():
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, and all below are taken
        if descriptor:
            setattr(sys, name, _stream(getattr(sys, name), descriptor))


def _stream(old: Any, descriptor: int) -> io.TextIOWrapper:
    raw = Standard(descriptor, closed_before=old is None)
    encoding = "utf-8" if old is None else old.encoding
    by_line = descriptor == DESCRIPTORS["stderr"] or (old is not None and old.line_buffering)
    through = old is not None and old.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=by_line, write_through=through
    )


def print_for_scripts() -> None:
    """Let warnings, the logs of libraries and tracebacks go through `say`, a line each; for scripts."""
    # A warning is a sentence for the user, who does not care which line of which module it came from.
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    logging.getLogger().addHandler(_Log(logging.WARNING))
    sys.excepthook = _say_traceback
    sys.unraisablehook = _say_unraisable


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.name}: {record.getMessage()}")


def _say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        say(line)


def _say_unraisable(what: Any) -> None:
    # Threads of libraries written in C++ report here what also comes back to who waits for them.
    if threading.current_thread() is threading.main_thread():
        say(f"warning: {what.exc_type.__name__}: {what.exc_value}")


def say(text: object) -> None:
    """Print a line to standard error at once, as any terminal can show it; nothing if there is no such stream."""
    write_line(sys.stderr, text)


def show(text: object) -> None:
    """Print a line of results to standard output, as any terminal can show it; nothing if there is no such stream."""
    if sys.stdout is not None:
        print(one_line(text))


def write_line(stream: Any, text: object) -> None:
    """Write a line to a stream if it is there and takes it, in whose absence the work goes on."""
    if stream is not None:
        with suppress(OSError, ValueError):  # a full device; a closed file
            print(one_line(text), file=stream, flush=True)


def answer(line: str) -> None:
    """Write a line to standard output as it is, at once.

    Raises:
        InputError: if standard output is closed or takes no more.
        BrokenPipeError: if who read it is gone.
    """
    require_output("answers")
    try:
        print(line, flush=True)
    except OSError as error:
        _refuse(error)
    if (error := output_failure()) is not None:
        _refuse(error)


def require_output(what: str) -> None:
    """Check that standard output is there.

    Raises:
        InputError: if it is closed; `what` was to be written there.
    """
    if sys.stdout is None or getattr(_raw(sys.stdout), "closed_before", False):
        raise InputError(f"standard output is closed, expected a place for the {what}")


def output_failure() -> OSError | None:
    """Return the error met when standard output was written; None if there was none."""
    return getattr(_raw(sys.stdout), "failure", None)


def _raw(stream: Any) -> Any:
    return getattr(getattr(stream, "buffer", None), "raw", None)


def _refuse(error: OSError) -> NoReturn:
    if error.errno == errno.EPIPE:
        raise BrokenPipeError from error
    raise InputError(f"standard output cannot be written: {error.strerror}") from error
