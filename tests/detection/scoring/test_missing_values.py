"""Scores of rows with gaps, and how often normal ones are flagged by a threshold that complete rows have set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import cholesky, solve_triangular
from scipy.special import logsumexp
from scipy.stats import chi2, norm

from jaxflow.data import ColumnsSpec
from jaxflow.data.preprocessing.imputation import Imputer
from jaxflow.detection import GaussianDetector
from jaxflow.detection.scoring.missing_values import expected_scores
from jaxflow.models.normals import Normals


class Normal:
    """A normal density of features that are correlated, and what it makes of rows with gaps by other formulas."""

    def __init__(self, dim, correlation=1.0, seed=0):
        rng = np.random.default_rng(seed)
        mix = (np.eye(dim) + correlation * rng.normal(size=(dim, dim)) / np.sqrt(dim)) * rng.uniform(0.1, 10, dim)
        self.mean = np.array(rng.normal(size=dim))
        self.covariance = mix.T @ mix
        self.factor = cholesky(self.covariance, lower=True)

    def draw(self, n, rng):
        return self.mean + rng.normal(size=(n, len(self.mean))) @ self.factor.T

    def score(self, z, context=None):
        whitened = solve_triangular(self.factor, (z - self.mean).T, lower=True)
        half_log_det = np.log(np.diag(self.factor)).sum()
        return 0.5 * np.sum(whitened**2, axis=0) + half_log_det + 0.5 * len(self.mean) * np.log(2 * np.pi)

    def expected(self, row, gap):
        """-log p(x_present) + entropy(x_missing | x_present), from determinants of the covariance's parts."""
        part, deviation = self.covariance[~gap][:, ~gap], (row - self.mean)[~gap]
        log_det = np.linalg.slogdet(part)[1]
        left = np.linalg.slogdet(self.covariance)[1] - log_det
        surprise = 0.5 * (deviation @ np.linalg.solve(part, deviation) + log_det)
        return surprise + 0.5 * (left + gap.sum()) + 0.5 * len(row) * np.log(2 * np.pi)

    def scores(self, z, gaps, closed):
        """`expected_scores`, by the closed form or from guesses."""
        normals = Normals.of(self.mean, self.covariance) if closed else None
        imputer = Imputer(self.mean, self.covariance)
        hidden = np.where(gaps, 1e3, z)  # what stands there does not count
        return expected_scores(self.score, hidden, None, gaps, imputer, lambda z: z, normals=normals)


@pytest.mark.parametrize("closed", [True, False], ids=["closed form", "guesses"])
@pytest.mark.parametrize("dim", [100, 200, 300])
def test_scores_are_those_of_the_closed_form_in_many_features(dim, closed):
    density, rng = Normal(dim), np.random.default_rng(1)
    for missing in (dim // 10, dim // 2, dim - 1):
        gaps = rng.permuted(np.arange(dim) < missing)[None]
        row = density.draw(1, rng)
        assert density.scores(row, gaps, closed)[0] == pytest.approx(
            density.expected(row[0], gaps[0]), abs=1e-6 if closed else 0.05
        )


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.data(), st.floats(0, 3), st.booleans())
def test_scores_are_those_of_the_closed_form(dim, data, correlation, closed):
    gaps = np.array([data.draw(st.lists(st.booleans(), min_size=dim, max_size=dim)) for _ in range(2)])
    gaps[:, data.draw(st.integers(0, dim - 1))] = True
    density = Normal(dim, correlation)
    rows = 2 * density.draw(2, np.random.default_rng(0))
    expected = [density.expected(row, gap) for row, gap in zip(rows, gaps, strict=True)]
    np.testing.assert_allclose(density.scores(rows, gaps, closed), expected, atol=1e-6 if closed else 0.05)


