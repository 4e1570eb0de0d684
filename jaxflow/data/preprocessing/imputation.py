"""Expected values in place of missing ones, from a normal density of all features."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.linalg import cho_factor, cho_solve
from sklearn.neighbors import NearestNeighbors

from jaxflow.errors import InputError

STEPS = 100  # at most, of expectation-maximization
TOLERANCE = 1e-4  # of a change of the mean or covariance, in standard deviations, at which it ends
RIDGE = 1e-6  # fraction of the mean variance added to the diagonal, as collinear columns need it
DONORS = 5  # rows of which one gives its values to a row that lacks them


class Pattern(NamedTuple):
    """Rows that lack the same features, and what a normal density says of these given the others.

    Attributes:
        rows: their numbers.
        missing, present: the features that they lack and have.
        slopes: of the conditional mean on the features that are there, (present, missing).
        covariance: of the missing given the others, (missing, missing).
    """

    rows: Int64[np.ndarray, "rows"]
    missing: Int64[np.ndarray, "missing"]
    present: Int64[np.ndarray, "present"]
    slopes: Float64[np.ndarray, "present missing"]
    covariance: Float64[np.ndarray, "missing missing"]


def rows_alike(
    gaps: Bool[np.ndarray, "n dim"],
) -> Iterator[tuple[Int64[np.ndarray, "rows"], Int64[np.ndarray, "missing"]]]:
    """The numbers of the rows that lack the same features, and these features, for each set that some row lacks."""
    rows = np.flatnonzero(gaps.any(axis=1))
    kinds, kind = np.unique(gaps[rows], axis=0, return_inverse=True)
    order = np.argsort(kind.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(kind.reshape(-1), minlength=len(kinds)))
    for lacking, end, start in zip(kinds, ends, np.append(0, ends), strict=False):
        yield rows[order[start:end]], np.flatnonzero(lacking)


@dataclass(frozen=True, eq=False)
class Imputer:
    """A normal density of rows of which some features are missing.

    Attributes:
        mean, covariance: of all features.
    """

    mean: Float64[np.ndarray, "dim"]
    covariance: Float64[np.ndarray, "dim dim"]

    @classmethod
    def fit(cls, z: Float64[np.ndarray, "n dim"], gaps: Bool[np.ndarray, "n dim"]) -> "Imputer":
        """Maximum likelihood by expectation-maximization (Little and Rubin 2002, section 11.2).

        Args:
            z: rows; what stands at a gap does not count.
            gaps: where values are missing, for every feature somewhere not.
        """
        weight = ~gaps
        mean = np.sum(z, axis=0, where=weight) / weight.sum(axis=0)
        variance = np.sum((z - mean) ** 2, axis=0, where=weight) / weight.sum(axis=0)
        ridge = RIDGE * (variance.mean() or 1.0)
        fitted = cls(mean, np.diag(variance + ridge))
        if not gaps.any():
            centred = z - mean
            return cls(mean, centred.T @ centred / len(z) + ridge * np.eye(len(mean)))
        for _ in range(STEPS):
            filled, left = fitted._expected(z, gaps)
            mean = filled.mean(axis=0)
            centred = filled - mean
            covariance = (centred.T @ centred + left) / len(z) + ridge * np.eye(len(mean))
            scale = np.sqrt(np.diag(fitted.covariance))
            change = max(
                np.max(np.abs(mean - fitted.mean) / scale),
                np.max(np.abs(covariance - fitted.covariance) / np.outer(scale, scale)),
            )
            fitted = cls(mean, covariance)
            if change < TOLERANCE:
                break
        return fitted

    def patterns(self, gaps: Bool[np.ndarray, "n dim"]) -> Iterator[Pattern]:
        """The rows with gaps, those with the same ones together."""
        for rows, missing in rows_alike(gaps):
            present = np.setdiff1d(np.arange(gaps.shape[1]), missing)
            cross = self.covariance[np.ix_(present, missing)]
            slopes = cross
            if present.size:
                slopes = cho_solve(cho_factor(self.covariance[np.ix_(present, present)]), cross)
            covariance = self.covariance[np.ix_(missing, missing)] - cross.T @ slopes
            yield Pattern(rows, missing, present, slopes, covariance)

    def expected(self, pattern: Pattern, z: Float64[np.ndarray, "n dim"]) -> Float64[np.ndarray, "n missing"]:
        """The mean of the missing features given the others."""
        return self.mean[pattern.missing] + (z[:, pattern.present] - self.mean[pattern.present]) @ pattern.slopes

    def donated(
        self,
        z: Float64[np.ndarray, "n dim"],
        gaps: Bool[np.ndarray, "n dim"],
        rng: np.random.Generator,
        reserve: tuple[Float64[np.ndarray, "m dim"], Bool[np.ndarray, "m dim"]] | None = None,
    ) -> Float64[np.ndarray, "n dim"]:
        """The rows with the missing features of other rows, whose values are to be expected at about the same place.

        Predictive mean matching (Little 1988): of the rows that have these features, the few whose conditional means
        are nearest, and of these one at random. So what is filled in has the form of the data, categories included.

        Args:
            z: rows.
            gaps: where values are missing.
            rng: where the choice comes from.
            reserve: rows and their gaps that give what none of the rows themselves has.

        Raises:
            InputError: if no row has all the features that another lacks.
        """
        guesses, _ = self._expected(z, gaps)
        filled = z.copy()
        for pattern in self.patterns(gaps):
            values, expected = z, guesses
            donors = np.flatnonzero(~gaps[:, pattern.missing].any(axis=1))
            if not donors.size and reserve is not None:
                values, lacking = reserve
                expected, _ = self._expected(values, lacking)
                donors = np.flatnonzero(~lacking[:, pattern.missing].any(axis=1))
            if not donors.size:
                raise InputError(
                    f"no training row has all of the {len(pattern.missing)} values that row {pattern.rows[0] + 1} "
                    "lacks, expected one at least: leave columns out, or choose columns.missing = median"
                )
            means = self.expected(pattern, expected[donors])
            search = NearestNeighbors(n_neighbors=min(DONORS, donors.size)).fit(means)
            nearest = search.kneighbors(self.expected(pattern, guesses[pattern.rows]), return_distance=False)
            chosen = nearest[np.arange(len(nearest)), rng.integers(nearest.shape[1], size=len(nearest))]
            filled[np.ix_(pattern.rows, pattern.missing)] = values[np.ix_(donors[chosen], pattern.missing)]
        return filled

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that `restored` needs, by name."""
        return {"mean": self.mean, "covariance": self.covariance}

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray], dim: int) -> "Imputer":
        """The density from its saved arrays.

        Raises:
            InputError: if they are not a mean and a positive definite covariance of `dim` features.
        """
        wanted = {"mean": (dim,), "covariance": (dim, dim)}
        if {name: array.shape for name, array in arrays.items()} != wanted or any(
            array.dtype != np.float64 or not np.isfinite(array).all() for array in arrays.values()
        ):
            raise InputError(f"the arrays for missing values are not the mean and covariance of {dim} features")
        if np.linalg.eigvalsh(arrays["covariance"])[0] <= 0:
            raise InputError("the covariance for missing values is not positive definite")
        return cls(arrays["mean"], arrays["covariance"])

    def _expected(
        self, z: Float64[np.ndarray, "n dim"], gaps: Bool[np.ndarray, "n dim"]
    ) -> tuple[Float64[np.ndarray, "n dim"], Float64[np.ndarray, "dim dim"]]:
        """The rows with conditional means in their gaps, and the sum of the conditional covariances."""
        filled, left = np.where(gaps, self.mean, z), np.zeros_like(self.covariance)
        for pattern in self.patterns(gaps):
            filled[np.ix_(pattern.rows, pattern.missing)] = self.expected(pattern, filled[pattern.rows])
            left[np.ix_(pattern.missing, pattern.missing)] += len(pattern.rows) * pattern.covariance
        return filled, left
