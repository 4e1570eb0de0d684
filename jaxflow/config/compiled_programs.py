"""Compiled programs kept from one run of a script to the next."""

import os
from pathlib import Path

import jax
import pooch

WORTH_KEEPING = 0.1  # seconds of compilation


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
