"""Kernel densities: the formula, the choice of their width, and what they do with many rows and with copies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats
from sklearn.neighbors import KernelDensity as Reference

from jaxflow.errors import InputError
from jaxflow.models import Ensemble, KernelDensity, KernelDensitySpec
from jaxflow.models.classical.kernel_density import BANDWIDTHS
from jaxflow.training import Batch, fit
from tests.compiled import call


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def rows(seed: int = 0, n: int = 60, dim: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)) * [1.0, 3.0, 0.5][:dim]


def fitted(
    x: np.ndarray, weight: np.ndarray | None = None, rows: int | None = None, bandwidth: float | None = None
) -> KernelDensity:
    spec = KernelDensitySpec(rows=len(x) if rows is None else rows, bandwidth=bandwidth)
    train = Batch(jnp.asarray(x), None if weight is None else jnp.asarray(weight), None)
    return fit(spec.build(x.shape[1], rngs=nnx.Rngs(0)), train, key=jax.random.key(0)).model


def deviation(x: np.ndarray) -> float:
    return float(np.sqrt(x.var(axis=0).mean()))


@pytest.mark.parametrize("places", [60, 100])
def test_is_that_of_scikit_learn(places):
    x, asked = rows(), 5 * rows(1, 30)
    model = fitted(x, rows=places, bandwidth=0.3)
    reference = Reference(bandwidth=0.3 * deviation(x)).fit(x)
    np.testing.assert_allclose(call(model, "log_prob", jnp.asarray(asked)), reference.score_samples(asked), rtol=1e-9)


def test_the_width_is_the_one_under_which_rows_left_out_are_likeliest():
    x = rows(n=40)
    model, losses = fitted(x), []
    for width in BANDWIDTHS * deviation(x):
        under = Reference(bandwidth=width)
        losses.append(-np.mean([under.fit(np.delete(x, i, axis=0)).score(x[i : i + 1]) for i in range(40)]))
    np.testing.assert_allclose(model.width[...], BANDWIDTHS[np.argmin(losses)] * deviation(x), rtol=1e-12)
    result = fit(KernelDensitySpec(rows=40).build(2, rngs=nnx.Rngs(0)), jnp.asarray(x), key=jax.random.key(0))
    assert result.history.column("train_loss") == pytest.approx([np.min(losses)], rel=1e-9)


def test_places_that_no_row_takes_have_no_say_in_the_width():
    x = rows(n=40)
    few, many = fitted(x), fitted(x, rows=64)
    np.testing.assert_allclose(many.width[...], few.width[...], rtol=1e-12)
    model = KernelDensitySpec(rows=64).build(2, rngs=nnx.Rngs(0))
    losses = [fit(one, jnp.asarray(x), key=jax.random.key(0)).history.column("train_loss") for one in (few, model)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)


def test_copies_make_the_kernels_narrow():
    x = np.repeat(rows(n=30), 2, axis=0)
    np.testing.assert_allclose(fitted(x).width[...], BANDWIDTHS[0] * deviation(x), rtol=1e-12)


def test_a_weight_counts_as_copies_and_weight_zero_not_at_all():
    x, asked = rows(n=20), jnp.asarray(rows(1, 10))
    weight = np.random.default_rng(2).integers(0, 3, 20).astype(float)
    weighted = fitted(x, weight, bandwidth=0.5)
    copied = fitted(np.repeat(x, weight.astype(int), axis=0), bandwidth=0.5)
    np.testing.assert_allclose(call(weighted, "log_prob", asked), call(copied, "log_prob", asked), rtol=1e-9)


def test_of_many_rows_some_are_kept():
    x = rows(n=500)
    model = fitted(x, rows=100)
    kept = {tuple(row) for row in np.asarray(model.centres[...])}
    assert len(kept) == 100
    assert kept <= {tuple(row) for row in x}
    assert KernelDensitySpec().for_rows(300).rows == 320
    assert KernelDensitySpec(rows=100).for_rows(300).rows == 100


def test_integrates_to_one_and_samples_itself():
    model = fitted(rows(n=15, dim=1))
    grid = np.linspace(-10, 10, 4001)[:, None]
    density = np.exp(call(model, "log_prob", jnp.asarray(grid)))
    assert np.trapezoid(density, grid[:, 0]) == pytest.approx(1, abs=1e-9)
    draws = np.asarray(jax.jit(lambda key: model.sample(key, (2000,)))(jax.random.key(0)))[:, 0]
    cdf = np.cumsum(density) * (grid[1, 0] - grid[0, 0])
    assert stats.kstest(draws, lambda x: np.interp(x, grid[:, 0], cdf)).pvalue > 1e-3


def test_draws_lie_around_the_rows_by_their_weights_and_as_wide_as_the_kernels():
    model = KernelDensity(2, rows=4)
    model.centres[...] = jnp.array([[10.0, 0.0], [-10.0, 5.0], [0.0, 0.0], [0.0, 0.0]])
    model.weights[...], model.width[...] = jnp.array([0.25, 0.75, 0.0, 0.0]), jnp.asarray(0.2)
    draws = np.asarray(jax.jit(lambda key: model.sample(key, (4000,)))(jax.random.key(0)))
    first = draws[:, 0] > 0
    assert first.mean() == pytest.approx(0.25, abs=0.03)
    for rows, centre in ((draws[first], [10, 0]), (draws[~first], [-10, 5])):
        np.testing.assert_allclose(rows.mean(axis=0), centre, atol=0.03)
        np.testing.assert_allclose(rows.std(axis=0), 0.2, rtol=0.1)


def test_many_rows_in_blocks_score_as_few():
    model, asked = fitted(rows()), jnp.asarray(rows(1, 2500))
    np.testing.assert_allclose(call(model, "score", asked)[:7], call(model, "score", asked[:7]), rtol=1e-12)
    assert call(model, "score", jnp.asarray([[1e6, 0.0]]))[0] > call(model, "score", jnp.asarray([[1e5, 0.0]]))[0]


def test_one_row_or_rows_all_alike():
    for x in (np.ones((1, 2)), np.ones((5, 2))):
        assert np.isfinite(call(fitted(x), "score", jnp.zeros((1, 2)))).all()


def test_refusals():
    model = KernelDensitySpec(rows=5).build(2, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="feature 1 of training row 3 is nan"):
        model.fit_directly(jnp.ones((5, 2)).at[3, 1].set(jnp.nan), key=jax.random.key(0))
    with pytest.raises(InputError, match="context"):
        model.log_prob(jnp.ones((1, 2)), jnp.ones((1, 1)))
    with pytest.raises(InputError, match="fits itself"):
        Ensemble(lambda rngs: KernelDensity(2, 5), 2, rngs=nnx.Rngs(0))
