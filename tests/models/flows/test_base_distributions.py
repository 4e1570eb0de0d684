"""Base distributions: the densities that they claim to be, trainable and finite everywhere."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file
from scipy import special, stats

from jaxflow.bijectors import ElementwiseAffine
from jaxflow.config.spec import parse_spec
from jaxflow.errors import InputError
from jaxflow.models.flows.base_distributions import (
    Base,
    Logistic,
    MixtureOfGaussians,
    StandardNormal,
    StudentT,
    Uniform,
)
from jaxflow.models.flows.base_specs import (
    AnyBaseSpec,
    LogisticBase,
    MixtureBase,
    NormalBase,
    StudentTBase,
    UniformBase,
)
from jaxflow.models.flows.flow import Flow
from jaxflow.models.named_arrays import restore_state, state_arrays

SPECS = {
    "normal": NormalBase(),
    "student_t": StudentTBase(degrees_of_freedom=3.5),
    "mixture": MixtureBase(components=3),
    "uniform": UniformBase(low=-1.0, high=2.5),
    "logistic": LogisticBase(),
}
every_base = pytest.mark.parametrize("name", SPECS)
trained_bases = pytest.mark.parametrize("name", ["student_t", "mixture"])


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def base(name: str, dim: int, seed: int = 0) -> Base:
    """A base with noise on its parameters, if it has any."""
    built = SPECS[name].build(dim, rngs=nnx.Rngs(seed))
    params = nnx.state(built, nnx.Param)
    noise = np.random.default_rng(seed)
    nnx.update(built, jax.tree.map(lambda p: p + jnp.asarray(0.3 * noise.normal(size=p.shape), p.dtype), params))
    return built


def components(mixture: Any):
    """Weights, means and standard deviations, written out."""
    raw = np.asarray(mixture.raw_log_scales[...])
    weights = np.exp(np.asarray(mixture.logits[...]))
    return weights / weights.sum(), np.asarray(mixture.means[...]), np.exp(raw / (1 + np.abs(raw) / 5))


def expected_log_prob(name: str, built: Any, x: np.ndarray) -> np.ndarray:
    """The density as scipy has it."""
    if name == "mixture":
        parts = [w * np.prod(stats.norm.pdf(x, m, s), axis=-1) for w, m, s in zip(*components(built), strict=True)]
        return np.log(np.sum(parts, axis=0))
    marginal: dict[str, Any] = {
        "normal": stats.norm(),
        "student_t": stats.t(np.asarray(getattr(built, "degrees_of_freedom", 3.0))),
        "uniform": stats.uniform(-1, 3.5),
        "logistic": stats.logistic(),
    }
    return marginal[name].logpdf(x).sum(axis=-1)


def cdf(name: str, built: Any, feature: int):
    """The distribution function of one feature."""
    if name == "mixture":
        weights, means, deviations = components(built)
        return lambda x: stats.norm.cdf(x[:, None], means[:, feature], deviations[:, feature]) @ weights
    if name == "student_t":
        return stats.t(float(built.degrees_of_freedom[feature])).cdf
    return {"normal": stats.norm(), "uniform": stats.uniform(-1, 3.5), "logistic": stats.logistic()}[name].cdf


@every_base
def test_log_prob_is_that_of_scipy(name):
    built = base(name, 3)
    x = np.random.default_rng(1).uniform(-1, 2.5, size=(2, 20, 3)) * (1 if name == "uniform" else 4)
    log_prob = built.distribution().log_prob(jnp.asarray(x))
    assert log_prob.shape == (2, 20)
    np.testing.assert_allclose(log_prob, expected_log_prob(name, built, x), rtol=1e-10)


@every_base
def test_integrates_to_one(name):
    # The tangent of an even grid: the integrand of a heavy tail is then smooth up to the ends.
    angle = (np.arange(200_000) + 0.5) / 200_000 * np.pi - np.pi / 2
    log_prob = np.asarray(base(name, 1).distribution().log_prob(jnp.asarray(np.tan(angle))[:, None]))
    integral = np.sum(np.exp(log_prob) / np.cos(angle) ** 2) * np.pi / 200_000
    assert integral == pytest.approx(1, abs=2e-5 if name == "uniform" else 1e-8)


@every_base
def test_samples_follow_the_density(name):
    built = base(name, 2)
    draw = jax.jit(lambda key: built.distribution().sample_and_log_prob(seed=key, sample_shape=(5000,)))
    draws, log_prob = draw(jax.random.key(0))
    assert draws.shape == (5000, 2)
    np.testing.assert_allclose(log_prob, jax.jit(built.distribution().log_prob)(draws), rtol=1e-9)
    for feature in range(2):
        assert stats.kstest(np.asarray(draws[:, feature]), cdf(name, built, feature)).pvalue > 1e-3
    # Features are independent but in the mixture: its ranks correlate as those of draws made by numpy do.
    if name == "mixture":
        weights, means, deviations = components(built)
        random = np.random.default_rng(0)
        picked = random.choice(3, size=5000, p=weights)
        ours, theirs = (stats.spearmanr(d)[0] for d in (draws, random.normal(means[picked], deviations[picked])))
        assert ours == pytest.approx(theirs, abs=0.06)
    else:
        result: Any = stats.spearmanr(draws)
        assert result.pvalue > 1e-3


def test_the_uniform_density_is_zero_outside_without_nan():
    distribution = Uniform(2, -1.0, 2.5).distribution()
    x = jnp.array([[-1.0, 2.5], [0.0, 2.6], [-1.1, 0.0], [1e6, -1e6]])
    np.testing.assert_array_equal(np.isneginf(np.asarray(distribution.log_prob(x))), [False, True, True, True])
    np.testing.assert_array_equal(jax.grad(lambda x: distribution.log_prob(x).sum())(x), np.zeros((4, 2)))
    np.testing.assert_array_equal(jax.jacfwd(lambda x: distribution.log_prob(x).sum())(x), np.zeros((4, 2)))


@every_base
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_far_values_have_finite_densities_and_gradients(name, dtype, mode):
    with jax.enable_x64(dtype == np.float64):
        graph, params = nnx.split(base(name, 3))
        x = jnp.asarray([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1e6, -1e6, 1e6], [-1e6, 0.0, 1.0]], dtype)

        def log_prob(params, x):
            return nnx.merge(graph, params).distribution().log_prob(x)

        values = np.asarray(jax.jit(log_prob)(params, x))
        assert values.dtype == dtype
        assert not np.isnan(values).any()
        assert np.isfinite(values[: 2 if name == "uniform" else 4]).all()
        for gradient in jax.tree.leaves(jax.jit(mode(log_prob, argnums=(0, 1)))(params, x)):
            assert gradient.dtype == dtype
            assert np.isfinite(gradient).all()


@every_base
def test_single_precision_values_meet_double_precision_parameters(name):
    x = np.linspace(-0.9, 2, 6).reshape(2, 3)
    built = base(name, 3)
    mixed = built.distribution().log_prob(jnp.asarray(x, np.float32))
    np.testing.assert_allclose(mixed, expected_log_prob(name, built, x), rtol=1e-5)


@trained_bases
def test_every_parameter_is_trained(name):
    graph, params, rest = nnx.split(base(name, 3), nnx.Param, ...)
    assert not jax.tree.leaves(rest)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(50, 3)))
    gradients = jax.grad(lambda params: nnx.merge(graph, params).distribution().log_prob(x).mean())(params)
    assert jax.tree.leaves(gradients)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.all(gradient != 0), f"{jax.tree_util.keystr(path)} has no effect"


@pytest.mark.parametrize("v", [2.001, 5.0, 19.99, 20.0, 80.0, 1e5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_degrees_of_freedom_cost_no_digits(v, dtype):
    with jax.enable_x64(dtype == np.float64):
        built = StudentT(2, v)
        x = np.array([[0.3, -2.0], [8.0, 0.0]])
        log_prob = built.distribution().log_prob(jnp.asarray(x, dtype))
        tolerance = 1e-5 if dtype == np.float32 else 1e-10
        np.testing.assert_allclose(log_prob, stats.t.logpdf(x, v).sum(axis=-1), rtol=tolerance)


def test_draws_move_with_the_degrees_of_freedom():
    """The derivative of the mean distance of the draws from 0 is that of the exact mean."""
    graph, params = nnx.split(StudentT(1, 4.0))

    def mean_distance(params):
        draws = nnx.merge(graph, params).distribution().sample(seed=jax.random.key(0), sample_shape=(40_000,))
        return jnp.mean(jnp.abs(draws))

    def exact(v: float) -> float:
        return 2 * np.sqrt(v / np.pi) / (v - 1) * np.exp(special.gammaln((v + 1) / 2) - special.gammaln(v / 2))

    (slope,) = jax.tree.leaves(jax.grad(mean_distance)(params))
    slope_of_softplus = -np.expm1(-2.0)
    assert slope[0] == pytest.approx((exact(4.001) - exact(3.999)) / 0.002 * slope_of_softplus, rel=0.05)


@pytest.mark.parametrize("v", [2.001, 5.0, 1e4])
def test_student_t_starts_where_it_is_told_to(v):
    np.testing.assert_allclose(StudentT(3, v).degrees_of_freedom, np.full(3, v), rtol=1e-12)


def test_the_components_differ_at_first():
    means = MixtureOfGaussians(4, 5, rngs=nnx.Rngs(0)).means[...]
    assert means.shape == (5, 4)
    assert np.unique(np.asarray(means)).size == 20


@every_base
def test_works_under_jit_and_vmap(name):
    built = base(name, 3)
    x = jnp.asarray(np.random.default_rng(3).uniform(-1, 2.5, size=(4, 3)))
    plain = built.distribution().log_prob(x)
    jitted = jax.jit(lambda m, x: m.distribution().log_prob(x))(built, x)
    np.testing.assert_allclose(jitted, plain, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(lambda row: built.distribution().log_prob(row))(x), plain, rtol=1e-12)
    draws = jax.jit(lambda m, key: m.distribution().sample(seed=key, sample_shape=(5,)))(built, jax.random.key(1))
    expected = built.distribution().sample(seed=jax.random.key(1), sample_shape=(5,))
    np.testing.assert_allclose(draws, expected, rtol=1e-10)


@every_base
def test_many_are_built_at_once(name):
    keys = jax.random.split(jax.random.key(0), 2)
    many = nnx.vmap(lambda key: SPECS[name].build(3, rngs=nnx.Rngs(key)))(keys)
    log_prob = nnx.vmap(lambda one: one.distribution().log_prob(jnp.zeros(3)))
    if nnx.state(many):
        assert log_prob(many).shape == (2,)


@every_base
def test_a_flow_over_it_speaks_distrax(name):
    affine = ElementwiseAffine(3)
    affine.shift[...] = jnp.array([0.5, -0.5, 0.0])
    affine.log_scale[...] = jnp.array([0.3, 0.0, -0.2])
    made = Flow(base(name, 3), affine)
    transformed = made.to_distrax()
    assert isinstance(transformed, distrax.Transformed)
    assert transformed.event_shape == (3,)
    draws, log_prob = transformed.sample_and_log_prob(seed=jax.random.key(0), sample_shape=(6,))
    np.testing.assert_allclose(made.log_prob(draws), log_prob, rtol=1e-9)
    ours, our_log_prob = made.sample_and_log_prob(jax.random.key(0), (2, 3), jnp.zeros((4, 0)))
    assert ours.shape == (2, 3, 4, 3)
    np.testing.assert_allclose(made.log_prob(ours), our_log_prob, rtol=1e-9)


@every_base
def test_saved_and_loaded_bit_for_bit(name, tmp_path):
    saved, loaded = base(name, 3), SPECS[name].build(3, rngs=nnx.Rngs(7))
    save_file(state_arrays(saved), tmp_path / "weights.safetensors")
    restore_state(loaded, load_file(tmp_path / "weights.safetensors"))
    x = jnp.linspace(-0.9, 2, 12).reshape(4, 3)
    np.testing.assert_array_equal(loaded.distribution().log_prob(x), saved.distribution().log_prob(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StudentT(2, 2.0), "degrees_of_freedom must be finite and above 2, got 2.0"),
        (lambda: StudentT(2, float("nan")), "got nan"),
        (lambda: MixtureOfGaussians(2, 0, rngs=nnx.Rngs(0)), "components must be at least 1, got 0"),
        (lambda: MixtureOfGaussians(2, 3, max_log_scale=0.0, rngs=nnx.Rngs(0)), "max_log_scale must be positive"),
        (lambda: Uniform(2, 1.0, 1.0), "low must be below high, both finite, got low = 1.0 and high = 1.0"),
        (lambda: Uniform(2, 0.0, float("inf")), "high = inf"),
        (lambda: UniformBase(low=2.0, high=1.0), "low must be below high, got low = 2.0 and high = 1.0"),
    ],
)
def test_what_is_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_config_names_a_base_by_its_kind():
    spec = parse_spec(AnyBaseSpec, {"kind": "student_t", "degrees_of_freedom": 4}, "a config")
    assert spec == StudentTBase(degrees_of_freedom=4.0)
    kinds = {"normal": StandardNormal, "mixture": MixtureOfGaussians, "uniform": Uniform, "logistic": Logistic}
    for kind, expected in kinds.items():
        built = parse_spec(AnyBaseSpec, {"kind": kind}, "a config").build(3, rngs=nnx.Rngs(0))
        assert isinstance(built, expected)
        assert built.dim == 3
    with pytest.raises(InputError, match="degrees_of_freedom"):
        parse_spec(AnyBaseSpec, {"kind": "student_t", "degrees_of_freedom": 1}, "a config")
