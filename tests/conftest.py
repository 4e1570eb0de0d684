"""One store of compiled programs for all tests, the processes that share them, and the scripts that they run."""

import os
import shutil
from pathlib import Path

import pytest

STORE_LIMIT = 1 << 30  # bytes
MAPPINGS_LIMIT = 25_000  # of the 65,530 that Linux gives a process unless told otherwise


def pytest_configure(config):
    """Name the store before the first module imports JAX.

    Compiling takes most of the tests' time, and processes compile much the same. Programs are found by what is
    compiled, so a change of the code finds none of the old ones.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:  # set by the developer, or by the process that started this one
        return
    if not hasattr(config, "cache"):  # -p no:cacheprovider
        return
    store = Path(config.cache.mkdir("jax"))
    if sum(file.stat().st_size for file in store.iterdir()) > STORE_LIMIT:
        shutil.rmtree(store)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(store)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Let go of compiled programs before there are too many.

    Each program takes a few mappings of memory; when a process has no more of them, the compiler crashes.
    """
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MAPPINGS_LIMIT:
        import jax

        jax.clear_caches()