@pytest.mark.parametrize("missing", [20, 150, 299])
def test_guesses_from_another_normal_density_are_weighed(missing):
    """The model need not be the normal density of its training rows: here its radius is another by 0.7."""
    density, rng, scale = Normal(missing + 1, 0.0), np.random.default_rng(2), 1 + 0.7 / np.sqrt(missing)
    gaps, row = np.arange(missing + 1)[None] < missing, density.draw(1, rng)
    imputer = Imputer(density.mean, density.covariance * scale**2)
    found = expected_scores(density.score, row, None, gaps, imputer, lambda z: z)
    assert found[0] == pytest.approx(density.expected(row[0], gaps[0]), abs=0.5)


class TwoModes:
    """Rows around one of two places, by chance."""

    def __init__(self, dim):
        self.places, self.spread = np.array([[-2.0], [2.0]]) * np.ones(dim), 0.5

    def draw(self, n, rng):
        return self.places[rng.integers(2, size=n)] + self.spread * rng.normal(size=(n, self.places.shape[1]))

    def score(self, z, context=None):
        parts = norm.logpdf(z[:, None], self.places, self.spread).sum(axis=2)
        return np.log(2) - logsumexp(parts, axis=1)


class Bent:
    """Rows on parabolas over the first feature."""

    def __init__(self, dim):
        self.signs = np.resize([0.7, -0.7], dim - 1)

    def draw(self, n, rng):
        z = rng.normal(size=(n, len(self.signs) + 1))
        return np.concatenate([z[:, :1], self.signs * (z[:, :1] ** 2 - 1) + 0.4 * z[:, 1:]], axis=1)

    def score(self, z, context=None):
        left = (z[:, 1:] - self.signs * (z[:, :1] ** 2 - 1)) / 0.4
        return -norm.logpdf(z[:, 0]) - (norm.logpdf(left) - np.log(0.4)).sum(axis=1)


@pytest.mark.parametrize("kind", [TwoModes, Bent])
def test_guesses_reach_what_is_not_normal(kind):
    """Where one or two features are missing: their mean over all of the plane, by brute force."""
    density, rng = kind(6), np.random.default_rng(3)
    train = density.draw(2000, rng)
    imputer = Imputer.fit(train, np.zeros(train.shape, bool))
    rows = density.draw(10, rng)
    axis = np.linspace(-6, 6, 201)
    for missing in ((0,), (3,), (2, 4)):
        plane = np.stack(np.meshgrid(*[axis] * len(missing)), axis=-1).reshape(-1, len(missing))
        expected = []
        for row in rows:
            filled = np.tile(row, (len(plane), 1))
            filled[:, missing] = plane
            scores = density.score(filled)
            weight = np.exp(scores.min() - scores)
            expected.append(weight @ scores / weight.sum())
        gaps = np.tile(np.isin(np.arange(6), missing), (len(rows), 1))
        found = expected_scores(density.score, rows, None, gaps, imputer, lambda z: z)
        assert np.quantile(np.abs(found - expected), 0.8) < 0.15  # the few rows at the ends of the parabolas are worse


def test_a_sum_of_normal_densities_makes_its_own_guesses():
    """In 100 features, of which the imputer's one normal density would find neither place."""
    dim = 100
    density, rng = TwoModes(dim), np.random.default_rng(4)
    normals = Normals(np.log([0.5, 0.5]), density.places, np.full((2, dim), density.spread))
    rows, imputer = density.draw(8, rng), Imputer(np.zeros(dim), 4.25 * np.eye(dim))
    entropy = 0.5 * np.log(2 * np.pi * np.e * density.spread**2)
    for missing in (50, 99):
        gaps = np.tile(np.arange(dim) < missing, (len(rows), 1))
        found = expected_scores(density.score, rows, None, gaps, imputer, lambda z: z, normals=normals)
        expected = -normals.marginal_log_prob(rows, ~gaps[0]) + missing * entropy
        np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("closed", [True, False], ids=["closed form", "guesses"])
