"""Counts that functions are given: of rows, draws, features."""

import math
import operator
import sys
from typing import Any

from jaxflow.errors import InputError

MOST_DRAWS = 2**31 - 1  # lengths of axes are 32-bit numbers to XLA's indices


def whole_number(name: str, value: Any, least: int = 0, most: int = sys.maxsize) -> int:
    """`value` as an int: a number of Python, NumPy or JAX that `operator.index` takes, and no truth value.

    Raises:
        InputError: if it is none, below `least` or above `most`; `name` opens the sentence.
    """
    number = _as_int(value)
    if number is None or number < least:
        raise InputError(f"{name} = {value!r:.60}: expected a whole number of at least {least}")
    if number > most:
        raise InputError(f"{name} = {value!r:.60}: expected a whole number of at most {most}")
    return number


def draw_shape(sample_shape: Any) -> tuple[int, ...]:
    """The leading axes of draws as a tuple; a whole number stands for one axis.

    Raises:
        InputError: if it is neither a whole number of at least 0 nor a sequence of such, or of more than `MOST_DRAWS`.
    """
    number = _as_int(sample_shape)
    if number is not None:
        shape = [number]
    elif isinstance(sample_shape, str) or not hasattr(sample_shape, "__iter__"):
        shape = [None]
    else:
        shape = [_as_int(length) for length in sample_shape]
    lengths = tuple(length for length in shape if length is not None and length >= 0)
    if len(lengths) < len(shape):
        raise InputError(
            f"sample_shape = {sample_shape!r:.60}: expected a whole number of at least 0, or a tuple of such"
        )
    if max(lengths, default=0) > MOST_DRAWS or math.prod(lengths) > MOST_DRAWS:
        raise InputError(f"sample_shape = {sample_shape!r:.60}: expected at most {MOST_DRAWS} draws")
    return lengths


def _as_int(value: Any) -> int | None:
    # NumPy's truth values refuse to be an index by themselves.
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
