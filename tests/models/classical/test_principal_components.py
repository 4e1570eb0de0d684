import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx
from sklearn.decomposition import PCA

from jaxflow.config.spec import parse_spec
from jaxflow.errors import InputError
from jaxflow.models.classical.principal_components import PrincipalComponents, PrincipalComponentsSpec, principal_axes
from jaxflow.training import fit
from tests.compiled import call

DIM = 5
SCORES = ("reconstruction", "mahalanobis")


def correlated(seed, n, dtype: Any = np.float64):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, DIM)) @ np.random.default_rng(0).normal(size=(DIM, DIM)) + 3).astype(dtype)


def fitted(x, weight=None, dim=DIM, **options):
    model = PrincipalComponents(dim, **options)
    weight = None if weight is None else jnp.asarray(weight)
    loss = model.fit_directly(jnp.asarray(x), weight, key=jax.random.key(0))
    assert loss.shape == (1,)
    assert np.isfinite(loss).all()
    return model


def kept(model):
    return int(np.asarray(model.kept[...]).sum())


@pytest.mark.parametrize("components", [1, 3])
def test_directions_variances_and_errors_are_those_of_scikit_learn(components):
    x, asked = correlated(1, 200), correlated(2, 20)
    theirs = PCA(components).fit(x)
    with jax.enable_x64(True):
        model = fitted(x, components=components)
        assert kept(model) == components
        np.testing.assert_allclose(model.mean[...], theirs.mean_, rtol=1e-10)
        directions = np.asarray(model.directions[...])
        along = np.sum(directions[:components] * theirs.components_, axis=1)
        np.testing.assert_allclose(np.abs(along), 1, rtol=1e-10)
        np.testing.assert_allclose(directions @ directions.T, np.eye(DIM), atol=1e-12)
        variances = np.asarray(model.variances[...])
        np.testing.assert_allclose(variances[:components], theirs.explained_variance_ * 199 / 200, rtol=1e-10)
        back = theirs.inverse_transform(theirs.transform(asked))
        np.testing.assert_allclose(call(model, "reconstruct", jnp.asarray(asked)), back, rtol=1e-10)
        scores = call(model, "score", jnp.asarray(asked))
        np.testing.assert_allclose(scores, np.mean((asked - back) ** 2, axis=1), rtol=1e-9)


@pytest.mark.parametrize("rows", [2, 4, 6, 7])
def test_fewer_rows_than_features_give_the_directions_they_span_and_complete_the_basis(rows):
    x, dim = np.random.default_rng(3).normal(size=(rows, 7)), 7
    spanned = min(rows - 1, 6)
    theirs = PCA(spanned).fit(x)
    with jax.enable_x64(True):
        model = fitted(x, dim=dim)
        directions, variances = np.asarray(model.directions[...]), np.asarray(model.variances[...])
        np.testing.assert_allclose(directions @ directions.T, np.eye(dim), atol=1e-12)
        np.testing.assert_allclose(np.abs(np.sum(directions[:spanned] * theirs.components_, axis=1)), 1, rtol=1e-10)
        np.testing.assert_allclose(variances[:spanned], theirs.explained_variance_ * (rows - 1) / rows, rtol=1e-10)
        np.testing.assert_allclose(variances[spanned:], 0, atol=1e-15)


def test_few_rows_of_many_features_take_a_thin_factorisation():
    """60 rows of 2,000 features: a square of their number of features took minutes to factorise."""
    text = jax.jit(principal_axes).lower(jnp.zeros((60, 2000)), jnp.ones(60)).as_text()
    factorised = [re.search(r": \(tensor<(\d+)x(\d+)x", line) for line in text.splitlines() if "gesdd" in line]
    assert [found.groups() for found in factorised if found] == [("60", "2000")]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8, 0.95, 0.99])
def test_the_fewest_directions_with_the_share_of_the_variance_are_kept(share):
    x = correlated(3, 200)
    with jax.enable_x64(True):
        assert kept(fitted(x, variance=share)) == min(PCA(share).fit(x).n_components_, DIM - 1)