def test_log_slopes_of_many_missing_features_do_not_add_up_their_chance(closed):
    """Of arcsinh, at 200 of 201 features: the mean of each feature's slope is an integral over a line."""
    density, rng = Normal(201), np.random.default_rng(5)
    deviation = np.sqrt(np.diag(density.covariance))
    gaps, row = np.arange(201)[None] < 200, density.draw(1, rng)

    def log_slopes(z):
        return -np.log(np.cosh(np.clip(z / deviation, -50, 50)))

    normals = Normals.of(density.mean, density.covariance) if closed else None
    imputer = Imputer(density.mean, density.covariance)
    found = expected_scores(density.score, row, None, gaps, imputer, lambda z: z, log_slopes, normals=normals)
    grid, given = np.linspace(-6, 6, 601), density.covariance[:, 200] / density.covariance[200, 200]
    mean = density.mean + given * (row[0, 200] - density.mean[200])
    spread = np.sqrt(np.diag(density.covariance) - given * density.covariance[200])
    lines = mean[:200] + spread[:200] * grid[:, None]
    slopes = log_slopes(np.concatenate([lines, np.zeros((601, 1))], axis=1))[:, :200].sum(axis=1)
    expected = density.expected(row[0], gaps[0]) - np.average(slopes, weights=norm.pdf(grid))
    assert found[0] == pytest.approx(expected, abs=0.5)


def test_scores_that_are_no_density_are_averaged_by_the_density():
    """A committee's score: how rare a row is. By exp(-score) the farthest guesses would count most."""
    density, rng = Normal(30, 0.5), np.random.default_rng(6)
    gaps, rows = np.arange(30)[None] < 20, density.draw(1, rng)
    imputer = Imputer(density.mean, density.covariance)

    def surprise(z, context):
        return -chi2.logsf(2 * (density.score(z) - density.score(density.mean[None])), 30)

    found = expected_scores(
        surprise, rows, None, gaps, imputer, lambda z: z, log_prob=lambda z, context: -density.score(z)
    )
    given = Normals.of(density.mean, density.covariance).given(rows, np.arange(20))
    filled = np.repeat(rows, 4000, axis=0)
    filled[:, :20] = given.draws(given.terms(4000), rng.normal(size=(4000, 20)))[0]
    assert found[0] == pytest.approx(surprise(filled, None).mean(), abs=0.1)


@pytest.mark.parametrize("tails", ["none", "arcsinh", "rank_gaussian"])
def test_scores_keep_their_mean_however_much_is_missing(tails):
    def rows(seed):
        rng = np.random.default_rng(seed)
        return rng.choice([-5.0, 5.0], (2000, 4)) + 0.3 * rng.normal(size=(2000, 4))  # no value is near the median

    train = rows(0)
    train[np.random.default_rng(1).random(train.shape) < 0.05] = np.nan
    detector = GaussianDetector(columns=ColumnsSpec.model_validate({"missing": "model", "tails": tails})).fit(train)
    x = rows(2)
    means = []
    for missing in range(4):
        x[:, :missing] = np.nan
        means.append(detector.anomaly_score(x).mean())
    assert means == pytest.approx([means[0]] * 4, abs=0.6)


def test_rows_with_gaps_are_flagged_no_more_often_than_complete_ones():
    rng = np.random.default_rng(0)
    mixing = np.eye(4) + rng.normal(size=(4, 4)) / 2
    detector = GaussianDetector(columns=ColumnsSpec(missing="model")).fit(rng.normal(size=(4000, 4)) @ mixing.T)
    x = rng.normal(size=(4000, 4)) @ mixing.T
    rates = []
    for missing in range(4):
        gaps = rng.permuted(np.arange(4) < missing, axis=0)[None] & np.ones((len(x), 1), bool)
        rates.append(np.mean(detector.anomaly_score(np.where(gaps, np.nan, x)) > detector.threshold_))
    # As the docstring of `expected_scores` has it; the threshold itself is known to about a tenth of the rate.
    expected = [chi2.sf(chi2.isf(0.05, 4) - missing, 4 - missing) for missing in range(4)]
    assert rates == pytest.approx(expected, rel=0.3, abs=0.004)
    assert max(rates[1:]) < 0.05
    assert rates == sorted(rates, reverse=True)
