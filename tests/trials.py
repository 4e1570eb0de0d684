"""How inputs of all sorts are tried: how many, how they are damaged, and what none of them may cost."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("JAXFLOW_FUZZ", "1"))

MOST_MEMORY, MOST_GROWTH = 300 << 20, 10
"""How many bytes an input may take, and how many times its own size beside that."""

MOST_SECONDS = 10.0

# Of each test: how many inputs, or lines of streams, it has tried; how many were refused; the largest memory taken
# beyond ten times an input's size; and the longest time.
TRIED, REFUSED, LARGEST = Counter(), Counter(), Counter()
LONGEST: dict[str, float] = {}


def inputs(count: int) -> settings:
    """How many inputs a test tries."""
    return settings(
        max_examples=count * TIMES,
        deadline=None,
        database=None,
        derandomize=TIMES == 1,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
            HealthCheck.function_scoped_fixture,
        ],
    )


def counted(test: str, tried: int, refused: int) -> None:
    """Count what a test has tried."""
    TRIED[test] += tried
    REFUSED[test] += refused


def most_memory() -> int:
    """The most memory that this process has had, in bytes, since it was last asked; 0 where no system says."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return 0
    most = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    clear.write_text("5")
    return int(most.split()[1]) * 1024


@contextmanager
def limited(test: str, size: int) -> Iterator[None]:
    """Check what the block costs, which handles an input of so many bytes.

    Time is that of the processors, whatever else they do; of a test's first input it is not judged, which compiles.
    """
    most_memory()
    before, started = most_memory(), time.process_time()
    yield
    taken, seconds = most_memory() - before - MOST_GROWTH * size, time.process_time() - started
    if TRIED[test]:
        LONGEST[test] = max(LONGEST.get(test, 0.0), seconds)
        assert seconds < MOST_SECONDS
    LARGEST[test] = max(LARGEST[test], taken)
    assert taken < MOST_MEMORY


def damaged_bytes(draw: Any, data: bytes) -> bytes:
    """Bytes as they are, or cut off, or with some of them changed, repeated or left out."""
    kind = draw(st.sampled_from([*["whole"] * 4, "cut", "flip", "flip", "insert", "remove"]))
    if kind == "whole" or not data:
        return data
    index = draw(st.integers(0, len(data) - 1))
    if kind == "cut":
        return data[:index]
    if kind == "insert":
        return data[:index] + draw(st.binary(min_size=1, max_size=20)) + data[index:]
    if kind == "remove":
        return data[:index] + data[index + draw(st.integers(1, 30)) :]
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 8))):
        changed[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)
