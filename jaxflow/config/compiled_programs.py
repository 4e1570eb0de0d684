"""Compiled programs, kept from one run of a script to the next, and let go of in a long one."""

import os
from pathlib import Path

import jax
import pooch

WORTH_KEEPING = 0.1  # seconds of compilation
MAPPINGS = Path("/proc/self/maps")
MOST_MAPPINGS = 40_000  # of the 65,530 that Linux gives a process unless told otherwise


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in the user's cache directory, so that the next run of a script starts sooner.

    `JAX_COMPILATION_CACHE_DIR` names another place, `JAX_ENABLE_COMPILATION_CACHE=false` switches it off. Where the
    directory cannot be written, nothing is kept.
    """
    settings = jax.config.values
    if settings["jax_compilation_cache_dir"] is not None or not settings["jax_enable_compilation_cache"]:
        return
    place = Path(pooch.os_cache("jaxflow")) / "programs"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(place, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_KEEPING)


def release_compiled_programs(most_mappings: int = MOST_MAPPINGS) -> None:
    """Let go of all compiled programs if there are too many; those still needed are compiled again, or read again.

    Each takes a few mappings of memory, and when a process has no more of them the compiler crashes. To be called now
    and then by what compiles hundreds of programs in one process. Does nothing where mappings cannot be counted.
    """
    if MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > most_mappings:
        jax.clear_caches()
