"""SIGTERM as a wish to stop soon: what a cluster sends before it takes a machine away."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_asked = threading.Event()


def asked_to_stop() -> bool:
    """Whether SIGTERM has come since `listening` began."""
    return _asked.is_set()


@contextmanager
def listening() -> Iterator[None]:
    """Take note of SIGTERM instead of being ended by it.

    Only the main thread of a process may say what signals do; in another thread, and inside a `listening` that has
    begun already, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _take_note:
        yield
        return
    _asked.clear()
    before = signal.signal(signal.SIGTERM, _take_note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _take_note(*_: Any) -> None:
    _asked.set()
