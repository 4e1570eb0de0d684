from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from jaxflow.errors import InputError
from jaxflow.models import GaussianSpec, LinearGaussian
from jaxflow.training import Batch, fit
from tests.compiled import normal


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


JOINT = np.array([[2.0, 0.3, 0.8], [0.3, 1.0, -0.4], [0.8, -0.4, 1.5]])


@pytest.fixture(scope="module")
def joint():
    return np.random.default_rng(0).multivariate_normal([1.0, 2.0, 3.0], JOINT, 3000)


def fitted(rows, weight=None, **options):
    model = GaussianSpec(context_dim=1, regularization=0.0, **options).build(2, rngs=nnx.Rngs(0))
    assert isinstance(model, LinearGaussian)
    return fit(model, Batch(rows[:, :2], weight, rows[:, 2:]), key=jax.random.key(0))


def test_it_is_the_conditional_of_the_joint_normal(joint):
    model, history = fitted(joint)
    covariance: Any = np.cov(joint.T, ddof=0)
    mean = joint.mean(axis=0)
    both = scipy.stats.multivariate_normal(mean, covariance).logpdf(joint)
    context = scipy.stats.norm.logpdf(joint[:, 2], mean[2], np.sqrt(covariance[2, 2]))
    found = model.log_prob(jnp.asarray(joint[:, :2]), jnp.asarray(joint[:, 2:]))
    np.testing.assert_allclose(found, both - context, rtol=1e-9)
    assert history.column("train_loss") == [pytest.approx(-np.mean(both - context))]


def test_rows_of_no_weight_do_not_count(joint):
    rows = np.concatenate([joint, np.full((5, 3), np.nan)])[:, :]
    rows[-5:] = 1e6
    model, _ = fitted(rows, np.repeat([1.0, 0.0], [len(joint), 5]))
    np.testing.assert_allclose(model.slopes[...], fitted(joint)[0].slopes[...], rtol=1e-9)


def test_a_weight_counts_as_that_many_rows(joint):
    weight = np.arange(300) % 4
    weighted, repeated = fitted(joint[:300], weight.astype(float)), fitted(np.repeat(joint[:300], weight, axis=0))
    for found, expected in (
        (weighted.model.slopes, repeated.model.slopes),
        (weighted.model.residual.mean, repeated.model.residual.mean),
        (weighted.model.residual.factor, repeated.model.residual.factor),
    ):
        np.testing.assert_allclose(found[...], expected[...], rtol=1e-9)
    assert weighted.history.column("train_loss") == pytest.approx(repeated.history.column("train_loss"))


def test_draws_follow_the_context(joint):
    model, _ = fitted(joint)
    draws = np.asarray(model.sample(jax.random.key(1), (4000,), jnp.array([[0.0], [6.0]])))
    assert draws.shape == (4000, 2, 2)
    slopes = JOINT[2, :2] / JOINT[2, 2]
    np.testing.assert_allclose(draws[:, 1].mean(axis=0) - draws[:, 0].mean(axis=0), 6 * slopes, atol=0.2)


def test_collinear_contexts_do_no_harm():
    rows = normal(0, (200, 2))
    context = jnp.repeat(rows[:, :1], 2, axis=1)
    model = LinearGaussian(1, 2)
    model.fit_directly(rows[:, 1:], None, context, key=jax.random.key(0))
    assert np.isfinite(model.log_prob(rows[:, 1:], context)).all()


def test_a_missing_context_is_refused():
    model = LinearGaussian(2, 3)
    with pytest.raises(InputError, match="expected a context of 3 features, got 0"):
        model.log_prob(jnp.zeros((1, 2)))
    with pytest.raises(InputError, match="got 2"):
        model.sample(jax.random.key(0), (), jnp.zeros((1, 2)))
