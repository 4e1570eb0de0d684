"""Every ready-made flow is a density: it integrates to 1, and it samples what it scores."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats
from scipy.special import softmax

from jaxflow.bijectors import Affine, Chain, ElementwiseAffine, MaskedAutoregressive, Sigmoid, Softplus
from jaxflow.errors import InputError
from jaxflow.models import (
    BNAF,
    CNF,
    IAF,
    MAF,
    NICE,
    NSF,
    AutoregressiveNSF,
    Flow,
    Glow,
    RealNVP,
    StandardNormal,
)
from jaxflow.networks import MaskedMLP
from tests.bijectors.cases import shaken
from tests.compiled import call, normal

SPECS = {
    "maf": MAF(layers=2, hidden=(16,)),
    "maf_residual": MAF(layers=2, hidden=(16, 16), residual=True, permutation="random"),
    "maf_lu_batch_norm": MAF(layers=2, hidden=(16,), permutation="lu", normalization="batch_norm"),
    "maf_act_norm": MAF(layers=2, hidden=(16,), normalization="act_norm"),
    "realnvp": RealNVP(layers=4, hidden=(16,)),
    "maf_stacked": MAF(layers=13, hidden=(8,)),
    "iaf": IAF(layers=2, hidden=(16,)),
    "nice": NICE(layers=4, hidden=(16,)),
    "realnvp_residual": RealNVP(layers=3, hidden=(16, 16), residual=True, permutation="lu"),
    "glow": Glow(layers=3, hidden=(16,)),
    "nsf": NSF(layers=3, hidden=(16,), bins=4),
    "nsf_autoregressive": AutoregressiveNSF(layers=2, hidden=(16,), bins=4),
    "bnaf": BNAF(layers=1, hidden_factor=4),
    "cnf": CNF(hidden=(16,), tolerance=1e-9, solver="dopri8"),
}
# Many layers, layers that multiply, and splines, whose slopes may become steep, go far with less noise.
SCALES = {
    "maf_stacked": 0.3,
    "realnvp": 0.5,
    "realnvp_residual": 0.3,
    "glow": 0.5,
    "nsf": 0.5,
    "nsf_autoregressive": 0.5,
}
every_spec = pytest.mark.parametrize("name", SPECS)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def flow(name: str, dim: int, context_dim: int = 0, scale: float = 0.1) -> Flow:
    """A flow far enough from the identity to be a test, and near enough to be integrated on a grid."""
    scale = SCALES.get(name, 1.0) * scale
    spec = SPECS[name].model_copy(update={"context_dim": context_dim})
    built = spec.build(dim, rngs=nnx.Rngs(0))
    return Flow(built.base, shaken(built.bijector, scale=scale), context_dim=context_dim)


def integral_2d(flow: Flow, *contexts, points: int = 400) -> list[float]:
    """Of the density given each context; of the plain density without any."""
    axis = np.linspace(-15, 15, points)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log_prob = jax.jit(flow.log_prob)
    cell = (axis[1] - axis[0]) ** 2
    return [float(jnp.sum(jnp.exp(log_prob(grid, context))) * cell) for context in contexts or (None,)]


def p_value(first, second) -> float:
    """Of the hypothesis that two samples come from one distribution (Kolmogorov and Smirnov)."""
    result: Any = stats.ks_2samp(np.asarray(first), np.asarray(second))
    return result.pvalue


# A continuous flow is smooth, so fewer points do, and each costs it more.
POINTS = {"cnf": 150}


@every_spec
def test_integrates_to_one_in_two_dimensions(name):
    assert integral_2d(flow(name, 2), points=POINTS.get(name, 400)) == pytest.approx([1], abs=1e-4)


@every_spec
def test_integrates_to_one_given_a_context(name):
    contexts = (jnp.array([0.0, 1.0]), jnp.array([-1.0, 0.5]))
    integrals = integral_2d(flow(name, 2, context_dim=2), *contexts, points=POINTS.get(name, 400))
    assert integrals == pytest.approx([1, 1], abs=1e-4)


@pytest.mark.parametrize("name", ["maf", "iaf", "nsf_autoregressive", "bnaf", "cnf"])
def test_integrates_to_one_in_one_dimension(name):
    x = np.linspace(-40, 40, 40_001)[:, None]
    density = np.exp(jax.jit(flow(name, 1).log_prob)(jnp.asarray(x)))
    assert np.trapezoid(density, x[:, 0]) == pytest.approx(1, abs=1e-4)


@every_spec
def test_samples_are_scored_alike_and_follow_the_density(name):
    made = flow(name, 3)
    x, log_prob = jax.jit(lambda key: made.sample_and_log_prob(key, (4000,)))(jax.random.key(1))

    @jax.jit
    def latents_and_score(x):
        return made.bijector.inverse_and_log_det(x)[0], made.log_prob(x)

    z, score = latents_and_score(x)
    np.testing.assert_allclose(score, log_prob, rtol=1e-8, atol=1e-8)
    # If draws follow the density, the latents of the draws are standard normal; here by a way that `sample` did not go.
    for feature in range(3):
        assert stats.kstest(z[:, feature], "norm").pvalue > 1e-3
    # The two-sample test proper: log-densities of the draws against those of draws made by importance resampling.
    # The proposal has heavier tails than any flow here; as few are picked as there are effectively different ones.
    rng, x = np.random.default_rng(2), np.asarray(x)
    steps = rng.standard_t(3.0, size=(12, 4000, 3))
    candidates = x.mean(0) + x.std(0) * steps
    scores = np.stack([latents_and_score(part)[1] for part in candidates])
    weight = softmax(scores - stats.t.logpdf(steps, 3.0).sum(axis=-1)).ravel()
    assert 1 / np.sum(weight**2) > 2000
    picked = rng.choice(weight.size, 2000, replace=False, p=weight)
    assert p_value(scores.ravel()[picked], log_prob) > 1e-3
    for feature in range(3):
        assert p_value(candidates.reshape(-1, 3)[picked, feature], x[:, feature]) > 1e-3


@every_spec
def test_importance_sampling_finds_the_integral_in_five_dimensions(name):
    made = flow(name, 5, scale=0.05)
    proposal = distrax.Independent(distrax.Normal(jnp.zeros(5), 1.5 * jnp.ones(5)), 1)
    x, log_prob = proposal.sample_and_log_prob(seed=jax.random.key(0), sample_shape=50_000)
    weights = np.exp(jax.jit(made.log_prob)(x) - log_prob)
    error = weights.std() / np.sqrt(weights.size)
    assert abs(weights.mean() - 1) < 5 * error < 0.1


@pytest.mark.parametrize("name", ["maf", "iaf", "realnvp", "nsf"])
def test_to_distrax_is_the_same_distribution(name):
    made = flow(name, 3)
    transformed = made.to_distrax()
    assert isinstance(transformed, distrax.Transformed)
    assert transformed.event_shape == (3,)
    x = normal(0, (7, 3))
    score = jax.jit(made.log_prob)
    np.testing.assert_allclose(jax.jit(transformed.log_prob)(x), score(x), rtol=1e-12)
    sample = jax.jit(lambda key: transformed.sample_and_log_prob(seed=key, sample_shape=(7,)))
    draws, log_prob = sample(jax.random.key(3))
    np.testing.assert_allclose(log_prob, score(draws), rtol=1e-8)
    ours, _ = jax.jit(lambda key: made.sample_and_log_prob(key, (7,)))(jax.random.key(3))
    assert ours.shape == draws.shape


def test_to_distrax_fixes_the_context():
    made = flow("maf", 3, context_dim=2)
    context, x = jnp.array([1.0, -1.0]), normal(0, (7, 3))
    ours = jax.jit(made.to_distrax(context).log_prob)(x)
    np.testing.assert_allclose(ours, call(made, "log_prob", x, context), rtol=1e-12)


@every_spec
def test_shapes_with_context(name):
    made = flow(name, 3, context_dim=2)
    context = jnp.ones((5, 2))
    x, log_prob = jax.jit(lambda key: made.sample_and_log_prob(key, (4,), context))(jax.random.key(0))
    assert x.shape == (4, 5, 3)
    assert log_prob.shape == (4, 5)
    score = jax.jit(made.score)(x[0], context)
    assert score.shape == (5,)
    np.testing.assert_allclose(score, -log_prob[0], rtol=1e-7)


def test_same_key_same_draws():
    made = flow("maf", 2)
    first, second = (jax.jit(lambda key: made.sample(key, (3,)))(jax.random.key(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_density_is_zero_off_the_support():
    into_the_cube = Flow(StandardNormal(2), Chain([ElementwiseAffine(2), Sigmoid()]))
    log_prob = into_the_cube.log_prob(jnp.array([[0.5, 0.5], [1.5, 0.5], [0.5, 0.0], [-1e9, 1e9]]))
    assert np.isfinite(log_prob[0])
    assert np.all(np.isneginf(log_prob[1:]))
    assert np.all(np.isposinf(into_the_cube.score(jnp.array([[2.0, 2.0]]))))


def test_softplus_of_a_normal_in_closed_form():
    made = Flow(StandardNormal(1), Softplus())
    x = np.linspace(0.01, 5, 50)
    expected = stats.norm.logpdf(np.log(np.expm1(x))) - np.log(-np.expm1(-x))
    np.testing.assert_allclose(made.log_prob(jnp.asarray(x)[:, None]), expected, rtol=1e-10)


def test_a_linear_autoregressive_flow_is_a_gaussian():
    """x0 = z0, x1 = a x0 + exp(s) z1 has the covariance [[1, a], [a, a^2 + exp(2s)]]."""

    class Linear(MaskedMLP):
        def __call__(self, x, context=None):
            shift = jnp.stack([jnp.zeros_like(x[..., 0]), 0.7 * x[..., 0]], axis=-1)
            raw = jnp.broadcast_to(jnp.array([0.0, 0.3 / (1 - 0.3 / 5)]), shift.shape)  # soft clamp undone: s = 0.3
            return jnp.stack([shift, raw], axis=-1)

    made = Flow(StandardNormal(2), MaskedAutoregressive(Affine(), Linear(2, 2, (4,), rngs=nnx.Rngs(0))))
    x = np.random.default_rng(0).normal(size=(20, 2))
    covariance: Any = np.array([[1, 0.7], [0.7, 0.49 + np.exp(0.6)]])
    expected = stats.multivariate_normal.logpdf(x, mean=np.zeros(2), cov=covariance)
    np.testing.assert_allclose(made.log_prob(jnp.asarray(x)), expected, rtol=1e-10)


@every_spec
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_outliers_have_finite_scores_and_gradients(name, dtype):
    if name == "maf_stacked" and dtype is np.float32:
        pytest.skip("13 layers may stretch 1e6 by exp(5) each, beyond what float32 can square")
    made = jax.tree.map(lambda a: a.astype(dtype) if a.dtype == np.float64 else a, flow(name, 3))
    x = jnp.asarray([[1e6, -1e6, 0.0], [-1e6, 1e6, 1e6]], dtype)
    # Jax's default float stays float64 in this module, so the base's constants are; the scores must still be finite.
    score, gradient = jax.jit(jax.value_and_grad(lambda x: made.score(x).sum()))(x)
    assert np.isfinite(score)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["maf", "realnvp", "nsf", "iaf", "cnf"])
def test_rows_of_another_width_are_refused(name):
    for width in (1, 2, 4):
        with pytest.raises(InputError, match=rf"rows have the shape \(5, {width}\), expected \(\.\.\., 3\)"):
            flow(name, 3).log_prob(jnp.ones((5, width)))


@pytest.mark.parametrize("name", ["maf", "iaf", "nsf"])
def test_no_rows_whole_numbers_and_half_precision(name):
    made = flow(name, 3)
    assert call(made, "log_prob", jnp.zeros((0, 3))).shape == (0,)
    assert jax.jit(lambda key: made.sample(key, (0,)))(jax.random.key(0)).shape == (0, 3)
    expected = call(made, "log_prob", jnp.ones((2, 3)))
    for dtype in (int, jnp.float16, jnp.float32):
        np.testing.assert_array_equal(call(made, "log_prob", jnp.ones((2, 3), dtype)), expected)


@pytest.mark.parametrize("name", ["maf", "realnvp", "iaf", "cnf"])
def test_infinitely_far_out_there_is_no_density(name):
    made = flow(name, 2)
    rows = jnp.array([[jnp.inf, 0.0], [0.0, -jnp.inf], [0.0, 0.0], [jnp.nan, 0.0]])
    infinite, also, finite, unknown = jax.jit(made.log_prob)(rows)
    assert infinite == also == -jnp.inf
    assert np.isfinite(finite)
    assert np.isnan(unknown)
    assert np.isfinite(jax.jit(jax.grad(lambda rows: made.log_prob(rows).sum()))(rows[2:3])).all()


def test_draws_without_a_noise_are_refused():
    with pytest.raises(ValueError, match="draws = 64 is for dequantized columns, but dequantize = none"):
        MAF(draws=64)


def test_a_flow_without_features_is_refused():
    with pytest.raises(InputError, match="a flow needs at least 1 feature, got 0"):
        MAF().build(0, rngs=nnx.Rngs(0))


def test_realnvp_needs_two_features():
    with pytest.raises(ValueError, match="at least 2 features"):
        RealNVP().build(1, rngs=nnx.Rngs(0))


def test_realnvp_transforms_every_feature():
    for dim in (2, 3, 4, 5):
        made: Any = RealNVP(layers=2, hidden=(8,)).build(dim, rngs=nnx.Rngs(0))
        shifted = shaken(made.bijector)
        # The Jacobian of a feature that only changes places has a single 1 in its row.
        jacobian = np.asarray(jax.jit(jax.jacfwd(shifted.forward))(jnp.linspace(-1, 1, dim)))
        assert not np.any(np.sum(np.isclose(jacobian, 0) | np.isclose(jacobian, 1), axis=1) == dim)


def test_residual_blocks_of_different_widths_are_refused():
    for spec in (MAF, RealNVP):
        with pytest.raises(ValueError, match="one width"):
            spec(hidden=(16, 32), residual=True)
        with pytest.raises(ValueError, match="each hidden width after the first is a residual block"):
            spec(hidden=(16,), residual=True)


def test_dropout_without_residual_blocks_is_refused():
    with pytest.raises(ValueError, match=r"dropout acts in residual blocks, got dropout = 0\.1"):
        RealNVP(dropout=0.1)


def test_dropout_is_refused_where_training_goes_feature_by_feature():
    with pytest.raises(ValueError, match=r"dropout needs a density in one pass, which IAF has not; got dropout = 0\.1"):
        IAF(residual=True, dropout=0.1)


def test_all_layers_see_what_the_embedding_makes_of_the_context():
    spec = MAF(layers=2, hidden=(16,), context_dim=2, context_embedding=(8, 3))
    embedded: Any = shaken(spec.build(2, rngs=nnx.Rngs(0)), scale=0.3)
    plain = Flow(embedded.base, embedded.bijector, context_dim=3)
    x, context = jnp.array([[0.3, -1.0], [2.0, 0.0]]), jnp.array([[1.0, 0.5], [-2.0, 0.1]])
    seen = embedded.embedding(context)
    assert seen.shape == (2, 3)
    log_prob = call(embedded, "log_prob", x, context)
    np.testing.assert_allclose(log_prob, call(plain, "log_prob", x, seen), rtol=1e-12)
    np.testing.assert_allclose(jax.jit(embedded.to_distrax(context[0]).log_prob)(x[0]), log_prob[0], rtol=1e-9)
    key = jax.random.key(0)
    for ours, expected in zip(
        jax.jit(lambda key: embedded.sample_and_log_prob(key, (3,), context))(key),
        jax.jit(lambda key: plain.sample_and_log_prob(key, (3,), seen))(key),
        strict=True,
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-9)
    gradient = nnx.state(nnx.grad(lambda model: model.log_prob(x, context).sum())(embedded)["embedding"])
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient))
    with pytest.raises(ValueError, match="expected a context of 2 features, got 3"):
        embedded.log_prob(x, seen)
    with pytest.raises(ValueError, match="expected a context of 2 features, got 0"):
        embedded.log_prob(x)
