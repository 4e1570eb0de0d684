from functools import cache
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from jaxflow.config.spec import parse_spec
from jaxflow.errors import InputError
from jaxflow.models.autoencoders.variational_autoencoder import (
    VariationalAutoEncoder,
    VariationalAutoEncoderSpec,
    latin_hypercube_normal,
)
from jaxflow.training import FitSpec, fit
from tests.compiled import call, normal

DIM, LATENT = 4, 2
SCORES = ("reconstruction_probability", "elbo", "importance")


@cache
def small(context_dim=0, **options: Any):
    # One compiled function takes less time than one for each operation.
    options = {"draws": 5, "context_dim": context_dim} | options
    return nnx.jit(lambda: VariationalAutoEncoder(6, (16, 8), 3, **options, rngs=nnx.Rngs(0)))()


def inverse_soft_clamp(bounded, bound=5.0):
    return bounded / (1 - np.abs(bounded) / bound)


def linear(*, wide=1.0, shift=0.0, **options):
    """A model without hidden layers, and the mean and covariance of its rows.

    The rows are N(mean, W W^T + V), and as the columns of V^-1/2 W are orthogonal, the latent features of a row are
    independent of each other; `wide` = 1 and `shift` = 0 make an encoder that gives their distribution exactly.
    """
    rng = np.random.default_rng(0)
    variance, mean = rng.uniform(0.2, 0.8, DIM), rng.normal(size=DIM)
    orthogonal = np.linalg.qr(rng.normal(size=(DIM, LATENT)))[0]
    weights = np.sqrt(variance)[:, None] * orthogonal * [2.0, 0.7]
    posterior = 1 / (1 + np.array([2.0, 0.7]) ** 2)
    kernel = weights / variance[:, None] * posterior
    log_scale = 0.5 * np.log(posterior) + np.log(wide)

    model = VariationalAutoEncoder(DIM, (), LATENT, variance_floor=0.1, **options, rngs=nnx.Rngs(0))
    (decoder,), (encoder,) = model.decoder.layers, model.encoder.layers
    decoder.kernel[...], decoder.bias[...] = jnp.asarray(weights.T), jnp.asarray(mean)
    encoder.kernel[...] = jnp.asarray(np.concatenate([kernel, np.zeros((DIM, LATENT))], axis=1))
    encoder.bias[...] = jnp.asarray(np.concatenate([shift - mean @ kernel, inverse_soft_clamp(log_scale)]))
    model.raw_variance[...] = jnp.log(jnp.asarray(variance) - 0.1)
    covariance: Any = weights @ weights.T + np.diag(variance)
    return model, scipy.stats.multivariate_normal(mean, covariance)


def bounds(model, x, draws, seeds):
    """Lower and importance bound of each row, `(seeds, n)` each, with other draws for every seed."""
    graph, state = nnx.split(model)

    def both(key):
        again = nnx.merge(graph, state, copy=True)
        again.draws.set_value(latin_hypercube_normal(key, draws, LATENT))
        return again.lower_bound(x), again.importance_bound(x)

    return jax.device_get(jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(1), seeds)))


def test_with_the_exact_posterior_every_draw_gives_the_exact_density():
    with jax.enable_x64(True):
        model, rows = linear(draws=3, score="importance")
        x = 2 * normal(2, (20, DIM))
        np.testing.assert_allclose(-call(model, "score", x), rows.logpdf(x), rtol=1e-10)


