from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from jaxflow.config.spec import parse_spec
from jaxflow.errors import InputError
from jaxflow.models.classical.gaussian import Gaussian
from jaxflow.models.classical.gaussian_mixture import GaussianMixture, GaussianMixtureSpec, fit_mixture

KEY = jax.random.key(0)
KINDS = ["full", "diagonal"]
CENTRES = np.array([[-4, 0], [4, 4], [0, -4]])


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def blobs(seed, dtype: type = np.float32):
    rng = np.random.default_rng(seed)
    return (np.repeat(CENTRES, 20, axis=0) + rng.normal(size=(60, 2))).astype(dtype)


def scattered(seed):
    """Rows without clusters, on which the result depends on the start."""
    return np.random.default_rng(seed).uniform(-1, 1, (60, 2)).astype(np.float32)


def fitted(x, weight=None, components=3, **arguments):
    model = GaussianMixture(x.shape[1], components, **arguments)
    model.fit_directly(jnp.asarray(x), None if weight is None else jnp.asarray(weight), key=KEY)
    return model


def fixed(dim, kind):
    """A mixture with parameters set by hand."""
    rng = np.random.default_rng(dim)
    model = GaussianMixture(dim, 3, covariance=kind)
    model.log_weights[...] = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    model.means[...] = jnp.asarray(rng.normal(size=(3, dim)) * 2, jnp.float32)
    scale = jnp.asarray(rng.uniform(0.5, 2, size=(3, dim)), jnp.float32)
    model.factors[...] = scale if kind == "diagonal" else scale[..., None] * jnp.eye(dim) + jnp.eye(dim, k=-1)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_one_component_is_the_gaussian_and_rows_of_weight_zero_do_not_count(float64, kind):
    x = blobs(0, dtype=np.float64)
    weight = np.where(np.arange(60) % 4 == 0, 0, np.random.default_rng(1).uniform(0, 2, 60))
    spoilt = np.where(weight[:, None] > 0, x, [np.nan, np.inf])
    with jax.enable_x64(False):
        mixture = GaussianMixture(2, 1, kind, regularization=0.1)
    # Made in float32, it takes the precision of the data.
    losses = mixture.fit_directly(jnp.asarray(spoilt), jnp.asarray(1e-12 * weight), key=KEY)
    # The start is the answer, so that the second iteration finds nothing to change.
    assert losses.size == 2
    gaussian = Gaussian(2, kind, regularization=0.1)
    gaussian.fit_directly(jnp.asarray(x), jnp.asarray(weight), key=KEY)
    np.testing.assert_allclose(mixture.score(jnp.asarray(x)), gaussian.score(jnp.asarray(x)), rtol=1e-10)


def test_it_finds_components_that_lie_apart():
    x = blobs(2)
    model = fitted(x)
    means = x.reshape(3, 20, 2).mean(axis=1)
    nearest = np.linalg.norm(np.asarray(model.means[...]) - means[:, None], axis=-1).argmin(axis=1)
    assert sorted(nearest) == [0, 1, 2]
    np.testing.assert_allclose(np.asarray(model.means[...])[nearest], means, atol=0.2)
    np.testing.assert_allclose(np.exp(model.log_weights[...]), 1 / 3, atol=0.02)


def test_losses_are_those_after_each_iteration():
    x, weight = jnp.asarray(scattered(3)), jnp.asarray(np.random.default_rng(4).uniform(0, 2, 60), jnp.float32)
    model = GaussianMixture(2, 3)
    losses = model.fit_directly(x, weight, key=KEY)
    assert 2 <= losses.size < 200
    assert losses[0] - losses[-1] > 1e-3
    np.testing.assert_allclose(losses[-1], model.loss(x, weight), rtol=1e-5)


