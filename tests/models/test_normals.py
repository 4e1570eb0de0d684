"""Marginals in closed form, against integrals of the whole density and other formulas for the same."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from jaxflow.models import Gaussian, GaussianMixture, KernelDensity, LinearGaussian, PrincipalComponents
from jaxflow.models.normals import Normals

DIM = 3
CONTEXT = 2


def fitted(name: str) -> Any:
    rng = np.random.default_rng(0)
    context = rng.normal(size=(200, CONTEXT))
    rows = rng.normal(size=(200, DIM)) @ np.array([[1.0, 0.8, 0.0], [0.0, 0.5, 0.3], [0.0, 0.0, 2.0]]) + [1, -2, 0]
    rows[:100] += 3
    rows[:, 0] += context @ [1.0, -2.0]
    model: Any = {
        "full": lambda: Gaussian(DIM),
        "diagonal": lambda: Gaussian(DIM, "diagonal"),
        "linear": lambda: LinearGaussian(DIM, CONTEXT),
        "linear diagonal": lambda: LinearGaussian(DIM, CONTEXT, "diagonal"),
        "mixture": lambda: GaussianMixture(DIM, 3),
        "diagonal mixture": lambda: GaussianMixture(DIM, 3, "diagonal"),
        "kernels": lambda: KernelDensity(DIM, 64),
        "distance": lambda: PrincipalComponents(DIM, components=1, score="mahalanobis").as_gaussian(),
    }[name]()
    given = jnp.asarray(context) if name.startswith("linear") else None
    if name != "distance":
        model.fit_directly(jnp.asarray(rows), context=given, key=jax.random.key(0))
    return model, rows[:5] + rng.normal(size=(5, DIM)), None if given is None else context[:5]


KINDS = (
    "full", "diagonal", "linear", "linear diagonal", "mixture", "diagonal mixture", "kernels", "distance",
)  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_marginals_are_integrals_of_the_density(name):
    with jax.enable_x64(True):
        model, x, context = fitted(name)
        normals = model.as_normals()

        def log_prob(rows, number: Any = slice(None)):
            given = None if context is None else jnp.broadcast_to(context[number], (*rows.shape[:-1], CONTEXT))
            return np.asarray(model.log_prob(jnp.asarray(rows), given))

        whole = normals.marginal_log_prob(x, np.ones(DIM, bool), context)
        np.testing.assert_allclose(whole, log_prob(x), rtol=1e-9)
        grid = np.linspace(-20, 20, 2001)
        for missing in range(DIM):
            seen = np.arange(DIM) != missing
            hidden = np.where(seen, x, np.nan)  # what stands there does not count
            found = normals.marginal_log_prob(hidden, seen, context)
            line = np.repeat(x[:2, None], len(grid), axis=1)
            line[:, :, missing] = grid
            expected = [np.trapezoid(np.exp(log_prob(line[row], row)), grid) for row in range(2)]
            np.testing.assert_allclose(found[:2], np.log(expected), rtol=1e-4)
        assert normals.marginal_log_prob(x, np.zeros(DIM, bool), context) == pytest.approx(np.zeros(5), abs=1e-12)


def test_draws_are_those_of_the_conditional_density():
    rng = np.random.default_rng(1)
    factors = np.tril(rng.normal(size=(2, 4, 4)), -1) * 0.5 + np.eye(4)
    normals = Normals(np.log([0.3, 0.7]), rng.normal(size=(2, 4)), factors)
    x, missing, seen = rng.normal(size=(2, 4)), np.array([0, 2]), [1, 3]
    given = normals.given(x, missing)
    draws = 40_000
    found = given.draws(given.terms(draws), rng.normal(size=(draws, 2)))
    covariances = factors @ np.swapaxes(factors, 1, 2)
    for row, drawn in zip(x, found, strict=True):
        log_shares, first, second = [], [], []
        for log_weight, mean, cov in zip(normals.log_weights, normals.means, covariances, strict=True):
            across, within = cov[missing][:, seen], cov[seen][:, seen]
            log_shares.append(log_weight + multivariate_normal(mean[seen], within).logpdf(row[seen]))
            first.append(mean[missing] + across @ np.linalg.solve(within, row[seen] - mean[seen]))
            left = cov[missing][:, missing] - across @ np.linalg.solve(within, across.T)
            second.append(left + np.outer(first[-1], first[-1]))
        shares = np.exp(np.array(log_shares) - logsumexp(log_shares))
        np.testing.assert_allclose(drawn.mean(axis=0), shares @ np.array(first), atol=0.03)
        np.testing.assert_allclose(drawn.T @ drawn / draws, np.einsum("k,kij->ij", shares, second), atol=0.08)
    alone = given.draws_one_by_one(given.terms(draws), rng.normal(size=draws))
    np.testing.assert_allclose((alone**2).mean(axis=1), (found**2).mean(axis=1), atol=0.08)


def test_a_covariance_all_but_singular_has_marginals():
    """Its square has no Cholesky factor in float64; it has one itself."""
    factor = np.array([[1.0, 0, 0], [1.0, 1e-9, 0], [0.5, 0.5, 1.0]])
    normals = Normals(np.zeros(1), np.zeros((1, 3)), factor[None])
    found = normals.marginal_log_prob(np.array([[0.3, 0.3, 9.0]]), np.array([True, True, False]))
    expected = multivariate_normal(0, 1).logpdf(0.3) - np.log(1e-9 * np.sqrt(2 * np.pi))
    assert found == pytest.approx([expected])


def test_rows_infinitely_far_have_no_density():
    normals = Normals(np.log([0.5, 0.5]), np.zeros((2, 3)), np.tile(np.eye(3), (2, 1, 1)))
    x = np.array([[np.inf, 1.0, 2.0], [-np.inf, np.inf, 2.0], [1e300, 1.0, 2.0]])
    with np.errstate(all="raise", over="ignore", under="ignore"):
        given = normals.given(x, np.array([2]))
        assert (given.log_prob < -1e290).all()
        assert np.isfinite(given.draws(given.terms(4), np.zeros((4, 1)))).all()