def test_the_importance_bound_lies_below_the_log_likelihood_and_nears_it():
    with jax.enable_x64(True):
        model, rows = linear(wide=1.4, shift=0.4)
        x = jnp.asarray(rows.rvs(8, random_state=3))
        exact, gaps = rows.logpdf(x), []
        for draws in (1, 4, 16, 512):
            _, importance = bounds(model, x, draws, 4096 // draws)
            gaps.append(exact - importance.mean(axis=0))
            # The bound holds for the mean over all draws that there may be, of which these are some.
            assert (gaps[-1] > -4 * importance.std(axis=0) / np.sqrt(len(importance))).all()
        assert (gaps[0] > gaps[1] + 0.05).all()
        assert (gaps[1] > gaps[2]).all()
        assert (gaps[2] > np.abs(gaps[3])).all()
        assert np.max(np.abs(gaps[3])) < 0.005


def test_the_lower_bound_is_below_by_the_divergence_from_the_posterior():
    """log p(x) - ELBO(x) = KL(q(z | x) | p(z | x)), here between normal distributions."""
    with jax.enable_x64(True):
        model, rows = linear(wide=1.4, shift=0.4)
        right, _ = linear()
        x = jnp.asarray(rows.rvs(8, random_state=4))
        (mean, log_scale), (at, log_width) = call(model, "encode", x), call(right, "encode", x)
        q = distrax.MultivariateNormalDiag(mean, jnp.exp(log_scale))
        posterior = distrax.MultivariateNormalDiag(at, jnp.exp(log_width))
        lower, importance = bounds(model, x, 16, 2000)
        expected = rows.logpdf(x) - np.asarray(q.kl_divergence(posterior))
        np.testing.assert_allclose(lower.mean(axis=0), expected, atol=0.01)
        assert (lower.mean(axis=0) < importance.mean(axis=0) - 0.1).all()


def test_divergence_and_terms_are_those_of_distrax():
    with jax.enable_x64(True):
        model = small.__wrapped__()
        model.raw_variance[...] = normal(5, (6,))
        x = normal(6, (10, 6))
        mean, log_scale = call(model, "encode", x)
        q = distrax.MultivariateNormalDiag(mean, jnp.exp(log_scale))
        prior = distrax.MultivariateNormalDiag(jnp.zeros(3), jnp.ones(3))
        divergence = np.asarray(q.kl_divergence(prior))
        np.testing.assert_allclose(call(model, "kl_divergence", x), divergence, rtol=1e-10)
        spread = jnp.sqrt(1e-3 + jnp.exp(model.raw_variance[...]))
        reconstructions, weights, decoded = [], [], []
        for noise in model.draws[...]:
            z = mean + jnp.exp(log_scale) * noise
            decoded.append(model.decode(z))
            reconstructions.append(distrax.Normal(decoded[-1], spread).log_prob(x))
            weights.append(reconstructions[-1].sum(axis=-1) + prior.log_prob(z) - q.log_prob(z))
        terms = -np.mean(reconstructions, axis=0)
        np.testing.assert_allclose(call(model, "feature_terms", x), terms, rtol=1e-10)
        np.testing.assert_allclose(call(model, "reconstruct", x), np.mean(decoded, axis=0), rtol=1e-10)
        expected = {
            "reconstruction_probability": terms.sum(axis=1),
            "elbo": terms.sum(axis=1) + divergence,
            "importance": np.log(5) - scipy.special.logsumexp(weights, axis=0),
        }
        for score in SCORES:
            model.scored_by = score
            np.testing.assert_allclose(call(model, "score", x), expected[score], rtol=1e-10)


def test_loss_is_a_reconstruction_by_one_draw_and_the_divergence_in_closed_form():
    with jax.enable_x64(True):
        model, x = small.__wrapped__(beta=0.3), normal(7, (10, 6))
        weight = jnp.asarray(np.random.default_rng(8).uniform(0, 2, 10))
        mean, log_scale = call(model, "encode", x)
        divergence = np.asarray(call(model, "kl_divergence", x))
        noise = jax.random.normal(nnx.Rngs(9)(), mean.shape, mean.dtype)
        decoded = model.decode(mean + jnp.exp(log_scale) * noise)
        likelihood = scipy.stats.norm.logpdf(x, decoded, np.sqrt(1 + 1e-3)).sum(axis=1)
        expected = np.average(-likelihood + 0.3 * divergence, weights=weight)
        np.testing.assert_allclose(model.loss(x, weight, rngs=nnx.Rngs(9)), expected, rtol=1e-10)
        losses = np.asarray(call(model, "feature_terms", x)).sum(axis=1) + 0.3 * divergence
        np.testing.assert_allclose(call(model, "losses", x), losses, rtol=1e-10)
        np.testing.assert_allclose(model.loss(x, weight), np.average(losses, weights=weight), rtol=1e-10)
        assert model.loss(x, rngs=nnx.Rngs(1)) != model.loss(x, rngs=nnx.Rngs(2))


@pytest.mark.parametrize("score", SCORES)
def test_the_score_of_a_row_depends_on_the_row_and_the_model_alone(score):
    with jax.enable_x64(True):
        model, x = small.__wrapped__(score=score), normal(10, (7, 6))
        together = call(model, "score", x)
        np.testing.assert_array_equal(call(model, "score", x), together)
        np.testing.assert_allclose([call(model, "score", row) for row in x], together, rtol=1e-12)
        np.testing.assert_allclose(call(model, "score", x[::-1])[::-1], together, rtol=1e-12)
        other = VariationalAutoEncoder(6, (16, 8), 3, score=score, draws=5, rngs=nnx.Rngs(1))
        assert not np.array_equal(other.draws[...], model.draws[...])


def test_draws_are_standard_normal_and_spread_evenly():
    keys = jax.random.split(jax.random.key(0), 500)
    made = np.asarray(jax.jit(jax.vmap(lambda key: latin_hypercube_normal(key, 8, 3)))(keys))
    intervals = np.floor(8 * scipy.stats.norm.cdf(made.astype(float))).astype(int)
    np.testing.assert_array_equal(np.sort(intervals, axis=1), np.tile(np.arange(8)[:, None], (500, 1, 3)))
    for draw, column in ((0, 0), (5, 2)):
        assert scipy.stats.kstest(made[:, draw, column], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(made[:, 0, 0], made[:, 0, 1])[0, 1]) < 0.15
    assert np.isfinite(latin_hypercube_normal(jax.random.key(0), 1, 1000)).all()


@pytest.mark.parametrize("noisy", [False, True])
def test_rows_of_weight_zero_do_not_count_whatever_they_hold(noisy):
    model, x = small(), normal(11, (20, 6))
    weight = jnp.asarray(np.arange(20) % 2, jnp.float32)
    spoilt = jnp.where(weight[:, None] > 0, x, jnp.nan)
    differentiate = nnx.jit(nnx.value_and_grad(lambda m, x: m.loss(x, weight, rngs=nnx.Rngs(0) if noisy else None)))
    left, right = differentiate(model, x), differentiate(model, spoilt)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(right))
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_the_variance_of_a_column_that_is_hit_exactly_stays_above_its_floor():
    x = normal(12, (128, 3)).at[:, 1].set(0.0)
    model = VariationalAutoEncoder(3, (8,), 1, variance_floor=0.01, rngs=nnx.Rngs(0))
    spec = FitSpec(epochs=60, batch_size=32, learning_rate=0.1, patience=None)
    fitted = fit(model, x, spec=spec, key=jax.random.key(0)).model
    assert 0.01 <= fitted.variance[1] < 0.05
    assert fitted.variance[0] > 0.3
    fitted.raw_variance[...] = jnp.full(3, -1e4)
    np.testing.assert_allclose(fitted.variance, 0.01, rtol=1e-6)
    value, gradient = nnx.value_and_grad(lambda m: m.loss(x))(fitted)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradient)))


