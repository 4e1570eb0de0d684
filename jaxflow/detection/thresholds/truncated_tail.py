"""A generalised Pareto distribution fitted to excesses of which the largest were never let in."""

import math

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from jaxflow.detection.thresholds.generalized_pareto import SMALLEST_SHAPE

STEP = 0.1  # of shape and of the scale's logarithm, with which the search begins


def fit_truncated(
    excesses: Float[np.ndarray, "k"], limits: Float[np.ndarray, "k"], start: tuple[float, float]
) -> tuple[float, float]:
    """Shape and scale of greatest likelihood for excesses each of which had to be below a limit of its own.

    likelihood = product of f(y) / F(limit)        f density, F distribution function of the generalised Pareto

    Without the denominator (all limits infinite) it is the likelihood of `fit_generalized_pareto`; there is no
    reduction to one variable with it, so both are searched at once (Nelder and Mead 1965).

    Args:
        excesses: finite numbers above 0.
        limits: numbers not below the excesses; infinite where there was no limit.
        start: shape and scale near which to search, such as those of a part of the excesses.
    """
    unit = float(excesses.max())
    y, limits = excesses / unit, limits / unit

    def loss(parameters: np.ndarray) -> float:
        shape, log_scale = parameters
        if shape <= SMALLEST_SHAPE:
            return math.inf
        scale = math.exp(min(log_scale, 700.0))
        # f(y) = S(y)^(1 + shape) / scale, for the survival function S = 1 - F.
        within = _log_survival(limits, shape, scale)
        with np.errstate(divide="ignore"):
            return log_scale - float(np.mean((1 + shape) * _log_survival(y, shape, scale) - np.log(-np.expm1(within))))

    first = np.array([start[0], math.log(start[1] / unit)])
    simplex = first + STEP * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = minimize(
        loss, first, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-9}
    )
    shape, log_scale = (float(number) for number in found.x)
    return shape, math.exp(log_scale) * unit


def _log_survival(y: np.ndarray, shape: float, scale: float) -> np.ndarray:
    """log P(Y > y) = -log(1 + shape y / scale) / shape; -inf beyond the end of the support."""
    if shape == 0:
        return -y / scale
    with np.errstate(divide="ignore"):
        return -np.log1p(np.maximum(shape / scale * y, -1.0)) / shape
