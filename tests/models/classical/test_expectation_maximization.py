from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.mixture

from jaxflow.models.classical.expectation_maximization import (
    MixtureParameters,
    component_log_prob,
    em_step,
    expectation_maximization,
    maximization,
    mixture_log_prob,
)

WEIGHTS = np.array([0.5, 0.3, 0.2])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def case(covariance):
    """Forty rows, three components, and scikit-learn's mixture in the same state."""
    rng = np.random.default_rng(0)
    x, means = rng.normal(size=(40, 2)) + rng.integers(0, 3, size=(40, 1)), rng.normal(size=(3, 2))
    if covariance == "diagonal":
        factors = rng.uniform(0.5, 2, size=(3, 2))
        precisions = 1 / factors**2
    else:
        root = rng.normal(size=(3, 2, 2))
        matrices = root @ root.swapaxes(1, 2) + np.eye(2)
        factors, precisions = np.linalg.cholesky(matrices), np.linalg.inv(matrices)
    peer = sklearn.mixture.GaussianMixture(
        3,
        covariance_type={"diagonal": "diag", "full": "full"}[covariance],
        weights_init=WEIGHTS,
        means_init=means,
        precisions_init=precisions,
        reg_covar=0.01,
        max_iter=1,
    )
    return jnp.asarray(x), MixtureParameters(*map(jnp.asarray, (np.log(WEIGHTS), means, factors))), peer


def covariances(parameters):
    factors = np.asarray(parameters.factors)
    return factors**2 if factors.ndim == 2 else factors @ factors.swapaxes(1, 2)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_one_step_equals_scikit_learn(covariance):
    x, start, peer = case(covariance)
    peer.fit(np.asarray(x))
    after, before_likelihood = em_step(x, jnp.ones(40), start, 0.01)
    ours = [before_likelihood, np.exp(after.log_weights), after.means, covariances(after)]
    theirs = [getattr(peer, name) for name in ("lower_bound_", "weights_", "means_", "covariances_")]
    for left, right in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-8)
    np.testing.assert_allclose(mixture_log_prob(x, after), peer.score_samples(np.asarray(x)), rtol=1e-8)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_densities_equal_scipy(covariance):
    x, parameters, _ = case(covariance)
    matrices: list[Any] = [np.diag(c) if c.ndim == 1 else c for c in covariances(parameters)]
    expected = np.log(WEIGHTS) + np.stack(
        [
            scipy.stats.multivariate_normal.logpdf(x, mean, matrix)
            for mean, matrix in zip(parameters.means, matrices, strict=True)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(component_log_prob(x, parameters), expected, rtol=1e-10)
    total: Any = scipy.special.logsumexp(expected, axis=-1)
    np.testing.assert_allclose(mixture_log_prob(x, parameters), total, rtol=1e-10)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_weight_counts_as_that_many_rows(covariance):
    x, start, _ = case(covariance)
    # Forty rows in all, so that nothing is compiled anew.
    weight = np.tile([0, 2, 1, 1], 10)
    weighted, likelihood = em_step(x, jnp.asarray(weight, float), start, 0.01)
    repeated, expected = em_step(jnp.asarray(np.repeat(x, weight, axis=0)), jnp.ones(40), start, 0.01)
    np.testing.assert_allclose(likelihood, expected, rtol=1e-12)
    for left, right in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_the_likelihood_never_falls(covariance):
    x, start, _ = case(covariance)
    weight = jnp.asarray(np.random.default_rng(1).uniform(0.5, 1.5, 40))
    _, iterations, losses = expectation_maximization(x, weight, start, 0.0, 0.0, max_iterations=300)
    assert iterations == 300
    assert losses[0] - losses[-1] > 0.1
    assert np.all(np.diff(losses) <= 1e-12)


def test_it_stops_when_the_likelihood_no_longer_changes():
    x, start, _ = case("full")
    weight = jnp.ones(40)
    parameters, iterations, losses = expectation_maximization(x, weight, start, 0.01, 1e-3, max_iterations=300)
    iterations = int(iterations)
    assert 5 < iterations < 300
    assert np.isfinite(losses[: iterations + 1]).all()
    assert np.isnan(losses[iterations + 1 :]).all()
    # The change that ends it is the one known before the last step is made.
    changes = np.abs(np.diff(losses[:iterations]))
    assert changes[-1] < 1e-3
    assert (changes[:-1] >= 1e-3).all()
    np.testing.assert_allclose(losses[iterations], -np.mean(mixture_log_prob(x, parameters)), rtol=1e-12)


@pytest.mark.parametrize("diagonal", [False, True])
def test_an_empty_component_keeps_its_mean_and_stays_finite(diagonal):
    x, start, _ = case("full")
    responsibility = jnp.asarray(np.repeat([[0.4, 0.6, 0.0]], 40, axis=0))
    after = maximization(x, responsibility, start.means, 0.01, diagonal=diagonal)
    assert all(np.isfinite(array).all() for array in after)
    np.testing.assert_allclose(after.means[2], start.means[2], rtol=1e-12)
    np.testing.assert_allclose(np.exp(after.log_weights), [0.4, 0.6, 0], atol=1e-12)
    np.testing.assert_allclose(np.diagonal(covariances(after)[2]) if not diagonal else covariances(after)[2], 0.01)
