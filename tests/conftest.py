"""What keeps the tests short: they compile much, and mostly the same.

One store of compiled programs serves all tests, the processes that share them, and the scripts that they run; tests
that use the same programs run in the same process; and programs are compiled in little time rather than to be fast,
because each runs once or twice. `XLA_FLAGS= make test` compiles them as a user's are.
"""

import gc
import importlib
import itertools
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

STORE_LIMIT = 1 << 30  # bytes
BY_CASE = ("test_properties.py", "test_flow.py")  # where the last parameter of a test names the case
QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
)
MOST_MAPPINGS = 25_000  # few, since programs of one test can be many
LOOK_EVERY = 10  # tests; to count the mappings takes some hundredths of a second once there are many
_ended = itertools.count(1)


def pytest_configure(config):
    """Say how and where to keep what is compiled, before the first module imports JAX."""
    if hasattr(config, "workerinput"):  # the process that started this one has said it
        return
    if "XLA_FLAGS" not in os.environ and known(QUICK):
        os.environ["XLA_FLAGS"] = QUICK
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and hasattr(config, "cache"):  # not with -p no:cacheprovider
        use_store(Path(config.cache.mkdir("jax")))


@pytest.fixture(scope="session", autouse=True)
def distrax_is_there():
    """Imports distrax, whose warnings would else count as those of the first test that needs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("distrax")


def known(flags: str) -> bool:
    """Whether XLA has these flags; it ends a process that gives it others."""
    command, environment = [sys.executable, "-c", "import jax; jax.devices()"], os.environ | {"XLA_FLAGS": flags}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def use_store(store: Path) -> None:
    """Keep all that is compiled; programs are found by what is compiled, so changed code finds none of the old ones."""
    if sum(file.stat().st_size for file in store.iterdir()) > STORE_LIMIT:
        shutil.rmtree(store)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(store)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadscope`: the tests of one file in one process, or where a file has cases, of one case."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            return file + test.rpartition("[")[2].rpartition("-")[2] if file.endswith(BY_CASE) else file

    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_collection_finish():
    """Do not look for garbage among all that importing made, and elsewhere less often: tracing makes little."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Let go of compiled programs before there are too many."""
    if next(_ended) % LOOK_EVERY == 0:
        from jaxflow.config.compiled_programs import release_compiled_programs

        release_compiled_programs(MOST_MAPPINGS)
