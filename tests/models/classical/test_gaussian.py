from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.covariance
from flax import nnx

from jaxflow.config.spec import parse_spec
from jaxflow.errors import InputError
from jaxflow.models import GaussianSpec
from jaxflow.models.classical.covariance import centre
from jaxflow.models.classical.gaussian import Gaussian

KEY = jax.random.key(0)
KINDS = ["full", "diagonal", "ledoit_wolf"]


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def correlated(seed, n=40, dim=4, dtype: type = np.float64):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)).astype(dtype)


def fitted(x, weight=None, **arguments):
    model = Gaussian(x.shape[1], **arguments)
    model.fit_directly(jnp.asarray(x), None if weight is None else jnp.asarray(weight), key=KEY)
    return model


def covariance_of(model):
    factor = np.asarray(model.factor[...])
    return np.diag(factor**2) if factor.ndim == 1 else factor @ factor.T


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dim", [1, 4])
@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_log_prob_equals_scipy_at_the_maximum_likelihood_estimate(float64, kind, dim, weighted):
    x = correlated(0, dim=dim)
    weight = np.random.default_rng(1).uniform(0, 3, 40) if weighted else np.ones(40)
    model = fitted(x, weight if weighted else None, covariance=kind, regularization=0.0)
    mean = np.average(x, axis=0, weights=weight)
    cov = np.atleast_2d(np.cov(x.T, aweights=weight, ddof=0))
    cov = np.diag(np.diag(cov)) if kind == "diagonal" else cov
    points = 3 * correlated(2, dim=dim)
    expected = scipy.stats.multivariate_normal(mean, cov).logpdf(points)
    np.testing.assert_allclose(model.log_prob(jnp.asarray(points)), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.score(jnp.asarray(points)), -expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("n", "dim"), [(5, 8), (40, 4), (40, 1)])
def test_ledoit_wolf_equals_scikit_learn(float64, n, dim):
    x = correlated(n, n, dim)
    expected, shrinkage = sklearn.covariance.ledoit_wolf(x)
    model = fitted(x, covariance="ledoit_wolf", regularization=0.0)
    assert dim == 1 or shrinkage > 0.005
    np.testing.assert_allclose(covariance_of(model), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.mean[...], x.mean(axis=0), rtol=1e-10)