def test_samples_have_the_moments_of_the_model():
    model, rows = linear()
    x = np.asarray(jax.jit(lambda key: model.sample(key, (20_000,)))(jax.random.key(0)))
    np.testing.assert_allclose(x.mean(axis=0), rows.mean, atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), rows.cov, atol=0.06)
    conditional, given = small(2), jnp.zeros((2, 3, 2))
    assert jax.eval_shape(lambda key: conditional.sample(key, (5,), given), jax.random.key(0)).shape == (5, 2, 3, 6)


def test_the_context_reaches_encoder_and_decoder():
    model, x, context = small(2), normal(13, (20, 6)), normal(14, (20, 2))
    other = context.at[3].add(1.0)
    for method, argument in (("encode", x), ("decode", x[:, :3]), ("score", x), ("losses", x)):
        one, two = (jax.tree.leaves(call(model, method, argument, given)) for given in (context, other))
        for left, right in zip(one, two, strict=True):
            changed = np.asarray(left != right).reshape(20, -1).any(axis=1)
            np.testing.assert_array_equal(changed, np.arange(20) == 3)


@pytest.mark.parametrize(("context_dim", "given"), [(0, 1), (2, 0), (2, 3)])
def test_a_context_of_the_wrong_width_is_refused(context_dim, given):
    model = small(context_dim)
    context = jnp.zeros((4, given)) if given else None
    sentence = f"^expected a context of {context_dim} features, got {given}$"
    for method in (model.encode, model.reconstruct, model.score, model.losses, lambda x, c: model.loss(x, None, c)):
        with pytest.raises(InputError, match=sentence):
            method(jnp.zeros((4, 6)), context)
    with pytest.raises(InputError, match=sentence):
        model.decode(jnp.zeros((4, 3)), context)
    with pytest.raises(InputError, match=sentence):
        model.sample(jax.random.key(0), (), context)


