"""Fits with an optimiser or a loss of the caller's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxflow.errors import InputError
from jaxflow.models import MAF, GaussianSpec
from jaxflow.models.model import weighted_mean
from jaxflow.models.named_arrays import state_arrays
from jaxflow.training import Batch, Checkpoints, FitSpec, fit

SPEC = FitSpec(epochs=3, batch_size=16)


def rows(n=50, dim=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def flow(context_dim=0):
    return MAF(layers=1, hidden=(4,), context_dim=context_dim).build(2, rngs=nnx.Rngs(0))


def fitted(model=None, data=None, spec=SPEC, **own):
    return fit(model or flow(), rows() if data is None else data, rows(20, seed=1), spec, key=jax.random.key(0), **own)


def likelihood(model, batch, rngs):
    return weighted_mean(-model.log_prob(batch.x, batch.context), batch.weight)


def assert_same(first, second, rtol=0.0):
    for name, array in state_arrays(first.model).items():
        np.testing.assert_allclose(array, state_arrays(second.model)[name], rtol=rtol, atol=rtol)


def test_adamw_of_optax_gives_the_fit_of_the_built_in_one():
    spec = SPEC.model_copy(update={"warmup": 0.0, "final_learning_rate": 1.0, "weight_decay": 0.0, "clip_norm": None})
    own = fitted(optimizer=optax.adam(1e-3))
    assert_same(own, fitted(spec=spec), rtol=1e-5)
    assert own.history.column("learning_rate") == [None] * 3
    assert np.isfinite(own.history.column("valid_loss")).all()


def test_plain_descent_takes_the_step_that_it_says():
    model, x = flow(), rows(16)
    one = fit(model, x, None, FitSpec(epochs=1, batch_size=16), key=jax.random.key(0), optimizer=optax.sgd(0.1)).model
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    gradient = jax.grad(lambda params: nnx.merge(graph, params, rest, copy=True).loss(jnp.asarray(x)))(params)
    moved = jax.tree.map(lambda value, slope: value - 0.1 * slope, params, gradient)
    for got, expected in zip(jax.tree.leaves(nnx.split(one, nnx.Param, ...)[1]), jax.tree.leaves(moved), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_the_likelihood_as_a_loss_of_ones_own_changes_nothing():
    assert_same(fitted(loss=likelihood), fitted(), rtol=1e-6)


def test_another_loss_is_lowered_and_judged():
    def far(model, batch, rngs):
        z, _ = model.bijector.inverse_and_log_det(batch.x)
        return weighted_mean(jnp.sum((z - 3.0) ** 2, axis=-1), batch.weight)

    spec = FitSpec(epochs=40, batch_size=16, learning_rate=0.03)
    result = fitted(spec=spec, loss=far)
    losses = result.history.column("valid_loss")
    assert min(losses) < 0.5 * losses[0]
    x = jnp.asarray(rows(20, seed=1))
    np.testing.assert_allclose(float(far(result.model, Batch(x), None)), min(losses), rtol=1e-4)


def test_a_loss_may_be_random_in_steps():
    def noisy(model, batch, rngs):
        x = batch.x if rngs is None else batch.x + 0.1 * jax.random.normal(rngs.noise(), batch.x.shape)
        return weighted_mean(-model.log_prob(x), batch.weight)

    result = fitted(loss=noisy)
    assert np.isfinite(result.history.column("train_loss")).all()
    assert result.history.column("train_loss") != fitted().history.column("train_loss")


def test_a_step_that_is_not_finite_ends_the_fit_and_changes_nothing():
    def breaks(model, batch, rngs):
        return likelihood(model, batch, rngs) / jnp.where(jnp.max(batch.x) > 100, 0.0, 1.0)

    data = rows()
    data[7, 0] = 1e3
    with pytest.raises(FloatingPointError, match="row"):
        fitted(data=data, loss=breaks, optimizer=optax.sgd(1e-3))


def test_a_pair_is_rows_and_context():
    x, context = rows(), rows(dim=1, seed=2)
    pair = fit(flow(1), (x, context), None, SPEC, key=jax.random.key(0))
    assert_same(pair, fit(flow(1), Batch(x, context=context), None, SPEC, key=jax.random.key(0)))


def test_a_flow_called_is_its_log_density():
    np.testing.assert_array_equal(flow()(jnp.asarray(rows())), flow().log_prob(jnp.asarray(rows())))


@pytest.mark.parametrize(
    ("arguments", "own", "sentence"),
    [
        ((SPEC,), {}, "train is a FitSpec, expected rows: fit"),
        ((rows(), SPEC), {}, "valid is a FitSpec, expected rows: fit"),
        (((rows(), rows(), rows()),), {}, "train is a tuple of 3, expected a pair"),
        (
            (rows(), None, FitSpec(clip_norm=1.0)),
            {"optimizer": optax.adam(1e-3)},
            "clip_norm of the FitSpec does not act",
        ),
        ((rows(), None, FitSpec(trim=0.1)), {"loss": likelihood}, "trim of the FitSpec ranks rows by the model's own"),
        ((rows(), None, SPEC), {"loss": lambda model, batch, rngs: -model(batch.x)}, r"the loss has the shape \(16,\)"),
    ],
)
def test_what_cannot_be_is_refused(arguments, own, sentence):
    with pytest.raises(InputError, match=sentence):
        fit(flow(), *arguments, key=jax.random.key(0), **own)


def test_models_that_fit_themselves_and_checkpoints_are_refused(tmp_path):
    with pytest.raises(InputError, match="Gaussian takes no optimizer: it is for models fitted alone"):
        fit(GaussianSpec().build(2, rngs=nnx.Rngs(0)), rows(), key=jax.random.key(0), optimizer=optax.adam(1e-3))
    with pytest.raises(InputError, match="a fit with its own loss takes no checkpoints"):
        fitted(loss=likelihood, checkpoints=Checkpoints(directory=tmp_path / "kept"))