def test_weighted_ledoit_wolf_is_its_formula(float64):
    x = correlated(3)
    weight = np.random.default_rng(4).uniform(0.1, 3, 40)
    w = weight / weight.sum()
    centred = x - w @ x
    s = sum(w[k] * np.outer(row, row) for k, row in enumerate(centred))
    target = np.trace(s) / 4 * np.eye(4)
    noise = sum(w[k] ** 2 * np.sum((np.outer(row, row) - s) ** 2) for k, row in enumerate(centred))
    shrinkage = noise / np.sum((s - target) ** 2)
    assert 0.01 < shrinkage < 0.99
    model = fitted(x, 1000 * weight, covariance="ledoit_wolf", regularization=0.0)
    np.testing.assert_allclose(covariance_of(model), (1 - shrinkage) * s + shrinkage * target, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_ledoit_wolf_does_not_depend_on_the_unit(unit):
    x = correlated(5, dtype=np.float32)
    one = covariance_of(fitted(x, covariance="ledoit_wolf"))
    other = covariance_of(fitted(x * np.float32(unit), covariance="ledoit_wolf"))
    np.testing.assert_allclose(other / unit / unit, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["diagonal", "ledoit_wolf"])
def test_rows_of_weight_zero_do_not_count_whatever_they_hold(float64, kind):
    x = np.concatenate([correlated(6, 20), correlated(7, 20)])
    alone = fitted(x[20:], covariance=kind, regularization=0.0)
    x[:20] = [np.nan, np.inf, 1e300, -np.inf]
    model = fitted(x, np.arange(40) // 20 * 2.0, covariance=kind, regularization=0.0)
    np.testing.assert_allclose(covariance_of(model), covariance_of(alone), rtol=1e-12)
    np.testing.assert_allclose(model.mean[...], alone.mean[...], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_regularization_adds_a_fraction_of_the_mean_variance(float64, kind):
    x = correlated(7)
    plain = covariance_of(fitted(x, covariance=kind, regularization=0.0))
    added = 0.1 * x.var(axis=0).mean() * np.eye(4)
    np.testing.assert_allclose(
        covariance_of(fitted(x, covariance=kind, regularization=0.1)), plain + added, rtol=1e-10, atol=1e-10
    )


def test_fit_returns_the_mean_negative_log_density(float64):
    x = correlated(8)
    weight = jnp.asarray(np.random.default_rng(9).uniform(0, 2, 40))
    model = Gaussian(4)
    losses = model.fit_directly(jnp.asarray(x), weight, key=KEY)
    assert losses.shape == (1,)
    expected = np.average(-model.log_prob(jnp.asarray(x)), weights=weight)
    np.testing.assert_allclose(losses[0], expected, rtol=1e-12)
    np.testing.assert_allclose(model.loss(jnp.asarray(x), weight), expected, rtol=1e-12)


def test_the_fit_has_the_precision_of_the_data():
    model = Gaussian(4)
    assert model.mean[...].dtype == np.float32
    with jax.enable_x64(True):
        x = correlated(8)
        model.fit_directly(jnp.asarray(x), key=KEY)
        np.testing.assert_allclose(model.mean[...], x.mean(axis=0), rtol=1e-12)


def test_a_large_offset_costs_no_digits():
    x = correlated(10)
    moved = (x + 1e4).astype(np.float32)
    expected = np.cov(moved.astype(np.float64).T, ddof=0)
    np.testing.assert_allclose(covariance_of(fitted(moved, regularization=0.0)), expected, rtol=1e-4, atol=1e-5)


def test_a_constant_column_is_centred_to_exactly_zero():
    rng = np.random.default_rng(12)
    x = np.stack([np.full(1000, 0.1), rng.normal(size=1000) + 1e6], axis=1).astype(np.float32)
    weight = rng.uniform(0, 3, 1000).astype(np.float32)
    centred, mean, shares = jax.jit(centre)(jnp.asarray(x), jnp.asarray(weight))
    np.testing.assert_array_equal(centred[:, 0], 0)
    assert mean[0] == np.float32(0.1)
    exact = x[:, 1].astype(np.float64)
    np.testing.assert_allclose(centred[:, 1], exact - np.average(exact, weights=weight), atol=1e-4)
    assert jnp.sum(shares) == pytest.approx(1)


def test_ill_conditioned_rows_are_fitted_in_float32():
    # The covariance has a condition number of 1e8, of which a float32 Cholesky factorisation would see nothing.
    rng = np.random.default_rng(11)
    x = rng.normal(size=(40, 4)).astype(np.float32)
    x[:, 3] = x[:, 0] + 1e-4 * x[:, 3]
    expected = np.linalg.cholesky(np.cov(x.T.astype(np.float64), ddof=0))
    np.testing.assert_allclose(fitted(x, regularization=0.0).factor[...], expected, rtol=1e-2, atol=1e-6)


def singular_rows(case, dtype):
    x = correlated(12, dtype=dtype)
    if case == "constant":
        x[:, 2] = 0.1
    elif case == "repeated":
        x[:, 2] = x[:, 0]
    else:
        x[:, 2] = x[:, 0] - 2 * x[:, 1]
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ["constant", "repeated", "combination"])
def test_a_singular_covariance_is_refused_with_the_remedy(case, dtype):
    with jax.enable_x64(dtype == np.float64):
        model = Gaussian(4, regularization=0.0)
        with pytest.raises(InputError, match=r"^feature 2 of .*regularization, which is 0 .*ledoit_wolf"):
            model.fit_directly(jnp.asarray(singular_rows(case, dtype)), key=KEY)
        np.testing.assert_array_equal(model.factor[...], np.eye(4))


def test_a_constant_column_is_refused_for_the_diagonal_kind():
    model = Gaussian(4, "diagonal", regularization=0.0)
    with pytest.raises(InputError, match=r"^feature 2 of the training rows is constant, so .*or drop the feature$"):
        model.fit_directly(jnp.asarray(singular_rows("constant", np.float32)), key=KEY)
    fitted(singular_rows("repeated", np.float32), covariance="diagonal", regularization=0.0)


@pytest.mark.parametrize("case", ["constant", "repeated", "combination"])
@pytest.mark.parametrize("arguments", [{}, {"covariance": "ledoit_wolf", "regularization": 0.0}])
def test_the_remedies_give_finite_scores_in_float32(case, arguments):
    x = singular_rows(case, np.float32)
    scores = fitted(x, **arguments).score(jnp.asarray(x))
    with jax.enable_x64(True):
        exact = fitted(x.astype(np.float64), **arguments).score(jnp.asarray(x))
    np.testing.assert_allclose(scores, exact, rtol=0, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_identical_rows_are_refused(kind):
    with pytest.raises(InputError, match="rows are all the same"):
        fitted(np.full((40, 4), 0.1, np.float32), covariance=kind)


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (np.ones((40, 3)), None, r"rows have the shape \(40, 3\), expected \(\.\.\., 4\)"),
        (np.ones((0, 4)), None, "none of 0 training rows has a positive weight"),
        (np.ones((40, 4)), np.zeros(40), "none of 40 training rows has a positive weight"),
        (np.ones((40, 4)), 1.0 - 3 * (np.arange(40) == 2), "the weight of training row 2 is -2.0: expected"),
        (np.ones((40, 4)), np.array([1] * 39 + [np.nan]), "the weight of training row 39 is nan: expected"),
        (np.ones((40, 4)), np.array([1] * 39 + [np.inf]), "the weight of training row 39 is inf: expected"),
        (1e30 * correlated(20), None, "the training rows hold values whose squares overflow float32"),
        (np.where(np.eye(40, 4, -1), np.inf, 1), None, "feature 0 of training row 1 is inf: expected a finite number"),
    ],
)
@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_unusable_rows_are_refused(kind, x, weight, message):
    weight = None if weight is None else jnp.asarray(weight, jnp.float32)
    with pytest.raises(InputError, match=f"^{message}"):
        Gaussian(4, kind).fit_directly(jnp.asarray(x, jnp.float32), weight, key=KEY)


def test_a_context_is_refused():
    model, x, context = Gaussian(2), jnp.ones((3, 2)), jnp.ones((3, 1))
    calls = [
        lambda: model.log_prob(x, context),
        lambda: model.score(x, context),
        lambda: model.loss(x, None, context),
        lambda: model.sample(KEY, (), context),
        lambda: model.fit_directly(x, None, context, key=KEY),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"^expected a context of 0 features, got 1$"):
            call()


@pytest.mark.parametrize("kind", ["full", "diagonal"])
@pytest.mark.parametrize("dim", [1, 2])
def test_integrates_to_one(float64, kind, dim):
    model = Gaussian(dim, kind)
    model.mean[...] = jnp.arange(1.0, dim + 1)
    model.factor[...] = (
        jnp.array([0.5, 2.0])[:dim] if kind == "diagonal" else jnp.array([[0.5, 0], [-1, 2]])[:dim, :dim]
    )
    axis = np.linspace(-20, 20, 801)
    grid = np.stack(np.meshgrid(*[axis] * dim), axis=-1)
    total = np.sum(np.exp(model.log_prob(jnp.asarray(grid)))) * (axis[1] - axis[0]) ** dim
    np.testing.assert_allclose(total, 1, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_what_it_scores(kind):
    model = fitted(correlated(14, dtype=np.float32), covariance=kind)
    draws = model.sample(jax.random.key(1), (4000,))
    # Twice the fall of the log-density from its top is chi-squared distributed.
    fall = 2 * (model.log_prob(model.mean[...]) - model.log_prob(draws))
    assert scipy.stats.kstest(np.asarray(fall), scipy.stats.chi2(4).cdf).pvalue > 1e-3
    scale = np.sqrt(np.diag(covariance_of(model)))
    np.testing.assert_allclose(
        np.cov(draws.T) / scale / scale[:, None], covariance_of(model) / scale / scale[:, None], atol=0.1
    )
    np.testing.assert_allclose((draws.mean(axis=0) - model.mean[...]) / scale, 0, atol=0.1)


def test_sample_shapes_and_keys():
    model = Gaussian(3)
    draws = model.sample(KEY, (2, 5))
    assert draws.shape == (2, 5, 3)
    assert model.sample(KEY).shape == (3,)
    np.testing.assert_array_equal(draws, model.sample(jax.random.key(0), (2, 5)))
    assert not np.allclose(draws, model.sample(jax.random.key(1), (2, 5)))


def test_before_the_fit_it_is_the_standard_normal():
    x = correlated(15, 10, 3, np.float32)
    for model in (Gaussian(3), Gaussian(3, "diagonal")):
        expected = scipy.stats.norm.logpdf(x).sum(axis=1)
        np.testing.assert_allclose(model.log_prob(jnp.asarray(x)), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_far_outliers_have_finite_scores_and_gradients(kind):
    model = fitted(singular_rows("combination", np.float32), covariance=kind)
    differentiate = jax.jit(jax.value_and_grad(model.score))
    for size in (1e6, -1e6, 1e30):
        value, gradient = differentiate(jnp.full(4, size))
        assert value > 1e6
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_any_leading_axes_jit_and_vmap(kind):
    model = fitted(correlated(16, dtype=np.float32), covariance=kind)
    x = jnp.asarray(correlated(17, 8, dtype=np.float32)).reshape(2, 4, 4)
    score = model.score(x)
    compiled = jax.jit(model.score)
    loop = np.array([[compiled(x[i, j]) for j in range(4)] for i in range(2)])
    assert score.shape == (2, 4)
    assert jax.eval_shape(model.score, x[0]).shape == (4,)
    assert jax.eval_shape(model.score, x[:, :0]).shape == (2, 0)
    np.testing.assert_allclose(score, loop, rtol=1e-5)
    np.testing.assert_allclose(compiled(x), loop, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.vmap(model.score)))(x), loop, rtol=1e-5)


def test_a_second_fit_of_the_same_shapes_compiles_nothing():
    compiled = []

    def listen(event, duration_secs, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def use(seed, **arguments):
        x = jnp.asarray(correlated(seed, dtype=np.float32))
        model = fitted(x, **arguments)
        model.score(x[None])
        model.sample(KEY, (2, 5))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        use(18)
        assert compiled
        compiled.clear()
        use(19, regularization=1e-3)
        assert not compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_the_fit_is_no_trainable_parameter():
    assert not jax.tree.leaves(nnx.state(Gaussian(3), nnx.Param))


def test_spec_builds_the_model():
    spec = parse_spec(GaussianSpec, {"kind": "gaussian", "covariance": "diagonal", "regularization": 0.5}, "test")
    model: Any = spec.build(3, rngs=nnx.Rngs(0))
    assert (model.dim, model.context_dim, model.covariance, model.regularization) == (3, 0, "diagonal", 0.5)
    plain: Any = GaussianSpec().build(3, rngs=nnx.Rngs(0))
    assert plain.regularization == Gaussian(3).regularization


@pytest.mark.parametrize("values", [{"covariance": "round"}, {"regularization": -1e-9}, {"regularization": 2}])
def test_spec_refuses_what_is_out_of_range(values):
    with pytest.raises(InputError, match=f"test: {next(iter(values))}"):
        parse_spec(GaussianSpec, values, "test")
