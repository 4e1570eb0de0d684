"""Weighted sums of normal densities, on the host: what they say of some features, and of the others given these."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.linalg import LinAlgError, cholesky, qr, solve_triangular
from scipy.special import logsumexp

FARTHEST = 1e150  # a deviation whose square float64 can still hold
LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Normals:
    """A density that is a sum of normal ones, so that what it says of some of its features has a closed form.

    p(x | c) = sum_k w_k N(x - slopes^T c; mean_k, L_k L_k^T)

    All is computed in float64 by NumPy: of how many features a density is asked differs from row to row, and JAX would
    compile a program for each number.

    Attributes:
        log_weights: log w_k.
        means: mean_k.
        factors: L_k, lower triangular, (terms, dim, dim); or their diagonals, (terms, dim), if nothing else is there.
        slopes: of the mean on a context, (context_dim, dim); None without a context.
    """

    log_weights: Float64[np.ndarray, "terms"]
    means: Float64[np.ndarray, "terms dim"]
    factors: Float64[np.ndarray, "terms dim *dim"]
    slopes: Float64[np.ndarray, "context_dim dim"] | None = None

    @classmethod
    def of(cls, mean: Float64[np.ndarray, "dim"], covariance: Float64[np.ndarray, "dim dim"]) -> "Normals":
        """One normal density."""
        return cls(np.zeros(1), mean[None], cholesky(covariance, lower=True)[None])

    def marginal_log_prob(
        self,
        x: Float[np.ndarray, "n dim"],
        seen: Bool[np.ndarray, "dim"],
        context: Float[np.ndarray, "n context_dim"] | None = None,
    ) -> Float64[np.ndarray, "n"]:
        """The log-density of the features that are seen, in nats, whatever stands at the others."""
        return self.given(x, np.flatnonzero(~seen), context).log_prob

    def given(
        self,
        x: Float[np.ndarray, "n dim"],
        missing: Int64[np.ndarray, "missing"],
        context: Float[np.ndarray, "n context_dim"] | None = None,
    ) -> "Given":
        """Return what the other features tell of the missing ones, row by row.

        With the features in the order (seen, missing), the Cholesky factor ((A, 0), (B, C)) of a covariance, and
        u = A^-1 (x_seen - mean_seen), the features seen have the log-density -|u|^2 / 2 - log det A - |seen| / 2 log 2
        pi, and the others given these the mean mean_missing + B u and the covariance C C^T.

        Args:
            x: rows; what stands at a missing feature does not count.
            missing: the numbers of these features.
            context: the context of the rows, if the density has one.
        """
        terms, dim = self.means.shape
        seen = np.setdiff1d(np.arange(dim), missing)
        shift = np.zeros((1, dim)) if self.slopes is None or context is None else context @ self.slopes
        with np.errstate(over="ignore", invalid="ignore"):
            rows = np.clip(np.nan_to_num(x[:, seen] - shift[:, seen]), -FARTHEST, FARTHEST)
        log_prob = np.tile(self.log_weights - 0.5 * len(seen) * LOG_TWO_PI, (len(x), 1))
        with np.errstate(over="ignore"):
            if self.factors.ndim == 2:
                for feature, values in zip(seen, rows.T, strict=True):
                    scales = self.factors[:, feature]
                    log_prob -= 0.5 * ((values[:, None] - self.means[:, feature]) / scales) ** 2 + np.log(scales)
                return Given(log_prob, shift[:, missing], self.means[:, None, missing], self.factors[:, missing])
            means = np.empty((terms, len(x), len(missing)))
            factors = np.empty((terms, len(missing), len(missing)))
            for term in range(terms):
                factor = self._factor(term, np.concatenate([seen, missing]))
                before, cross = np.split(factor[:, : len(seen)], [len(seen)])
                whitened = solve_triangular(before, (rows - self.means[term, seen]).T, lower=True)
                log_prob[:, term] -= 0.5 * np.sum(whitened**2, axis=0) + np.log(np.diag(before)).sum()
                means[term] = self.means[term, missing] + (cross @ whitened).T
                factors[term] = factor[len(seen) :, len(seen) :]
        return Given(log_prob, shift[:, missing], means, factors)

    @cached_property
    def _covariances(self) -> Float64[np.ndarray, "terms dim dim"]:
        return self.factors @ np.swapaxes(self.factors, 1, 2)

    def _factor(self, term: int, order: Int64[np.ndarray, "dim"]) -> Float64[np.ndarray, "dim dim"]:
        """The Cholesky factor of a term's covariance with the features in this order."""
        try:
            return cholesky(self._covariances[term][np.ix_(order, order)], lower=True)
        except LinAlgError:  # so near to singular that the square is; the factor itself is not, but takes longer
            upper = np.asarray(qr(self.factors[term][order].T, mode="r")[0])
            return (upper * np.where(np.diag(upper) < 0, -1.0, 1.0)[:, None]).T


