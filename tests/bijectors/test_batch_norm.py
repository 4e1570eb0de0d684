"""`BatchNorm`: statistics of the batch in training steps, of the whole training set otherwise."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.bijectors import BatchNorm, Chain, Coupling, Inverse, Shift, Stack
from jaxflow.bijectors import bijector as contract
from jaxflow.models import MAF
from jaxflow.networks import MLP
from jaxflow.training import FitSpec, fit


def rows(n: int = 60, dim: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([3.0, -1.0][:dim], [2.0, 0.5][:dim], size=(n, dim))


def double(flip: bool = False, *, rngs: nnx.Rngs) -> Chain:
    """A layer that mixes the features, and a norm."""
    conditioner = MLP(1, 1, (4,), rngs=rngs)
    return Chain([Coupling(np.array([flip, not flip]), Shift(), conditioner), BatchNorm(2)])


def test_in_training_a_batch_is_normalised_by_itself():
    layer = BatchNorm(2, epsilon=1e-12)
    layer.train()
    x = jnp.asarray(rows())
    z, log_det = layer.inverse_and_log_det(x)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-9)
    np.testing.assert_allclose(log_det, -np.log(x.std(axis=0)).sum(), rtol=1e-9)
    layer.eval()
    np.testing.assert_allclose(layer.inverse(x), x, rtol=1e-9)


def test_gradients_pass_through_the_statistics():
    layer = BatchNorm(1)
    layer.train()

    def first(x):
        return layer.inverse(x)[0, 0]

    # Moving all rows together moves nothing, which only shows if the mean is differentiated too.
    gradient = jax.grad(first)(jnp.asarray(rows(dim=1)))
    assert abs(float(gradient.sum())) < 1e-12
    assert float(jnp.abs(gradient).max()) > 0.1


def test_afterwards_the_statistics_are_those_of_the_whole_set_layer_by_layer():
    first, last = double(rngs=nnx.Rngs(0)), double(True, rngs=nnx.Rngs(1))
    chain = Chain([first, last])
    x = jnp.asarray(rows())
    chain.initialize(x)
    z = chain.inverse(x)
    norm: Any = last.layers[1]
    np.testing.assert_allclose(norm.mean[...], x.mean(axis=0), rtol=1e-9)
    # What comes out of the other norm is standardised only if it saw what the layers before it made of the data.
    last = first.layers[1].inverse(last.inverse(x))
    np.testing.assert_allclose(last.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(last.var(axis=0), 1, rtol=1e-4)
    np.testing.assert_allclose(chain.inverse(x[:1]), z[:1], rtol=1e-12)


def test_weights_count_in_the_statistics_of_the_set():
    layer, repeated = BatchNorm(2), BatchNorm(2)
    x, weight = jnp.asarray(rows()), np.arange(60) % 3
    layer.initialize(x, None, jnp.asarray(weight, x.dtype))
    repeated.initialize(jnp.repeat(x, weight, axis=0))
    np.testing.assert_allclose(layer.mean[...], repeated.mean[...], rtol=1e-12)
    np.testing.assert_allclose(layer.variance[...], repeated.variance[...], rtol=1e-12)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_large_set_is_seen_in_pieces(monkeypatch, stacked):
    def make():
        return Stack(lambda rngs: double(rngs=rngs), 3, rngs=nnx.Rngs(0)) if stacked else double(rngs=nnx.Rngs(0))

    whole, pieces = make(), make()
    x = jnp.asarray(rows())
    expected = whole.initialize(x)
    monkeypatch.setattr(contract, "INITIALIZED_AT_ONCE", 7)
    np.testing.assert_allclose(pieces.initialize(x), expected, rtol=1e-12)
    np.testing.assert_allclose(pieces.inverse(x), whole.inverse(x), rtol=1e-12)


@pytest.mark.parametrize("layers", [2, 14])  # 14 are stacked
def test_fit_leaves_the_statistics_of_the_training_set_for_the_best_parameters(layers):
    flow = MAF(layers=layers, hidden=(8,), normalization="batch_norm").build(2, rngs=nnx.Rngs(0))
    x = rows(70)
    spec = FitSpec(epochs=3, batch_size=32, learning_rate=1e-2, patience=None)
    result = fit(flow, x, x, spec, key=jax.random.key(0))
    fitted = result.model
    before = fitted.log_prob(jnp.asarray(x))
    assert float(-before.mean()) == pytest.approx(min(result.history.column("valid_loss")), rel=1e-9)
    fitted.initialize(jnp.asarray(x), key=jax.random.key(0))  # changes nothing: they are those of the set already
    np.testing.assert_allclose(fitted.log_prob(jnp.asarray(x)), before, rtol=1e-9)


def test_rows_that_fill_up_the_last_batch_do_not_disturb_its_statistics():
    # Rows of zeros, far from the data, would stretch the variance of the last batch and so raise its loss.
    x = 1000.0 + rows(65)
    flow = MAF(layers=1, hidden=(8,), normalization="batch_norm").build(2, rngs=nnx.Rngs(0))
    spec = FitSpec(epochs=1, batch_size=64, learning_rate=1e-12, warmup=0.0)
    losses = fit(flow, x, x, spec, key=jax.random.key(0)).history.rows[0]
    assert losses["train_loss"] == pytest.approx(losses["valid_loss"], rel=0.05)


def test_refusals():
    layer = BatchNorm(2)
    layer.train()
    with pytest.raises(ValueError, match="batches of at least 2 rows, got 1"):
        layer.inverse(jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="cannot be turned round by Inverse"):
        Inverse(BatchNorm(2)).initialize(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"epsilon must be positive, got 0\.0"):
        BatchNorm(2, epsilon=0.0)
