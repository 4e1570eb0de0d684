"""Statistics of several methods on the same data sets: intervals, ranks, tests.

Everywhere a row is a data set and a column a method, and higher is better. Demšar 2006, "Statistical comparisons of
classifiers over multiple data sets", says which tests suit and how they are drawn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import friedmanchisquare, rankdata, studentized_range, wilcoxon

RESAMPLES = 10_000
SEED = 0


def resampled_means(
    values: Float[np.ndarray, "sets methods"], resamples: int = RESAMPLES, seed: int = SEED
) -> Float[np.ndarray, "resamples methods"]:
    """Means over data sets drawn with replacement, the same sets for all methods."""
    n = len(values)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return drawn @ values / n


def interval(means: Float[np.ndarray, "resamples *methods"]) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % percentile interval of resampled means, or of their differences."""
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def ranks(values: Float[np.ndarray, "sets methods"]) -> Float[np.ndarray, "sets methods"]:
    """Ranks within each set, 1 for the best; equal values share the mean of their ranks."""
    return rankdata(-values, axis=1)


def friedman(values: Float[np.ndarray, "sets methods"]) -> float | None:
    """The p-value of the hypothesis that all methods rank alike; None of fewer than three methods or two sets."""
    n, k = values.shape
    if n < 2 or k < 3 or (values == values[:, :1]).all():
        return None
    return float(friedmanchisquare(*values.T).pvalue)


def nemenyi_quantile(methods: int, level: float = 0.05) -> float:
    """The quantile q of the Nemenyi test: that of the studentized range, divided by the root of 2."""
    return float(studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2))


def critical_difference(methods: int, sets: int, level: float = 0.05) -> float:
    """By how much two mean ranks must differ for the Nemenyi test to tell the methods apart."""
    return nemenyi_quantile(methods, level) * float(np.sqrt(methods * (methods + 1) / (6 * sets)))


def cliques(mean_ranks: Float[np.ndarray, "methods"], difference: float) -> list[tuple[float, float]]:
    """The first and the last mean rank of each largest group whose ranks differ by less than the critical difference.

    Groups of one method are left out.
    """
    found: list[tuple[float, float]] = []
    ordered = np.sort(mean_ranks)
    for first in ordered:
        last = ordered[ordered - first < difference].max()
        # A group that begins later and reaches no further lies in the one before.
        if last > first and (not found or last > found[-1][1]):
            found.append((float(first), float(last)))
    return found


def signed_rank(difference: Float[np.ndarray, "sets"]) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test; sets without a difference count half for either side."""
    if not difference.any():
        return 1.0
    found: Any = wilcoxon(difference, zero_method="zsplit")  # its type is not declared in a way that pyright reads
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for how many there are (Holm 1979): those below a level are rejected together at it."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)) if len(p) else p
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected.tolist()
