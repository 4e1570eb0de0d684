"""Planar, radial and Sylvester layers: invertible whatever the parameters, trainable from the start, conditional."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.bijectors import Planar, Radial, Sylvester
from jaxflow.networks import MLP
from tests.bijectors.cases import CONTEXT_DIM, DIM, planar, radial, shaken, sylvester

every_layer = pytest.mark.parametrize("make", [planar, radial, sylvester])
ROWS = np.random.default_rng(0).normal(size=(40, DIM))


@every_layer
def test_invertible_whatever_the_parameters(make):
    @jax.jit
    def there_and_back(params):
        layer = nnx.merge(graph, params, rest)
        x, log_det = layer.forward_and_log_det(jnp.asarray(ROWS))
        return log_det, *layer.inverse_and_log_det(x)

    graph, *_, rest = nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)
    for seed, scale in enumerate([1e-3, 1.0, 3.0, 10.0, 30.0, 30.0]):
        params = nnx.state(shaken(make(nnx.Rngs(seed)), seed, scale), nnx.Param)
        log_det, z, back = there_and_back(params)
        np.testing.assert_allclose(z, ROWS, atol=1e-5)
        np.testing.assert_allclose(back, -log_det, atol=1e-5)


@pytest.mark.parametrize("ratio", [-100.0, -2.0, -1.0, 0.0, 5.0])
def test_a_radial_layer_never_folds_the_way_from_its_centre(ratio):
    layer = Radial(DIM, rngs=nnx.Rngs(0))
    layer.parameters.values[...] = jnp.concatenate([jnp.zeros(DIM), jnp.array([0.5, ratio])])
    away = jnp.linspace(0, 10, 200)
    rows = away[:, None] * jnp.ones(DIM) / np.sqrt(DIM)
    x, log_det = jax.jit(layer.forward_and_log_det)(rows)
    assert np.all(np.diff(x[:, 0]) > 0)
    assert np.isfinite(log_det).all()
    np.testing.assert_allclose(jax.jit(layer.inverse)(x), rows, atol=1e-9)


@every_layer
def test_the_first_step_leaves_the_identity(make):
    graph, params, rest = nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)

    def loss(params):
        z, log_det = nnx.merge(graph, params, rest).inverse_and_log_det(jnp.asarray(ROWS + 1.0))
        return jnp.mean(0.5 * jnp.sum(z**2, axis=-1) - log_det)

    slope = jax.jit(jax.grad(loss))
    (gradient,) = jax.tree.leaves(slope(params))
    moved = jax.tree.map(lambda p: p - 1e-2 * gradient, params)
    assert np.max(np.abs(gradient)) > 1e-2
    assert loss(moved) < loss(params)
    (further,) = jax.tree.leaves(slope(moved))
    assert np.all(further != 0)


@every_layer
def test_a_context_that_is_shared_by_all_rows(make):
    layer = shaken(make(nnx.Rngs(0), CONTEXT_DIM))
    context = np.random.default_rng(1).normal(size=(1, CONTEXT_DIM))
    for method in (layer.forward_and_log_det, layer.inverse_and_log_det):
        shared = method(jnp.asarray(ROWS), jnp.asarray(context))
        repeated = method(jnp.asarray(ROWS), jnp.repeat(jnp.asarray(context), len(ROWS), axis=0))
        for one, other in zip(shared, repeated, strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@every_layer
def test_the_context_matters_and_is_asked_for(make):
    layer = shaken(make(nnx.Rngs(0), CONTEXT_DIM))
    there, elsewhere = (layer.forward(jnp.asarray(ROWS), jnp.full((40, CONTEXT_DIM), c)) for c in (0.0, 1.0))
    assert np.all(np.any(there != elsewhere, axis=-1))
    for context in (None, jnp.ones((40, 1))):
        with pytest.raises(ValueError, match=f"expected a context of {CONTEXT_DIM} features, got [01]"):
            layer.forward(jnp.asarray(ROWS), context)


@every_layer
def test_no_rows_and_made_under_vmap(make):
    layer = make(nnx.Rngs(0))
    for method in (layer.forward_and_log_det, layer.inverse_and_log_det):
        values, log_det = method(jnp.zeros((2, 0, DIM)))
        assert values.shape == (2, 0, DIM)
        assert log_det.shape == (2, 0)
    keys = jax.random.split(jax.random.key(0), 3)
    stacked = nnx.vmap(lambda key: make(nnx.Rngs(key)))(keys)
    assert stacked.parameters.values.shape == (3, *layer.parameters.values.shape)


@pytest.mark.parametrize("layer", [Planar, Radial, lambda dim, **options: Sylvester(dim, 2, **options)])
def test_a_conditioner_that_does_not_fit_is_refused(layer):
    network = MLP(CONTEXT_DIM, 1, (), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="context_dim must be positive with a conditioner, got 0"):
        layer(DIM, conditioner=network, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="context_dim must be 0 without a conditioner, got 3"):
        layer(DIM, context_dim=CONTEXT_DIM, rngs=nnx.Rngs(0))
    built = layer(DIM, conditioner=network, context_dim=CONTEXT_DIM, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="parameters, the conditioner gives 1"):
        built.forward(jnp.zeros((1, DIM)), jnp.zeros((1, CONTEXT_DIM)))


@pytest.mark.parametrize("rank", [0, DIM + 1])
def test_a_rank_that_the_features_do_not_have_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank must be between 1 and the number of features, 5, got {rank}"):
        Sylvester(DIM, rank, rngs=nnx.Rngs(0))
