"""Whether the values of a column lie on a regular grid."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxflow.data.arrays import AnyArray

# A column with more places than this is as good as continuous: noise would change nothing but its last digits.
MOST_LEVELS = 256


class Grid(NamedTuple):
    """Values origin, origin + step, origin + 2 step, ...; or several of these, one for each column."""

    origin: Any
    step: Any

    def place(self, value: float) -> int:
        """How many steps a value is away from the origin, to the nearest."""
        return round((value - self.origin) / self.step)

    def off(self, values: Float[AnyArray, "*n"], farthest: Any) -> Bool[AnyArray, "*n"]:
        """Where values are between the places, by more than the rounding of float32; see `rounding`."""
        xp = values.__array_namespace__()
        with np.errstate(over="ignore", invalid="ignore"):  # infinitely many steps away no place can be told
            places = (values - self.origin) / self.step
            return xp.abs(places - xp.round(places)) * self.step > rounding(values, farthest)

    def holds(self, values: Float[np.ndarray, "n"]) -> bool:
        """Whether all values lie on the grid, up to the rounding of float32."""
        return not self.off(values, np.max(np.abs(values), initial=abs(self.origin))).any()


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
    finest = float(rounding(taken, 0.0).max())
    gaps = np.diff(taken)
    gaps = gaps[gaps > finest]  # what rounding alone sets apart is one value
    if not len(gaps):
        return None
    # The smallest gap is a step, or, when no neighbours are taken, a small multiple of one.
    for part in (1, 2, 3, 4):
        levels = round(part * width / gaps.min())
        if levels >= most_levels:
            return None
        grid = Grid(float(taken[0]), float(width / levels))
        if grid.holds(taken):
            # One huge value makes all others look alike; a grid has not many more values than places that are taken.
            places = np.unique(np.round((taken - grid.origin) / grid.step))
            return None if len(taken) > 2 * len(places) else grid
    return None


def rounding(values: Float[AnyArray, "*n"], farthest: Any) -> Float[AnyArray, "*n"]:
    """How far off the rounding of float32 may have put a value of a column that reaches up to `farthest`."""
    xp = values.__array_namespace__()
    return 4 * np.finfo(np.float32).eps * xp.maximum(xp.abs(values), farthest)