@pytest.mark.parametrize("score", SCORES)
def test_far_outliers_have_finite_scores_and_gradients(score):
    differentiate = jax.jit(jax.value_and_grad(small(score=score).score))
    for size in (1e6, -1e6):
        value, gradient = differentiate(jnp.full(6, size))
        assert value > 1e6
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("score", SCORES)
def test_any_leading_axes_jit_and_vmap(score):
    model, x = small(score=score), normal(15, (2, 4, 6))
    compiled = jax.jit(model.score)
    loop = np.array([[compiled(x[i, j]) for j in range(4)] for i in range(2)])
    assert jax.eval_shape(model.score, x[:, :0]).shape == (2, 0)
    np.testing.assert_allclose(model.score(x), loop, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.vmap(model.score)))(x), loop, rtol=1e-5)


def test_spec_builds_the_model():
    values = {"kind": "vae", "hidden": [16, 8], "latent": 2, "context_dim": 2, "draws": 7, "score": "elbo", "beta": 0.5}
    spec = parse_spec(VariationalAutoEncoderSpec, values | {"variance_floor": 0.01}, "test")
    model = nnx.eval_shape(lambda: spec.build(6, rngs=nnx.Rngs(0)))
    assert (model.dim, model.context_dim, model.latent, model.draws.shape) == (6, 2, 2, (7, 2))
    assert (model.beta, model.variance_floor, model.scored_by) == (0.5, 0.01, "elbo")
    widths = [[layer.kernel.shape for layer in part.layers] for part in (model.encoder, model.decoder)]
    assert widths == [[(8, 16), (16, 8), (8, 4)], [(4, 8), (8, 16), (16, 6)]]
    own, default = (
        nnx.eval_shape(build)
        for build in (
            lambda: VariationalAutoEncoder(6, rngs=nnx.Rngs(0)),
            lambda: VariationalAutoEncoderSpec().build(6, rngs=nnx.Rngs(0)),
        )
    )
    own.spec = default.spec  # which the one put together by hand has not
    assert nnx.graphdef(own) == nnx.graphdef(default)


@pytest.mark.parametrize(
    "values",
    [
        *({"hidden": [0]}, {"latent": 0}, {"beta": -1}, {"variance_floor": 0}, {"score": "likelihood"}, {"draws": 0}),
        {"context_dim": -1},
    ],
)
def test_spec_refuses_what_is_out_of_range(values):
    with pytest.raises(InputError, match=f"test: {next(iter(values))}"):
        parse_spec(VariationalAutoEncoderSpec, values, "test")


def test_no_draws_are_refused():
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        VariationalAutoEncoder(3, draws=0, rngs=nnx.Rngs(0))
