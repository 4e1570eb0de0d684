"""Whether the values of a column lie on a regular grid."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# A column with more places than this is as good as continuous: noise would change nothing but its last digits.
MOST_LEVELS = 256


class Grid(NamedTuple):
    """Values origin, origin + step, origin + 2 step, ..."""

    origin: float
    step: float


def find_grid(values: Float[np.ndarray, "n"], most_levels: int = MOST_LEVELS) -> Grid | None:
    """The coarsest grid of at most `most_levels` places that holds all values; None if there is none.

    Not every place need be taken: 0, 1 and 10 lie on a grid of step 1. Values may be off by the rounding of float32,
    since integers that were standardised are. A column of one value only has no grid.
    """
    taken = np.unique(values)
    if len(taken) < 2:
        return None
    with np.errstate(over="ignore"):
        width = taken[-1] - taken[0]
    if not np.isfinite(width):
        return None
    rounding = 4 * np.finfo(np.float32).eps * np.max(np.abs(taken))
    gaps = np.diff(taken)
    gaps = gaps[gaps > rounding]  # what rounding alone sets apart is one value
    if not len(gaps):
        return None
    # The smallest gap is a step, or, when no neighbours are taken, a small multiple of one.
    for part in (1, 2, 3, 4):
        levels = round(part * width / gaps.min())
        if levels >= most_levels:
            return None
        step = width / levels
        places = (taken - taken[0]) / step
        if np.all(np.abs(places - np.round(places)) * step <= rounding):
            # One huge value makes all others look alike; a grid has not many more values than places that are taken.
            spread = len(taken) > 2 * len(np.unique(np.round(places)))
            return None if spread else Grid(float(taken[0]), float(step))
    return None
