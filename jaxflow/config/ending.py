"""How a script ends when a signal tells it to: soon, in one line, and with nothing half-written.

Python heeds a signal only between its own instructions, and a compiled program that fits a large mixture can hold that
up for minutes. So a thread of its own waits for signals, removes what is unfinished, and ends the process.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from jaxflow.atomic_write import remove_unfinished
from jaxflow.config.printing import Standard, say

# What is sent to end a program, a terminal that goes away included.
ENDING = (signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 128 + signal.SIGINT  # as shells report it
PATIENCE = 3.0  # seconds in which an interrupted script may begin to clean up by itself
SOON = 0.01  # seconds

_advice: Callable[[], str] | None = None
_heeded = threading.Event()


def end_on_signals() -> None:
    """End this process on SIGTERM, SIGHUP and SIGINT; to be called once, by the main thread of a script.

    SIGTERM and SIGHUP end it at once, with the exit code that shells report. SIGINT is a KeyboardInterrupt, and ends
    the process likewise if that is not heeded within a few seconds. A signal that is ignored, or that has got another
    handler since, such as that of `preemption.listening`, is left to it.
    """
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(read, True)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _left_to_thread)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_wait, args=(read,), name="signals", daemon=True).start()


@contextmanager
def advising(advice: Callable[[], str]) -> Iterator[None]:
    """Say what `advice` returns besides when a signal ends the process within the block."""
    global _advice
    _advice = advice
    try:
        yield
    except KeyboardInterrupt as stopped:
        raise KeyboardInterrupt(advice()) from stopped
    finally:
        _advice = None


def last_words(what: str, advice: object) -> str:
    """Return what a script says when a signal has ended it, with the advice if there is any."""
    return f"{what}; {advice}" if str(advice) else what


def _left_to_thread(number: int, frame: FrameType | None) -> None:
    """Be there: without a handler in Python the thread would not be told."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None and frame.f_code is not Standard.write.__code__:
        frame = frame.f_back
    if frame is not None:  # what is being written would be taken for lost, and written once more at the end
        again = threading.Timer(SOON, signal.raise_signal, (signal.SIGINT,))
        again.daemon = True
        again.start()
        return
    _heeded.set()
    raise KeyboardInterrupt


def _wait(descriptor: int) -> None:
    while received := os.read(descriptor, 1):
        number = received[0]
        handler = signal.getsignal(number)
        if handler is _left_to_thread:
            _end("terminated", 128 + number)
        elif handler is _interrupt and not _heeded.wait(PATIENCE):
            _end("interrupted", INTERRUPTED)


def _end(what: str, code: int) -> None:
    remove_unfinished()
    say(last_words(what, "" if _advice is None else _advice()))
    remove_unfinished()  # what the main thread was about to open
    os._exit(code)  # the main thread may be where it cannot be reached
