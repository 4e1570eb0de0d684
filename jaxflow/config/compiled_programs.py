"""Compiled programs, kept from one run of a script to the next, and let go of in a process that needs many."""

import ctypes
import gc
import os
import warnings
from collections.abc import Hashable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import jax
import pooch
from jax._src import compilation_cache  # there is no public way to a single entry

WORTH_KEEPING = 0.1  # seconds of compilation
MAPPINGS = Path("/proc/self/maps")
MOST_MAPPINGS = 40_000  # of the 65,530 that Linux gives a process unless told otherwise
MORE_MAPPINGS = 5_000  # by the programs of a dozen shapes, which hold 0.8 GB besides
MOST_SHAPES = 12  # where mappings cannot be counted

_shapes: set[int] = set()
_mappings_without = 0


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in the user's cache directory, so that the next run of a script starts sooner.

    `JAX_COMPILATION_CACHE_DIR` names another place, `JAX_ENABLE_COMPILATION_CACHE=false` switches it off. Where the
    directory cannot be written, nothing is kept. What is damaged there is removed and made again.
    """
    _remove_what_is_damaged()
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")  # the next run tries again
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


def _remove_what_is_damaged() -> None:
    """Let JAX remove an entry that it cannot read; it never replaces one, and would warn of it in each run."""
    read = compilation_cache.get_executable_and_time
    if getattr(read, "removes", False):
        return

    @wraps(read)
    def read_or_remove(cache_key: str, *others: Any, **named: Any) -> Any:
        try:
            return read(cache_key, *others, **named)
        except OSError:  # the entry may be whole
            raise
        except Exception:  # whatever the decompression and XLA make of other bytes
            with suppress(OSError):
                (Path(jax.config.values["jax_compilation_cache_dir"]) / f"{cache_key}-cache").unlink()
            return None, None

    vars(read_or_remove)["removes"] = True
    compilation_cache.get_executable_and_time = read_or_remove


def release_compiled_programs(most_mappings: int = MOST_MAPPINGS) -> None:
    """Let go of all compiled programs if there are too many; those still needed are compiled again, or read again.

    Each takes a few mappings of memory, and when a process has no more of them the compiler crashes. To be called now
    and then by what compiles hundreds of programs in one process. Does nothing where mappings cannot be counted.
    """
    if _mappings() > most_mappings:
        _release()


def make_room_for_programs(*shape: Hashable) -> None:
    """Let go of the programs of earlier shapes if they are many and this is a new one.

    JAX keeps a program for as long as a process lasts, and those of one shape of data and model take some 400 mappings
    and 65 MB. So memory stays bounded in a process that meets many shapes, and what works with a few never compiles a
    program twice: nothing is let go of for a shape that has been seen since the last time.

    Args:
        shape: what the programs that are about to be compiled depend on.
    """
    global _mappings_without
    key = hash(shape)
    if key in _shapes:
        return
    mappings = _mappings()
    if not _shapes:
        _mappings_without = mappings
    if mappings - _mappings_without > MORE_MAPPINGS or (not mappings and len(_shapes) >= MOST_SHAPES):
        _release()
        _mappings_without = _mappings()
    _shapes.add(key)


def _mappings() -> int:
    """The number of mappings of this process; 0 where they cannot be counted."""
    return MAPPINGS.read_bytes().count(b"\n") if MAPPINGS.exists() else 0


def _release() -> None:
    _shapes.clear()
    jax.clear_caches()
    gc.collect()
    with suppress(OSError, AttributeError):  # other systems than Linux with its usual library
        ctypes.CDLL(None).malloc_trim(0)
