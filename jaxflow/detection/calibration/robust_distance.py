"""How far each row lies from most rows: a look at the rows themselves that no model has a part in, and no outlier."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import chi2, norm, rankdata

INNER = 0.75  # share of the rows that the estimate is of: up to a quarter may be outliers
MOST_STEPS = 30  # concentration steps; about ten are usual
RIDGE = 1e-6  # fraction of the mean variance added to the diagonal, as collinear features need it
ROWS_PER_FEATURE = 10  # with fewer, rows that the estimate is not of lie far from it without a reason
FEWEST_VALUES = 10  # of a feature with no more, scores tell values that are rare, not rows that lie apart
LARGEST_MASS = 0.1  # share of the rows with one and the same value, where a feature is not continuous any more


def continuous_features(z: Float[np.ndarray, "n dim"], gaps: Bool[np.ndarray, "n dim"]) -> Bool[np.ndarray, "dim"]:
    """Which features spread over many values, none of which a large part of the rows has.

    A flag that is raised in one row of twenty, or a rare category, moves those rows apart from all others by as much as
    it is rare, and so does a column that is zero but for some rows. That says nothing of contamination.

    Args:
        z: rows of features.
        gaps: where they stand in for values that are missing, which do not count.
    """
    found = np.zeros(z.shape[1], bool)
    for index in range(z.shape[1]):
        values = z[~gaps[:, index], index]
        counts = np.unique(values, return_counts=True)[1]
        found[index] = counts.size > FEWEST_VALUES and counts.max() <= LARGEST_MASS * values.size
    return found


def unexplained(z: Float[np.ndarray, "n dim"], others: Float[np.ndarray, "n others"]) -> Float[np.ndarray, "n dim"]:
    """Return what is left of features once others are taken into account, by linear regression (least squares).

    Rows of a rare category, or of a rare context, may differ in all features; they are not apart from their like.

    Args:
        z: rows of features that are judged.
        others: those of two values, and the context; may be none. A feature that takes a value of its own in some rows
            only would make outliers of these, as what follows from it is seldom linear.
    """
    z, others = z - z.mean(axis=0), others - others.mean(axis=0)
    if not others.shape[1]:
        return z
    # Of all categories but one column too many: the ridge chooses among the solutions that are alike.
    square = others.T @ others
    square += RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    return z - others @ np.linalg.solve(square, others.T @ z)


def robust_distances(z: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n"] | None:
    """Squared Mahalanobis distances from the inner three quarters of the rows; None where there are too few rows.

    The minimum covariance determinant (Rousseeuw 1985), whose concentration steps start from three subsets that
    outliers hardly reach, in place of hundreds drawn at random (the deterministic MCD: Hubert et al. 2012): the rows
    nearest to the median, and the nearest by the correlations of tanh(z) and of the normal scores of the ranks. It
    takes no compilation and a fraction of a second. Scaled so that their median is that of chi^2 with dim degrees of
    freedom, as for normal rows.

    Outliers that a density learned have drawn it towards them and so score like others (masking); here they do not.
    """
    n, dim = z.shape
    if not dim or n < ROWS_PER_FEATURE * dim:
        return None
    z = z - np.median(z, axis=0)
    spread = np.median(np.abs(z), axis=0)
    if not (spread > 0).all():
        return None
    z = z / spread
    found = [_concentrated(z, start) for start in _starts(z)]
    distances, _ = min(found, key=lambda pair: pair[1])
    return distances * (chi2.ppf(0.5, dim) / np.median(distances))


def _starts(z: Float[np.ndarray, "n dim"]) -> list[Int[np.ndarray, "half"]]:
    """Half of the rows each, the nearest to the median in three ways."""
    half = len(z) // 2
    normal_scores = norm.ppf((rankdata(z, axis=0) - 1 / 3) / (len(z) + 1 / 3))
    starts = [np.argpartition(np.sum(z**2, axis=1), half)[:half]]
    for bounded in (np.tanh(z), normal_scores):
        # Along the principal axes the spreads are measured anew, of the rows as they are.
        along = z @ np.linalg.eigh(np.atleast_2d(np.corrcoef(bounded.T)))[1]
        along = along - np.median(along, axis=0)
        spread = np.median(np.abs(along), axis=0)
        along = along / np.where(spread > 0, spread, 1.0)
        starts.append(np.argpartition(np.sum(along**2, axis=1), half)[:half])
    return starts


def _concentrated(z: Float[np.ndarray, "n dim"], rows: Int[np.ndarray, "m"]) -> tuple[Float[np.ndarray, "n"], float]:
    """Squared distances from the estimate that concentration steps end at, and the logarithm of its determinant."""
    n, dim = z.shape
    inner = int(np.ceil(INNER * n))
    distances, log_det = np.zeros(n), np.inf
    for _ in range(MOST_STEPS):
        covariance = np.atleast_2d(np.cov(z[rows].T))
        covariance += RIDGE * np.trace(covariance) / dim * np.eye(dim)
        factor = np.linalg.cholesky(covariance)
        # The product with the inverse: a solve with so many right-hand sides takes ten times as long.
        whitened = (z - z[rows].mean(axis=0)) @ np.linalg.inv(factor).T
        distances, log_det = np.sum(whitened**2, axis=1), 2 * float(np.sum(np.log(np.diag(factor))))
        nearest = np.sort(np.argpartition(distances, inner - 1)[:inner])
        if np.array_equal(nearest, rows):
            break
        rows = nearest
    return distances, log_det