def test_one_direction_is_dropped_at_least_and_none_without_variance_is_kept():
    x = correlated(4, 100)
    with jax.enable_x64(True):
        assert kept(fitted(x, variance=1.0)) == DIM - 1
        assert kept(fitted(x[:, :1], dim=1)) == 0
        flat = np.column_stack([x[:, :2], x[:, 0] - x[:, 1], np.full(100, 7.0), x[:, 1] * 2])
        assert kept(fitted(flat, variance=1.0)) == 2
        assert kept(fitted(flat, components=4)) == 2
    for score in SCORES:
        model = fitted(x[:, :1], dim=1, score=score)
        squares = (x[:, 0] - x[:, 0].mean()) ** 2
        expected = squares if score == "reconstruction" else squares / squares.mean()
        np.testing.assert_allclose(call(model, "score", jnp.asarray(x[:, :1])), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("components", [0, 2, 4])
def test_the_distance_is_that_of_probabilistic_principal_component_analysis(components):
    """W = U (L - s^2 I)^1/2 and C = W W^T + s^2 I, section 3.2 of Tipping and Bishop 1999."""
    x, asked = correlated(5, 300), 2 * correlated(6, 20)
    variances, directions = np.linalg.eigh(np.cov(x.T, bias=True))
    noise = variances[: DIM - components].mean()
    main = slice(DIM - components, None)
    loadings = directions[:, main] * np.sqrt(variances[main] - noise)
    density = scipy.stats.multivariate_normal(x.mean(axis=0), loadings @ loadings.T + noise * np.eye(DIM))
    with jax.enable_x64(True):
        model = fitted(x, components=components, score="mahalanobis")
        constant = DIM * np.log(2 * np.pi) + np.linalg.slogdet(density.cov)[1]
        expected = -2 * density.logpdf(asked) - constant
        np.testing.assert_allclose(call(model, "score", jnp.asarray(asked)), expected, rtol=1e-9)
        log_prob = call(model.as_gaussian(), "log_prob", jnp.asarray(asked))
        np.testing.assert_allclose(log_prob, density.logpdf(asked), rtol=1e-9)


DEFICIENT = {
    "constant": lambda x: np.column_stack([x[:, :3], np.full(len(x), 7.0), x[:, 3]]),
    "collinear": lambda x: np.column_stack([x[:, :3], x[:, 0] - 2 * x[:, 1], x[:, 2]]),
    "few rows": lambda x: x[:3],
    "two rows": lambda x: x[:2],
    "tiny": lambda x: 1e-15 * x,
    "far": lambda x: x * [1, 1, 1, 1, 1e-12] + 1e4,
}


@pytest.mark.parametrize("case", DEFICIENT)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("options", [{}, {"variance": 1.0}, {"components": 4}, {"components": 0}], ids=str)
def test_data_of_lower_rank_give_finite_scores(case, score, options):
    x = DEFICIENT[case](correlated(7, 60)).astype(np.float32)
    model = fitted(x, score=score, **options)
    asked = jnp.asarray(np.concatenate([x, x + 1, x * 100]))
    scores = np.asarray(call(model, "score", asked))
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    # What varies as it did before is judged by that, not by how the arithmetic rounds.
    if score == "mahalanobis":
        assert scores[: len(x)].max() < 10 * len(x)


def test_a_row_off_the_plane_of_the_training_rows_is_far():
    x = correlated(8, 60)
    x[:, 4] = x[:, 0] + x[:, 1]
    broken = x[:5].copy()
    broken[:, 4] += 0.5
    for score in SCORES:
        model = fitted(x.astype(np.float32), score=score, components=4)
        normal, far = (np.asarray(call(model, "score", jnp.asarray(rows, jnp.float32))) for rows in (x, broken))
        assert far.min() > 1000 * normal.max()


def test_weights_count_as_rows_would():
    x, counts = correlated(9, 30), np.random.default_rng(10).integers(0, 4, 30)
    spoilt = np.where(counts[:, None] > 0, x, np.nan)
    with jax.enable_x64(True):
        for score in SCORES:
            weighted = fitted(spoilt, 0.3 * counts, score=score)
            repeated = fitted(np.repeat(x, counts, axis=0), score=score)
            np.testing.assert_allclose(weighted.variances[...], repeated.variances[...], rtol=1e-10)
            left, right = (call(model, "score", jnp.asarray(x)) for model in (weighted, repeated))
            np.testing.assert_allclose(left, right, rtol=1e-9)
            expected = np.average(left, weights=counts)
            np.testing.assert_allclose(weighted.loss(jnp.asarray(spoilt), jnp.asarray(1.0 * counts)), expected)


def test_fit_gives_the_model_and_the_mean_score():
    x = correlated(11, 50, np.float32)
    model, history = fit(PrincipalComponents(DIM, components=2), x, x, key=jax.random.key(0))
    scores = np.asarray(call(model, "score", jnp.asarray(x)))
    assert history.column("train_loss") == pytest.approx([scores.mean()], rel=1e-5)
    assert history.column("valid_loss") == pytest.approx([scores.mean()], rel=1e-5)


def test_what_cannot_be_fitted_is_refused_and_leaves_the_model():
    model, x = fitted(correlated(12, 40)), jnp.asarray(correlated(13, 10), jnp.float32)
    before = jax.device_get(nnx.state(model))
    refit = partial(model.fit_directly, key=jax.random.key(0))
    for rows, weight, sentence in (
        (x.at[3, 2].set(jnp.nan), None, r"feature 2 of training row 3 is nan: expected a finite number"),
        (x.at[3, 2].set(1e30), None, r"squares overflow float32: standardise"),
        (jnp.ones((10, DIM)), None, r"training rows are all the same"),
        (x, jnp.zeros(10), r"none of 10 training rows has a positive weight"),
        (x, -jnp.ones(10), r"weight of training row 0 is -1"),
        (x[:, :4], None, r"rows have the shape \(10, 4\), expected \(\.\.\., 5\)"),
    ):
        with pytest.raises(InputError, match=sentence):
            refit(rows, weight)
    context = jnp.zeros((10, 2))
    for method in (refit, model.reconstruct, model.score):
        with pytest.raises(InputError, match=r"^expected a context of 0 features, got 2$"):
            method(x, context=context)
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(nnx.state(model)))


