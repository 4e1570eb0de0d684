from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxflow.config.spec import parse_spec
from jaxflow.errors import InputError
from jaxflow.models.autoencoders.autoencoder import AutoEncoder, AutoEncoderSpec


def rows(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@cache
def small(context_dim):
    # One compiled function takes less time than one for each operation.
    return nnx.jit(lambda: AutoEncoder(6, (16, 8), 3, context_dim=context_dim, rngs=nnx.Rngs(0)))()


def shapes(build):
    """The shapes of all parameters, without making them."""
    return [leaf.shape for leaf in jax.tree.leaves(nnx.state(nnx.eval_shape(build)))]


def network(layers, h):
    """A ReLU network in NumPy."""
    for position, layer in enumerate(layers):
        h = h @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])
        if position < len(layers) - 1:
            h = np.maximum(h, 0)
    return h


def test_score_is_the_mean_squared_error_of_the_reconstruction():
    with jax.enable_x64(True):
        model, x = small.__wrapped__(0), np.random.default_rng(0).normal(size=(20, 6))
        latent = network(model.encoder.layers, x)
        expected = network(model.decoder.layers, latent)
        np.testing.assert_allclose(model.encode(jnp.asarray(x)), latent, rtol=1e-10)
        np.testing.assert_allclose(model.decode(jnp.asarray(latent)), expected, rtol=1e-10)
        np.testing.assert_allclose(model.reconstruct(jnp.asarray(x)), expected, rtol=1e-10)
        np.testing.assert_allclose(model.score(jnp.asarray(x)), np.mean((x - expected) ** 2, axis=1), rtol=1e-10)


def test_the_decoder_mirrors_the_encoder():
    model = nnx.eval_shape(lambda: small.__wrapped__(2))
    widths = [[layer.kernel.shape for layer in part.layers] for part in (model.encoder, model.decoder)]
    assert widths == [[(8, 16), (16, 8), (8, 3)], [(5, 8), (8, 16), (16, 6)]]


@pytest.mark.parametrize(("dim", "latent"), [(1, 1), (2, 1), (7, 3), (30, 15)])
def test_the_latent_is_by_default_half_as_wide(dim, latent):
    model = nnx.eval_shape(lambda: AutoEncoder(dim, (), rngs=nnx.Rngs(0)))
    assert model.latent == latent
    assert model.encoder.layers[0].kernel.shape == (dim, latent)


def test_loss_is_the_weighted_mean_of_the_scores():
    model, x = small(0), rows(1, 20, 6)
    weight = jnp.asarray(np.random.default_rng(2).uniform(0, 2, 20), jnp.float32)
    scores = np.asarray(model.score(x))
    np.testing.assert_allclose(model.loss(x), scores.mean(), rtol=1e-5)
    np.testing.assert_allclose(model.loss(x, weight), np.average(scores, weights=weight), rtol=1e-5)


def test_rows_of_weight_zero_do_not_count_whatever_they_hold():
    model, x = small(0), rows(3, 20, 6)
    weight = jnp.asarray(np.arange(20) % 2, jnp.float32)
    spoilt = jnp.where(weight[:, None] > 0, x, jnp.nan)
    differentiate = nnx.jit(nnx.value_and_grad(lambda m, x: m.loss(x, weight)))
    left, right = differentiate(model, x), differentiate(model, spoilt)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(right))
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_without_hidden_layers_it_learns_the_principal_subspace():
    x = rows(4, 100, 5) @ jnp.diag(jnp.array([3.0, 2.0, 0.5, 0.3, 0.1])) @ rows(5, 5, 5)
    x = (x - x.mean(axis=0)) / x.std()
    model = AutoEncoder(5, (), 2, rngs=nnx.Rngs(0))
    graph, parameters = nnx.split(model)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, 2000))

    def step(state, _):
        parameters, moments = state
        loss, gradient = jax.value_and_grad(lambda p: nnx.merge(graph, p).loss(x))(parameters)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(parameters, updates), moments), loss

    train = jax.jit(lambda state: jax.lax.scan(step, state, None, length=2000))
    _, losses = train((parameters, optimizer.init(parameters)))
    singular = np.linalg.svd(np.asarray(x), compute_uv=False)
    best = np.sum(singular[2:] ** 2) / x.size
    assert losses[0] > 10 * best
    assert 0.999 * best < losses[-1] < 1.01 * best


def test_the_context_reaches_encoder_and_decoder():
    model, x, context = small(2), rows(6, 20, 6), rows(7, 20, 2)
    other = context.at[3].add(1.0)
    for call, argument in ((model.encode, x), (model.decode, x[:, :3]), (model.score, x)):
        changed = np.asarray(call(argument, context) != call(argument, other)).reshape(20, -1).any(axis=1)
        np.testing.assert_array_equal(changed, np.arange(20) == 3)
    expected = network(model.encoder.layers, np.concatenate([x, context], axis=1))
    np.testing.assert_allclose(model.encode(x, context), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("context_dim", "given"), [(0, 1), (2, 0), (2, 3)])
def test_a_context_of_the_wrong_width_is_refused(context_dim, given):
    model = small(context_dim)
    context = jnp.zeros((4, given)) if given else None
    for call in (model.encode, model.reconstruct, model.score, lambda x, c: model.loss(x, None, c)):
        with pytest.raises(InputError, match=f"^expected a context of {context_dim} features, got {given}$"):
            call(jnp.zeros((4, 6)), context)
    with pytest.raises(InputError, match=f"^expected a context of {context_dim} features, got {given}$"):
        model.decode(jnp.zeros((4, 3)), context)


def test_far_outliers_have_finite_scores_and_gradients():
    model = small(0)
    differentiate = jax.jit(jax.value_and_grad(model.score))
    for size in (1e6, -1e6):
        value, gradient = differentiate(jnp.full(6, size))
        assert value > 1e6
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_any_leading_axes_jit_and_vmap():
    model, x = small(0), rows(8, 2, 4, 6)
    score = model.score(x)
    compiled = jax.jit(model.score)
    loop = np.array([[compiled(x[i, j]) for j in range(4)] for i in range(2)])
    assert score.shape == (2, 4)
    assert jax.eval_shape(model.score, x[0]).shape == (4,)
    assert jax.eval_shape(model.score, x[:, :0]).shape == (2, 0)
    np.testing.assert_allclose(score, loop, rtol=1e-5)
    np.testing.assert_allclose(compiled(x), loop, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.vmap(model.score)))(x), loop, rtol=1e-5)


def test_spec_builds_the_model():
    values = {"kind": "autoencoder", "hidden": [16, 8], "latent": 2, "context_dim": 2}
    spec = parse_spec(AutoEncoderSpec, values, "test")
    model = nnx.eval_shape(lambda: spec.build(6, rngs=nnx.Rngs(0)))
    assert (model.dim, model.context_dim, model.latent) == (6, 2, 2)
    expected = shapes(lambda: AutoEncoder(6, (16, 8), 2, context_dim=2, rngs=nnx.Rngs(0)))
    assert shapes(lambda: spec.build(6, rngs=nnx.Rngs(0))) == expected
    default = shapes(lambda: AutoEncoderSpec().build(6, rngs=nnx.Rngs(0)))
    assert default == shapes(lambda: AutoEncoder(6, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("values", [{"hidden": [0]}, {"hidden": 64}, {"latent": 0}, {"context_dim": -1}])
def test_spec_refuses_what_is_out_of_range(values):
    with pytest.raises(InputError, match=f"test: {next(iter(values))}"):
        parse_spec(AutoEncoderSpec, values, "test")
