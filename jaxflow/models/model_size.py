"""Whether the memory of the machine holds a model, known before it is built."""

import math
import os

from jaxflow.errors import InputError
from jaxflow.models.model import ModelSpec
from jaxflow.networks.planned import dtype_of


def require_memory(spec: ModelSpec, dim: int) -> None:
    """Check that the memory of the machine holds the arrays of a model for rows of `dim` features.

    Raises:
        InputError: with the number of numbers that the model would have.
    """
    if dim < 1:  # `build` has words of its own for it
        return
    numbers = taken = 0
    most = memory_bytes()
    for _, shape, dtype in spec.planned(dim):
        numbers += math.prod(shape)
        taken += math.prod(shape) * dtype_of(dtype).itemsize
    if taken > most:
        raise InputError(
            f"a model of {dim} features as described would have {numbers:,} numbers, which take "
            f"{taken / 2**30:,.1f} GiB, expected at most the {most / 2**30:,.1f} GiB of memory that "
            "there are: choose smaller sizes"
        )


def memory_bytes() -> int:
    """The memory of the machine, or as much of it as this process may take."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that does not say
        memory = 1 << 62
    try:
        import resource  # is not there on Windows
    except ImportError:
        return memory
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return memory if limit == resource.RLIM_INFINITY else min(memory, limit)
