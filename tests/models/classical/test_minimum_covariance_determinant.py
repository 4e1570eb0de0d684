"""The robust Gaussian against scikit-learn, against wild rows, and against data it cannot be had from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.covariance import MinCovDet

from jaxflow.config.spec import parse_spec
from jaxflow.errors import InputError
from jaxflow.models import Gaussian, GaussianSpec
from jaxflow.models.classical import minimum_covariance_determinant as mcd

MIX = np.random.default_rng(99).normal(size=(3, 3))
TRUE = MIX @ MIX.T


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def rows(share: float, n: int = 300, seed: int = 0) -> np.ndarray:
    """Normal rows of covariance TRUE, of which a share lies in a cloud outside."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    z[: round(share * n)] = rng.normal(6.0, 0.5, size=(round(share * n), 3))
    return rng.permutation(z) @ MIX.T


def fitted(x, weight=None, seed: int = 0, **options) -> Gaussian:
    model = Gaussian(x.shape[1], "robust", **{"regularization": 0.0} | options)
    weight = None if weight is None else jnp.asarray(weight)
    losses = model.fit_directly(jnp.asarray(x), weight, key=jax.random.key(seed))
    assert np.isfinite(losses).all()
    return model


def covariance_of(model) -> np.ndarray:
    factor = np.asarray(model.factor[...], np.float64)
    return factor @ factor.T


def divergence(mean, covariance) -> float:
    """Of the true density from N(mean, covariance), in nats."""
    inside = np.trace(np.linalg.solve(covariance, TRUE)) + mean @ np.linalg.solve(covariance, mean) - len(mean)
    return 0.5 * (inside + np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(TRUE)[1])


@pytest.mark.parametrize(("share", "support"), [(0.0, 0.75), (0.1, 0.75), (0.2, 0.75), (0.2, 0.5)])
def test_equals_scikit_learn(share, support):
    x = rows(share)
    expected = MinCovDet(support_fraction=mcd.support_rows(300, 3, support) / 300, random_state=0).fit(x)
    model = fitted(x, support_fraction=support)
    # Two searches may end at neighbouring subsets; the second estimate hardly depends on it.
    np.testing.assert_allclose(np.linalg.solve(expected.covariance_, covariance_of(model)), np.eye(3), atol=0.03)
    assert abs(divergence(np.asarray(model.mean[...]), covariance_of(model)) -
               divergence(expected.location_, expected.covariance_)) < 0.02  # fmt: skip


def test_a_tenth_of_outliers_does_little():
    dirty, clean, full = fitted(rows(0.1)), fitted(rows(0.0)), rows(0.1)
    assert divergence(np.asarray(dirty.mean[...]), covariance_of(dirty)) < 0.05
    assert divergence(np.asarray(clean.mean[...]), covariance_of(clean)) < 0.05
    assert divergence(full.mean(axis=0), np.cov(full.T)) > 0.5


def test_many_rows_are_tried_on_some_and_judged_by_all(monkeypatch):
    monkeypatch.setattr(mcd, "TRIED_ROWS", 80)
    x = rows(0.2, n=301)  # a shape of its own, or what is compiled for more tried rows would be used
    model = fitted(x)
    # Of 80 rows alone the estimate would be off by 0.1 and more.
    assert divergence(np.asarray(model.mean[...]), covariance_of(model)) < 0.05


def test_the_first_estimate_and_the_second_are_consistent():
    rng = np.random.default_rng(0)
    for dim, share in ((2, 0.5), (5, 0.75), (3, 0.975)):
        z = rng.normal(size=(200_000, dim))
        squares = (z * z).sum(axis=1)
        inner = z[squares <= np.quantile(squares, share)]
        assert inner.var(axis=0).mean() * mcd.consistency_factor(dim, share) == pytest.approx(1.0, abs=0.01)
    assert mcd.consistency_factor(4, 1.0) == 1.0
    assert [mcd.support_rows(100, 4, share) for share in (0.5, 0.75, 1.0)] == [52, 75, 100]


def test_rows_of_weight_zero_do_not_count_and_weights_do():
    x = rows(0.1)
    weight = np.ones(300)
    alone = fitted(x)
    x = np.concatenate([x, np.full((4, 3), np.nan)])
    padded = fitted(x, np.append(weight, np.zeros(4)))
    np.testing.assert_allclose(covariance_of(padded), covariance_of(alone), rtol=0.05, atol=0.05)
    # It is the share of the weight that may be anything, here 21 %, not that of the rows.
    light, heavy = np.append(weight, [1e-9] * 4), np.append(weight, [10.0] * 4)
    x[-4:] = 50.0
    for many in (light, heavy):
        model = fitted(x, many)
        assert divergence(np.asarray(model.mean[...]), covariance_of(model)) < 0.05


@pytest.mark.parametrize("far", [1e4, 1e15])
def test_however_far_outliers_are(far):
    with jax.enable_x64(False):
        x = rows(0.1).astype(np.float32)
        outside = np.linalg.norm(x, axis=1) > 8
        near = fitted(x, regularization=1e-6)
        x[outside] *= np.float32(far)
        model = fitted(x, regularization=1e-6)
    assert divergence(np.asarray(model.mean[...], np.float64), covariance_of(model)) < 0.1
    assert divergence(np.asarray(near.mean[...], np.float64), covariance_of(near)) < 0.1


def test_too_few_rows_and_rows_in_a_plane_are_refused():
    model = Gaussian(3, "robust")
    with pytest.raises(InputError, match=r"of 3 features was asked for, and there are 3 training rows: expected more"):
        model.fit_directly(jnp.asarray(rows(0.0)[:3]), key=jax.random.key(0))
    x = rows(0.0)
    x[:250, 1] = 2 * x[:250, 0]
    with pytest.raises(InputError, match=r"feature 1 is constant, or a linear combination .* in 8\d% of the training"):
        model.fit_directly(jnp.asarray(x), key=jax.random.key(0))
    np.testing.assert_array_equal(model.mean[...], np.zeros(3))
    # Where it is so in all rows, regularization takes care of it, as elsewhere.
    x[:, 1] = 2 * x[:, 0]
    assert np.isfinite(fitted(x, regularization=1e-6).factor[...]).all()


def test_a_support_fraction_is_of_a_robust_covariance():
    with pytest.raises(InputError, match=r"support_fraction = 0\.6 needs covariance = robust, which is full"):
        parse_spec(GaussianSpec, {"support_fraction": 0.6}, "here")
    with pytest.raises(InputError, match=r"support_fraction = 0\.4"):
        parse_spec(GaussianSpec, {"support_fraction": 0.4, "covariance": "robust"}, "here")