def test_the_best_of_several_starts_is_kept():
    x = jnp.asarray(scattered(5))
    model = GaussianMixture(2, 3, starts=5)
    losses = model.fit_directly(x, key=KEY)
    statics = {"components": 3, "covariance": "full", "max_iterations": 200, "starts": 5}
    parameters, iterations, all_losses = fit_mixture(KEY, x, jnp.ones(60), 1e-2, 1e-4, **statics)
    last = np.asarray(all_losses)[range(5), iterations]
    best = np.argmin(last)
    assert last[best] < last[0] - 1e-3
    np.testing.assert_allclose(losses, all_losses[best, 1 : iterations[best] + 1])
    np.testing.assert_array_equal(model.means[...], parameters.means[best])
    np.testing.assert_allclose(losses[-1], model.loss(x), rtol=1e-5)


def test_fewer_rows_than_components_are_refused():
    x, weight = blobs(7)[:5], np.array([1, 1, 1, 0, 0], np.float32)
    with pytest.raises(InputError, match=r"^components = 6: expected at most .* which is 5$"):
        fitted(x, components=6)
    with pytest.raises(InputError, match=r"^components = 4: expected at most .* which is 3$"):
        fitted(x, weight, components=4)


def test_a_collapsed_component_is_refused_and_leaves_the_model_alone():
    x = jnp.asarray(np.repeat(blobs(8)[::20], 20, axis=0))
    model = GaussianMixture(2, 3, regularization=0.0)
    with pytest.raises(InputError, match=r"collapsed .* raise regularization, which is 0, or lower components"):
        model.fit_directly(x, key=KEY)
    np.testing.assert_array_equal(model.means[...], np.zeros((3, 2)))
    # With the default, the same rows are no trouble, nor are fewer distinct rows than components.
    for rows in (x, jnp.where(x == x[0], x, x[-1])):
        assert np.isfinite(fitted(rows).score(rows)).all()


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (np.ones((60, 3)), None, r"rows have the shape \(60, 3\), expected \(\.\.\., 2\)"),
        (np.ones((60, 2)), -np.ones(60), "the weight of training row 0 is -1.0: expected"),
        (np.full((60, 2), np.nan), None, "feature 0 of training row 0 is nan: expected a finite number"),
    ],
)
def test_unusable_rows_are_refused(x, weight, message):
    weight = None if weight is None else jnp.asarray(weight, jnp.float32)
    with pytest.raises(InputError, match=f"^{message}"):
        GaussianMixture(2, 3).fit_directly(jnp.asarray(x, jnp.float32), weight, key=KEY)


def test_a_context_is_refused():
    model, x, context = GaussianMixture(2), jnp.ones((9, 2)), jnp.ones((9, 1))
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [1, 2])
def test_integrates_to_one(kind, dim):
    model = fixed(dim, kind)
    axis = np.linspace(-20, 20, 501)
    grid = np.stack(np.meshgrid(*[axis] * dim), axis=-1)
    total = np.sum(np.exp(model.log_prob(jnp.asarray(grid, jnp.float32)), dtype=float)) * (axis[1] - axis[0]) ** dim
    np.testing.assert_allclose(total, 1, atol=1e-4)


@pytest.mark.parametrize(("kind", "one_key"), [("full", True), ("diagonal", False)])
def test_samples_what_it_scores(kind, one_key):
    model = fixed(2, kind)
    key = jax.random.key(1)
    draws = model.sample(key, (4000,)) if one_key else jax.vmap(model.sample)(jax.random.split(key, 4000))
    draws = np.asarray(draws)
    axis = np.linspace(-20, 20, 501)
    first, second = np.meshgrid(axis, axis, indexing="ij")
    grid = jnp.asarray(np.stack([first, second], axis=-1), jnp.float32)
    density = np.exp(model.log_prob(grid), dtype=float)
    # Distribution functions along three directions, from the density on the grid and from the draws.
    for direction in [(1, 0), (0, 1), (0.6, 0.8)]:
        along = (first * direction[0] + second * direction[1]).ravel()
        order = np.argsort(along)
        cumulative = np.cumsum(density.ravel()[order]) / density.sum()
        result = scipy.stats.kstest(draws @ direction, partial(np.interp, xp=along[order], fp=cumulative))
        assert result.pvalue > 1e-3
    # And the mean log-density of the draws is minus the entropy.
    entropy = -np.sum(density * np.log(density + 1e-300)) * (axis[1] - axis[0]) ** 2
    scores = np.asarray(model.score(jnp.asarray(draws)))
    assert abs(scores.mean() - entropy) < 4 * scores.std() / 4000**0.5


