"""Do the next thing while the last one is used."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")

_END = object()


def read_ahead(items: Iterable[Item], depth: int = 1) -> Generator[Item]:
    """Yield the items, made in a thread that is up to `depth` of them ahead.

    What the thread raises is raised here, in its turn. A caller that gives up early closes the generator, which ends
    the thread.
    """
    waiting: queue.Queue[Any] = queue.Queue(depth)
    given_up = threading.Event()

    def put(item: Any) -> bool:
        while not given_up.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:
            put((_END, error))

    thread = threading.Thread(target=work, daemon=True, name="read ahead")
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
            del item  # or the caller's last one would be held while the next is made
    finally:
        given_up.set()
        thread.join()