@dataclass(frozen=True, eq=False)
class Given:
    """The density of missing features, given the others of each row.

    Attributes:
        log_shares: log w_k N_k(x_seen); their sum is the density of the features seen, and in these proportions the
            terms make up that of the missing ones.
        shift: of all means by the context; one for all rows where there is none.
        means: of each term, (terms, n, missing); (terms, 1, missing) if they are the same for all rows.
        factors: lower triangular, of each term's covariance, or its diagonal.
    """

    log_shares: Float64[np.ndarray, "n terms"]
    shift: Float64[np.ndarray, "some missing"]
    means: Float64[np.ndarray, "terms some_rows missing"]
    factors: Float64[np.ndarray, "terms missing *missing"]

    @property
    def log_prob(self) -> Float64[np.ndarray, "n"]:
        """The log-density of the features seen, in nats."""
        return np.asarray(logsumexp(self.log_shares, axis=1))

    @property
    def entropy(self) -> float | None:
        """The mean of minus the log-density of the missing features, in nats; None if there are several terms."""
        if len(self.factors) > 1:
            return None
        factor = self.factors[0]
        scales = factor if factor.ndim == 1 else np.diag(factor)
        return float(0.5 * len(scales) * (1 + LOG_TWO_PI) + np.log(scales).sum())

    def terms(self, draws: int) -> Int64[np.ndarray, "n draws"]:
        """The term of each of several draws for each row, as often as its share says, ascending."""
        shares = np.exp(self.log_shares - self.log_shares.max(axis=1, keepdims=True))
        reached = np.cumsum(np.nan_to_num(shares, nan=1.0), axis=1)
        asked = (np.arange(draws) + 0.5) / draws
        found = [np.searchsorted(one, asked * one[-1]) for one in reached]
        return np.minimum(np.array(found).reshape(-1, draws), len(self.factors) - 1)

    def draws(
        self, terms: Int64[np.ndarray, "n draws"], noise: Float64[np.ndarray, "draws missing"]
    ) -> Float64[np.ndarray, "n draws missing"]:
        """Draws of the missing features for each row, each of its term, from standard normal noise."""
        if self.factors.ndim == 2:
            return self._centres(terms) + self.factors[terms] * noise
        steps = noise @ np.swapaxes(self.factors, 1, 2)
        return self._centres(terms) + steps[terms, np.arange(terms.shape[1])]

    def draws_one_by_one(
        self, terms: Int64[np.ndarray, "n draws"], noise: Float64[np.ndarray, "draws"]
    ) -> Float64[np.ndarray, "n draws missing"]:
        """Draws of which each feature by itself is one of its density, though all have the same noise.

        Means of sums over the features of what depends on one of them are as exact as of one alone, as many as there
        are; with noise of their own, its chance would add up.
        """
        deviations = self.factors
        if self.factors.ndim == 3:
            deviations = np.sqrt(np.sum(self.factors**2, axis=2))
        return self._centres(terms) + deviations[terms] * noise[:, None]

    def _centres(self, terms: Int64[np.ndarray, "n draws"]) -> Float64[np.ndarray, "n draws missing"]:
        rows = np.arange(len(terms))[:, None] if self.means.shape[1] > 1 else 0
        return self.means[terms, rows] + self.shift[:, None]
