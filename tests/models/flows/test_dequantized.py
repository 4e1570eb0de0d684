"""Columns on a grid have probabilities, and the bound on them is a bound."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import jaxflow
from jaxflow.detection import FlowDetector
from jaxflow.errors import InputError
from jaxflow.models import MAF, Dequantized, Gaussian, RealNVP
from jaxflow.models.named_arrays import state_arrays
from jaxflow.training import Batch, FitSpec, fit
from tests.bijectors.cases import shaken
from tests.compiled import call

KINDS = ["uniform", "variational"]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def counts(noise: Any, draws: int = 16, scale: float = 1.0) -> Dequantized:
    """Of one column of integers times `scale`, under a normal with mean 0 and deviation 2 scale."""
    gaussian = Gaussian(1)
    gaussian.factor[...] = jnp.array([[2.0 * scale]])
    model = Dequantized(gaussian, noise, draws=draws, rngs=nnx.Rngs(0))
    model.prepare(scale * jnp.array([[-1.0], [0.0], [3.0]]))
    return shaken(model, scale=0.1)


def exact(value, scale: float = 1.0):
    """The probability of the cell around a value."""
    normal = stats.norm(scale=2.0 * scale)
    return normal.cdf(value + scale / 2) - normal.cdf(value - scale / 2)


@every_kind
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_is_the_probability_of_the_cell_if_draws_are_many(kind, scale):
    model = counts(kind, draws=20_000, scale=scale)
    values = scale * jnp.arange(-2.0, 4.0)[:, None]
    tolerance = 1e-6 if kind == "uniform" else 2e-2
    log_prob = call(model, "log_prob", values)
    np.testing.assert_allclose(jnp.exp(log_prob), exact(values[:, 0], scale), rtol=tolerance)


def test_draws_hit_every_piece_of_every_column_in_an_order_of_its_own():
    draws = np.asarray(Dequantized(Gaussian(3), draws=16, rngs=nnx.Rngs(0)).draws[...])
    for column in draws.T:
        np.testing.assert_allclose(np.sort(column), (np.arange(16) + 0.5) / 16)
    assert not any(np.array_equal(draws[:, one], draws[:, other]) for one, other in ((0, 1), (0, 2), (1, 2)))


@every_kind
def test_the_bound_is_below(kind):
    model = counts(kind, draws=16)
    values = jnp.arange(-3.0, 6.0)[:, None]
    bound, log_prob = call(model, "lower_bound", values), call(model, "log_prob", values)
    assert np.all(bound < log_prob)
    assert np.all(bound < np.log(exact(values[:, 0])))
    # The loss of a step is the bound, drawn anew: over many rows alike its mean is the bound's expectation.
    losses = [model.loss(jnp.full((50_000, 1), 3.0), rngs=nnx.Rngs(seed)) for seed in range(2)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses, -float(counts(kind, draws=2000).lower_bound(jnp.array([3.0]))), atol=0.02)


@every_kind
def test_probabilities_of_mixed_columns_sum_and_integrate_to_one(kind):
    spec = MAF(layers=2, hidden=(16,), dequantize=("none", kind), draws=500)
    flow: Any = shaken(spec.build(2, rngs=nnx.Rngs(0)), scale=0.1)
    flow.prepare(jnp.array([[0.3, 0.0], [1.7, 1.0], [0.4, 2.0]]))
    np.testing.assert_array_equal(flow.step[...], [0, 1])
    axis = np.linspace(-20, 20, 401)
    rows = np.stack(np.meshgrid(axis, np.arange(-20.0, 21.0), indexing="ij"), axis=-1)
    density = np.exp(jax.jit(flow.log_prob)(jnp.asarray(rows))).sum(axis=1)
    assert np.trapezoid(density, axis) == pytest.approx(1, abs=2e-3)


@every_kind
def test_a_flag_is_learned_as_a_probability(kind):
    flags = (np.random.default_rng(0).uniform(size=2000) < 0.3).astype(float)
    x = np.stack([flags, np.random.default_rng(1).normal(size=2000) + 3 * flags], axis=1)
    spec = MAF(layers=3, hidden=(32, 32), dequantize=(kind, "none"))
    train = FitSpec(epochs=30, batch_size=100, learning_rate=5e-3, patience=None)
    model = fit(spec.build(2, rngs=nnx.Rngs(0)), x, x, train, key=jax.random.key(0)).model
    axis = np.linspace(-8, 12, 401)
    rows = np.stack(np.meshgrid([0.0, 1.0], axis, indexing="ij"), axis=-1)
    densities = np.exp(jax.jit(model.log_prob)(jnp.asarray(rows)))
    assert np.trapezoid(densities, axis, axis=1) == pytest.approx([0.7, 0.3], abs=0.05)
    # Nor can the likelihood exceed that of the distribution itself, as it would without noise.
    entropy = -0.3 * np.log(0.3) - 0.7 * np.log(0.7) + 0.5 * np.log(2 * np.pi * np.e)
    assert entropy - 0.1 < float(call(model, "loss", jnp.asarray(x))) < entropy + 0.1


def test_learned_noise_tightens_the_bound():
    # Values 0 and 1 under a density that jumps inside their cells: uniform noise wastes half of its draws.
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (500, 1)).astype(float))

    def gap(noise):
        model = Dequantized(MAF(layers=1, hidden=(4,)).build(1, rngs=nnx.Rngs(0)), noise, rngs=nnx.Rngs(0))
        spec = FitSpec(epochs=60, batch_size=100, learning_rate=2e-2, patience=None)
        fitted = fit(model, x, x, spec, key=jax.random.key(0)).model
        return float(-jnp.mean(call(fitted, "lower_bound", x))) - np.log(2)

    uniform, learned = gap("uniform"), gap("variational")
    assert 0 < learned < 0.8 * uniform


def test_draws_come_back_on_the_grid_and_other_columns_do_not():
    x = np.stack([np.arange(50) % 4 * 0.5 + 7.2, np.linspace(0, 1, 50) ** 2], axis=1)
    model = Dequantized(Gaussian(2), "uniform", rngs=nnx.Rngs(0))
    model.prepare(jnp.asarray(x))
    np.testing.assert_allclose(model.step[...], [0.5, 0], rtol=1e-9)
    drawn = np.asarray(model.sample(jax.random.key(0), (100,)))
    steps = (drawn[:, 0] - 7.2) * 2
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    assert len(np.unique(drawn[:, 1])) == 100


def test_a_row_has_one_score_whatever_the_rows_around_it():
    model = counts("variational")
    values = jnp.arange(-3.0, 6.0)[:, None]
    together = jax.jit(model.log_prob)(values)
    np.testing.assert_allclose([call(model, "log_prob", value) for value in values], together, rtol=1e-9)


@every_kind
def test_with_a_context_and_steps_of_its_own(kind):
    context = np.random.default_rng(0).normal(size=(500, 2))
    x = np.round(3 * context[:, :1] + np.random.default_rng(1).normal(size=(500, 1)))
    spec = MAF(layers=1, hidden=(16,), context_dim=2, context_embedding=(8, 3), dequantize=kind)
    train = FitSpec(epochs=40, batch_size=50, learning_rate=1e-2)
    model = fit(spec.build(1, rngs=nnx.Rngs(0)), Batch(x, context=context), None, train, key=jax.random.key(0)).model
    given = jnp.array([[1.0, 0.0]])
    likely, unlikely = (call(model, "log_prob", jnp.array([[3.0]]), context)[0] for context in (given, -given))
    assert likely > unlikely + 2
    assert jax.jit(lambda key: model.sample(key, (5,), given))(jax.random.key(0)).shape == (5, 1, 1)


@every_kind
def test_a_detector_with_it_comes_back_bit_for_bit(tmp_path, kind):
    rows = np.random.default_rng(0).poisson(3.0, (200, 3)).astype(float)
    spec = RealNVP(layers=2, hidden=(8,), dequantize=kind, draws=4, normalization="batch_norm")
    with jax.enable_x64(False):
        detector = FlowDetector(spec, train=FitSpec(epochs=2)).fit(rows)
        detector.save(tmp_path / "model")
        again = jaxflow.load(tmp_path / "model")
        np.testing.assert_array_equal(again.anomaly_score(rows), detector.anomaly_score(rows))
        assert np.all(state_arrays(again.model_)["step"] > 0)


def test_every_member_of_a_vmap_has_its_own_draws():
    def draws(key):
        return Dequantized(Gaussian(3), rngs=nnx.Rngs(key)).draws[...]

    first, second = jax.vmap(draws)(jax.random.split(jax.random.key(0)))
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(np.sort(first, axis=0), np.sort(second, axis=0))


def test_a_part_of_the_rows_has_the_grid_of_all():
    # 0, 5 and 97 alone lie on no grid that their smallest gap is a small multiple of.
    rows, part = np.arange(98.0)[:, None], np.array([[0.0], [5.0], [97.0]])
    flow: Any = MAF(dequantize=("uniform",)).build(1, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="no regular grid"):
        flow.prepare(part)
    flow.prepare(rows)
    flow.prepare(part)
    np.testing.assert_array_equal(flow.step[...], [1.0])
    flow.prepare(rows / 2)  # not on the grid that was found
    np.testing.assert_array_equal(flow.step[...], [0.5])


def test_refusals():
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(50, 2)))
    with pytest.raises(InputError, match="dequantize = uniform for column 1, but its values lie on no regular grid"):
        MAF(dequantize=("none", "uniform")).build(2, rngs=nnx.Rngs(0)).prepare(rows)
    with pytest.raises(InputError, match="dequantize = variational, but no column has its values on a regular grid"):
        fit(MAF(dequantize="variational").build(2, rngs=nnx.Rngs(0)), rows, key=jax.random.key(0))
    with pytest.raises(InputError, match="dequantize must be one word or one for each of 3 features"):
        MAF(dequantize=("none", "uniform")).build(3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="noise must be one kind, or one for each of 2 columns, got 3"):
        Dequantized(Gaussian(2), ("uniform",) * 3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="noise is none for all columns"):
        Dequantized(Gaussian(2), ("none", "none"), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        Dequantized(Gaussian(2), draws=0, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"context_embedding = \[4\] needs a context, got context_dim = 0"):
        MAF(context_embedding=(4,)).build(2, rngs=nnx.Rngs(0))
