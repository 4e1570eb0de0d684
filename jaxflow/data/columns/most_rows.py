"""Where most rows of a column lie, whatever a few of them hold."""

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

STRETCHED = 10.0  # standard deviations of most rows in one of all: a normal column has 1, Student's t of 2 degrees 3
LOOKED_AT = 20_000  # rows that say how far most lie apart


def most_rows(values: Float[np.ndarray, "n"]) -> tuple[float, float]:
    """The median, and the standard deviation of most rows.

    The latter is the inter-quartile range in units of a normal density; where most values are equal, the median
    distance of the others from them. An end that is there more than once, far from all others, has no part in it.
    """
    values = _without_far_ends(values)
    few = values[:: -(-len(values) // LOOKED_AT)]
    low, centre, high = np.quantile(few, [0.25, 0.5, 0.75])
    spread = (high - low) / (2 * ndtri(0.75))
    if not spread > 0:
        distances = np.abs(values - centre)
        spread = np.median(distances[distances > 0]) / ndtri(0.75)
    return float(centre), float(spread)


def _without_far_ends(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "most"]:
    """The values without the least or the greatest, if that is there more than once and far from all others."""
    for end in (values.min(), values.max()):
        others = values[values != end]
        if 1 < len(others) < len(values) - 1 and others.min() < others.max():
            with np.errstate(over="ignore", invalid="ignore"):
                far = np.min(np.abs(others - end)) >= STRETCHED * others.std()
            values = others if far else values
    return values