def test_sample_shapes_and_keys():
    model = fixed(2, "full")
    draws = model.sample(KEY, (2, 5))
    assert draws.shape == (2, 5, 2)
    assert model.sample(KEY).shape == (2,)
    np.testing.assert_array_equal(draws, model.sample(jax.random.key(0), (2, 5)))
    assert not np.allclose(draws, model.sample(jax.random.key(1), (2, 5)))


def test_before_the_fit_it_is_the_standard_normal():
    x = blobs(12)
    for model in (GaussianMixture(2), GaussianMixture(2, covariance="diagonal")):
        expected = scipy.stats.norm.logpdf(x).sum(axis=1)
        np.testing.assert_allclose(model.log_prob(jnp.asarray(x)), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_far_outliers_have_finite_scores_and_gradients(kind):
    model = fixed(2, kind)
    differentiate = jax.jit(jax.value_and_grad(model.score))
    for size in (1e6, -1e6, 1e30):
        value, gradient = differentiate(jnp.full(2, size))
        assert value > 1e6
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_any_leading_axes_jit_and_vmap():
    model = fixed(2, "full")
    x = jnp.asarray(blobs(15)[:8]).reshape(2, 4, 2)
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
        x = jnp.asarray(blobs(seed))
        model = fitted(x, **arguments)
        model.score(x[None])
        model.sample(KEY, (2, 5))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        use(16)
        assert compiled
        compiled.clear()
        use(17, regularization=0.02, tolerance=1e-3)
        assert not compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_the_same_key_gives_the_same_fit():
    x = jnp.asarray(scattered(18))
    models = [GaussianMixture(2, 3) for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        model.fit_directly(x, key=jax.random.key(seed))
    np.testing.assert_array_equal(models[0].means[...], models[1].means[...])
    assert not np.allclose(models[0].means[...], models[2].means[...], atol=1e-3)


def test_the_fit_is_no_trainable_parameter():
    assert not jax.tree.leaves(nnx.state(GaussianMixture(3), nnx.Param))


def test_spec_builds_the_model():
    values = {
        "kind": "gaussian_mixture",
        "components": 4,
        "covariance": "diagonal",
        "regularization": 0.5,
        "max_iterations": 7,
        "tolerance": 0.1,
        "starts": 2,
    }
    model = parse_spec(GaussianMixtureSpec, values, "test").build(3, rngs=nnx.Rngs(0))
    assert {key: getattr(model, key) for key in values if key != "kind"} | {"kind": "gaussian_mixture"} == values
    assert (model.dim, model.context_dim) == (3, 0)
    plain = GaussianMixture(3)
    # How many components there are for so many rows is for `for_rows` to say, before the model is built.
    for key, value in GaussianMixtureSpec().model_dump(exclude={"kind", "rows_each"}).items():
        assert getattr(plain, key) == value


@pytest.mark.parametrize(
    "values",
    [
        {"components": 0},
        {"covariance": "ledoit_wolf"},
        {"regularization": -0.1},
        {"max_iterations": 0},
        {"tolerance": -1.0},
        {"starts": 0},
    ],
)
def test_spec_refuses_what_is_out_of_range(values):
    with pytest.raises(InputError, match=f"test: {next(iter(values))}"):
        parse_spec(GaussianMixtureSpec, values, "test")
