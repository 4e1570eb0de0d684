"""How well reasons name what was wrong, where somebody has written it down."""

import math
from collections.abc import Collection

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Shaped

from jaxflow.errors import InputError


def hit_rate(terms: Shaped[ArrayLike, "dim"], truth: Collection[int], percent: float | int = 100.0) -> float:
    """Share of the truly anomalous columns among the first so many columns, ranked by their terms.

    HitRate@P% = hits among the first floor(P% of |truth|) columns / |truth|

    Su et al. 2019, "Robust anomaly detection for multivariate time series through stochastic recurrent neural network"
    (OmniAnomaly). Columns with equal terms share the places they take, as if their order were drawn: the
    result is the mean over the orders.

    Args:
        terms: of each column, higher = more to blame; infinite ones are legal.
        truth: numbers of the anomalous columns, from 0.
        percent: P.

    Raises:
        InputError: if a term is NaN, or the truth is empty or names columns that are not there.
    """
    values, places = _checked(terms, truth, percent)
    hit = np.isin(np.arange(len(values)), list(truth))
    cut = np.sort(values)[len(values) - places] if places else math.inf
    above, tied = values > cut, values == cut
    hits = hit[above].sum() + (places - above.sum()) * hit[tied].mean() if places else 0.0
    return float(hits / len(truth))


def random_hit_rate(dim: int, truth: Collection[int], percent: float | int = 100.0) -> float:
    """The mean of `hit_rate` over all orders of `dim` columns: floor(P% of |truth|) / dim, at most 1."""
    _, places = _checked(np.zeros(dim), truth, percent)
    return places / dim


def _checked(terms: Shaped[ArrayLike, "dim"], truth: Collection[int], percent: float | int) -> tuple[np.ndarray, int]:
    values = np.asarray(terms, np.float64)
    if np.isnan(values).any():
        raise InputError(f"the term of column {np.flatnonzero(np.isnan(values))[0]} is NaN, expected a number")
    if not truth or len(set(truth)) < len(truth) or not set(truth) <= set(range(len(values))):
        raise InputError(f"truth = {sorted(truth)!s:.80}: expected different columns from 0 to {len(values) - 1}")
    # 150 % of 2 is 3, however the product rounds.
    return values, min(math.floor(percent * len(truth) / 100 + 1e-9), len(values))
