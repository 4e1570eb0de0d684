"""Conformal p-values, and the selection of anomalies from them at a false discovery rate."""

import math

import numpy as np
from jaxtyping import Bool, Float

from jaxflow.data.arrays import AnyArray
from jaxflow.errors import InputError


def conformal_p_values(normal_scores: Float[np.ndarray, "n"], scores: Float[AnyArray, "m"]) -> Float[AnyArray, "m"]:
    """The share of n scores of normal rows that are at least as high as each score, itself counted.

    p = (1 + #{normal scores >= score}) / (n + 1)         (Bates et al. 2023, equation 1)
    """
    return p_values_among(np.sort(normal_scores), scores)


def p_values_among(ordered: Float[np.ndarray, "n"], scores: Float[AnyArray, "m"]) -> Float[AnyArray, "m"]:
    """`conformal_p_values` from scores of normal rows in ascending order."""
    below = scores.__array_namespace__().searchsorted(ordered, scores, side="left")
    # As float64 before the division: JAX divides places of 32 bits in float32.
    return (1 + ordered.size - below).astype(np.float64) / (ordered.size + 1)


def benjamini_hochberg(p_values: Float[np.ndarray, "m"], rate: float) -> Bool[np.ndarray, "m"]:
    """Which hypotheses are rejected at a false discovery rate (Benjamini and Hochberg 1995, procedure 1).

    Those with the k smallest p-values, for the largest k whose k-th smallest is at most rate k / m. Where the p-values
    of the true hypotheses are independent or positively dependent, the expected share of false ones among the
    rejections is at most `rate` times the share of true hypotheses.

    Raises:
        InputError: if `rate` is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise InputError(f"rate = {rate!r}: expected more than 0 and less than 1")
    m = len(p_values)
    ranked = np.sort(p_values)
    # Conformal p-values are whole multiples of 1 / (n + 1) and often equal the bound, which rounding must not hide.
    within = np.flatnonzero(ranked <= rate * np.arange(1, m + 1) / m * (1 + 1e-12))
    return p_values <= ranked[within[-1]] if within.size else np.zeros(m, bool)


def least_selection(n: int, m: int, rate: float) -> int:
    """How many of m rows must lie beyond all n calibration scores before `benjamini_hochberg` selects the first.

    Their p-values are 1 / (n + 1), no less, so that k of them are selected only if 1 / (n + 1) <= rate k / m.
    """
    return math.ceil(m / (rate * (n + 1)) * (1 - 1e-12))
