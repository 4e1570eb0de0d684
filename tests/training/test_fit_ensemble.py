"""Ensembles fitted in one call, and data sets of each member's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.errors import InputError
from jaxflow.models import MAF, EnsembleSpec
from jaxflow.training import Batch, FitSpec, fit, fit_ensemble

MEMBER = MAF(layers=2, hidden=(8,), normalization="act_norm")
SPEC = FitSpec(epochs=6, batch_size=32, learning_rate=1e-2, patience=None)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def folds(count: int = 3, n: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(10.0 * np.arange(count)[:, None, None], 2.0, size=(count, n, 2))


def test_folds_train_together_as_they_would_alone():
    train, valid, key = folds(), folds(seed=1), jax.random.key(0)
    spec = FitSpec(epochs=6, batch_size=100, patience=None)  # one batch, so that its order is of no account
    together = fit_ensemble(MEMBER, train, 3, key, valid=valid, fit_spec=spec)
    first = EnsembleSpec(member=MEMBER, members=3).build(2, rngs=nnx.Rngs(jax.random.split(key)[0]))
    for index, history in enumerate(together.history.members):
        alone = fit(first.take(index), train[index], valid[index], spec, key=jax.random.key(5))
        np.testing.assert_allclose(history.column("valid_loss"), alone.history.column("valid_loss"), rtol=1e-6)
        rows = jnp.asarray(valid[index])
        np.testing.assert_allclose(together.model.take(index).log_prob(rows), alone.model.log_prob(rows), rtol=1e-6)


def test_scores_of_folds():
    train, valid = folds(), folds(seed=1)
    fitted = fit_ensemble(MEMBER, train, 3, jax.random.key(0), valid=valid, fit_spec=SPEC, combination="tail").model
    own = fitted.each(lambda member, x: member.score(x), jnp.asarray(valid))
    others = fitted.each(lambda member, x: member.score(x), jnp.asarray(valid[::-1].copy()))
    assert np.all(np.mean(own[::2], axis=1) < np.mean(others[::2], axis=1) - 1)
    # Each member was calibrated on its own held-out rows: the middle of its quantiles is its own median score.
    np.testing.assert_allclose(jnp.median(fitted.quantiles[...], axis=1), jnp.median(own, axis=1), rtol=0.02)


def test_rows_of_weight_zero_fill_a_smaller_set_up():
    train = folds(2)
    train[1, 60:] = 1e3
    weight = np.ones((2, 100))
    weight[1, 60:] = 0
    fitted = fit_ensemble(MEMBER, Batch(train, weight), 2, jax.random.key(0), fit_spec=SPEC)
    assert float(fitted.history.members[1].column("train_loss")[-1]) < 10


def test_context_of_each_member():
    context = folds(2)[..., :1]
    spec = MAF(layers=1, hidden=(4,), context_dim=1)
    data = Batch(folds(2), None, context)
    fitted = fit_ensemble(spec, data, 2, jax.random.key(0), valid=data, fit_spec=SPEC).model
    assert fitted.log_prob(jnp.zeros((5, 2)), jnp.zeros((5, 1))).shape == (5,)


def test_dequantized_members_each_find_their_own_grid():
    spec = MAF(layers=1, hidden=(4,), dequantize="uniform")
    data = np.random.default_rng(0).integers(0, 3, size=(2, 50, 2)) * np.array([1.0, 4.0])[:, None, None]
    fitted = fit_ensemble(spec, data, 2, jax.random.key(0), fit_spec=SPEC).model
    ones, fours = (np.asarray(fitted.take(index).sample(jax.random.key(1), (50,))) for index in range(2))
    np.testing.assert_allclose(ones, np.round(ones))
    np.testing.assert_allclose(fours / 4, np.round(fours / 4))
    assert np.any(ones % 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((3, 10, 2)), r"train has shape \(3, 10, 2\), expected \(rows, 2\) or \(2, rows, 2\)"),
        (Batch(np.zeros((10, 2)), np.ones((3, 10))), r"the weight of train has shape \(3, 10\), expected \(10,\)"),
        (Batch(np.zeros((2, 5, 2)), np.array([[1.0] * 5, [0.0] * 5])), "must be non-negative everywhere and positive"),
        (
            Batch(np.zeros((2, 5, 2)), None, np.zeros((5, 1))),
            r"context of train has shape \(5, 1\), expected \(2, 5, 0\)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        fit_ensemble(MEMBER, data, 2, jax.random.key(0))


def test_one_value_for_each_member_is_wanted():
    with pytest.raises(ValueError, match="weight_decays must have one value for each of 2 members or none, got 3"):
        fit_ensemble(MEMBER, np.zeros((10, 2)), 2, jax.random.key(0), weight_decays=(0.1, 0.2, 0.3))


def test_weight_decay_of_each_member_acts_on_its_own_weights():
    spec = FitSpec(epochs=1, batch_size=2, learning_rate=1e-2, warmup=0.0, weight_decay=0.0)
    fitted = fit_ensemble(MEMBER, folds()[0], 2, jax.random.key(0), fit_spec=spec, weight_decays=(0.0, 10.0)).model

    def length(index):
        kernels = [leaf for leaf in jax.tree.leaves(nnx.state(fitted.take(index), nnx.Param)) if leaf.ndim == 2]
        return float(sum(jnp.sum(kernel**2) for kernel in kernels))

    assert length(1) < 0.1 * length(0)


def test_no_such_member():
    fitted = fit_ensemble(MEMBER, folds()[0], 2, jax.random.key(0), fit_spec=SPEC).model
    with pytest.raises(IndexError, match="member must be between 0 and 1, got 2"):
        fitted.take(2)