@pytest.mark.parametrize("score", SCORES)
def test_any_leading_axes_jit_and_vmap(score):
    model = fitted(correlated(14, 50, np.float32), score=score)
    x = jnp.asarray(correlated(15, 8, np.float32)).reshape(2, 4, DIM)
    compiled = jax.jit(model.score)
    loop = np.array([[compiled(x[i, j]) for j in range(4)] for i in range(2)])
    assert jax.eval_shape(model.score, x[:, :0]).shape == (2, 0)
    np.testing.assert_allclose(model.score(x), loop, rtol=1e-4)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.vmap(model.score)))(x), loop, rtol=1e-4)
    value, gradient = jax.jit(jax.value_and_grad(model.score))(jnp.full(DIM, 1e6))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_spec_builds_the_model():
    spec = parse_spec(PrincipalComponentsSpec, {"kind": "pca", "variance": 0.8, "score": "mahalanobis"}, "test")
    model = spec.build(DIM, rngs=nnx.Rngs(0))
    assert (model.dim, model.context_dim, model.share, model.scored_by) == (DIM, 0, 0.8, "mahalanobis")
    spec = parse_spec(PrincipalComponentsSpec, {"components": 4, "floor": 1e-4}, "test")
    model = spec.build(DIM, rngs=nnx.Rngs(0))
    assert (model.components, model.floor) == (4, 1e-4)
    with pytest.raises(InputError, match="components = 4 of 4 features: expected at most 3"):
        spec.build(4, rngs=nnx.Rngs(0))
    own, default = PrincipalComponents(DIM), PrincipalComponentsSpec().build(DIM, rngs=nnx.Rngs(0))
    own.spec = default.spec  # which the one put together by hand has not
    assert nnx.graphdef(own) == nnx.graphdef(default)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"variance": 0}, "test: variance = 0: expected"),
        ({"variance": 1.1}, "test: variance = 1.1: expected"),
        ({"components": -1}, "test: components = -1: expected"),
        ({"floor": 0}, "test: floor = 0: expected"),
        ({"score": "error"}, "test: score = 'error': expected"),
        ({"components": 2, "variance": 0.5}, "components = 2 leaves nothing to variance = 0.5: name one"),
        ({"context_dim": 1}, "test: unknown key context_dim"),
    ],
)
def test_spec_refuses_what_does_not_fit(values, sentence):
    with pytest.raises(InputError, match=sentence):
        parse_spec(PrincipalComponentsSpec, values, "test")
