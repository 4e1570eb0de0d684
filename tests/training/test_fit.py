"""What `fit` promises: best parameters, no recompilation, weights, padding, early stopping, NaN does no harm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.errors import InputError
from jaxflow.models import MAF, Gaussian, Model, RealNVP
from jaxflow.models.model import DirectlyFitted, weighted_mean
from jaxflow.models.named_arrays import state_arrays
from jaxflow.networks import Buffer
from jaxflow.training import Batch, FitSpec, fit
from jaxflow.training.engine import flat_parameters as flat

SPEC = FitSpec(epochs=5, batch_size=32, learning_rate=1e-2, patience=None)


class Location(Model):
    """The smallest model: a point, and the squared distance to it."""

    def __init__(self, dim: int = 2, start: float = 0.0):
        self.dim, self.context_dim = dim, 0
        self.point = nnx.Param(jnp.full(dim, start))

    def score(self, x, context=None):
        return jnp.sum((x - self.point[...]) ** 2, axis=-1)

    def loss(self, x, weight=None, context=None, rngs=None):
        return weighted_mean(self.score(x), weight)


def rows(n: int = 100, dim: int = 2, seed: int = 0, shift: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, size=(n, dim))


def maf(seed: int = 0, dim: int = 2):
    return MAF(layers=2, hidden=(16,)).build(dim, rngs=nnx.Rngs(seed))


def test_the_loss_falls_and_the_given_model_stays_as_it_was():
    model = maf()
    before = state_arrays(model)
    result = fit(
        model, rows(), rows(seed=1), FitSpec(epochs=30, batch_size=32, learning_rate=1e-2), key=jax.random.key(0)
    )
    losses = result.history.column("valid_loss")
    assert losses[-1] < losses[0]
    for name, array in state_arrays(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_returns_the_parameters_of_the_best_epoch():
    # On its way from 5 to the training rows around 1, the point passes the held-out rows around 3.
    spec = FitSpec(epochs=20, batch_size=16, learning_rate=0.05, warmup=0.0, patience=None)
    valid = rows(seed=1, shift=3.0)
    result = fit(Location(start=5.0), rows(), valid, spec, key=jax.random.key(0))
    best = min(result.history.column("valid_loss"))
    assert result.history.rows[result.history.best_epoch - 1]["valid_loss"] == best
    assert 1 < result.history.best_epoch < 20
    assert float(result.model.loss(jnp.asarray(valid, jnp.float32))) == pytest.approx(best, rel=1e-5)


def test_without_held_out_data_the_training_loss_is_watched():
    result = fit(maf(), rows(), None, SPEC, key=jax.random.key(0))
    assert result.history.watched == "train_loss"
    assert result.history.column("valid_loss") == [None] * 5
    assert result.history.rows[-1]["best_loss"] == min(result.history.column("train_loss"))


def test_early_stopping_waits_for_patience_epochs():
    # The point moves from 5 to the training rows around 1, and so away from the held-out rows around 20.
    spec = FitSpec(epochs=200, batch_size=10, learning_rate=0.05, warmup=0.0, patience=3)
    result = fit(Location(start=5.0), rows(), rows(seed=1, shift=20.0), spec, key=jax.random.key(0))
    assert result.history.best_epoch == 1
    assert len(result.history.rows) == 1 + 3


def test_patience_begins_anew_with_every_better_epoch():
    class Listed(Location):
        """Its held-out loss after so many steps is in a list."""

        def __init__(self):
            super().__init__()
            self.count = Buffer(jnp.asarray(0))

        def loss(self, x, weight=None, context=None, rngs=None):
            if rngs is not None:
                self.count[...] += 1
            return jnp.array([9.0, 5.0, 6.0, 4.0, 6.0, 6.0, 6.0, 3.0])[self.count[...]] + 0.0 * jnp.sum(self.point[...])

    spec = FitSpec(epochs=7, batch_size=100, patience=3)
    history = fit(Listed(), rows(), rows(), spec, key=jax.random.key(0)).history
    assert history.column("valid_loss") == [5.0, 6.0, 4.0, 6.0, 6.0, 6.0]
    assert history.column("best_loss") == [5.0, 5.0, 4.0, 4.0, 4.0, 4.0]


def test_a_loss_that_stays_the_same_is_no_better():
    class Still(Location):
        def loss(self, x, weight=None, context=None, rngs=None):
            return weighted_mean(jnp.ones(x.shape[0]), weight) + 0.0 * jnp.sum(self.point[...])

    spec = FitSpec(epochs=50, batch_size=100, patience=3)
    result = fit(Still(), rows(), rows(), spec, key=jax.random.key(0))
    assert len(result.history.rows) == 1 + 3


def test_same_key_same_result_other_key_other_result():
    results = [fit(maf(), rows(), None, SPEC, key=jax.random.key(seed)) for seed in (0, 0, 1)]
    arrays = [state_arrays(result.model) for result in results]
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])
    assert not all(np.array_equal(arrays[0][name], arrays[2][name]) for name in arrays[0])


def test_a_second_fit_of_the_same_shapes_compiles_nothing(compilations):
    spec = FitSpec(epochs=2, batch_size=32)
    models = [MAF(layers=2, hidden=(12,)).build(3, rngs=nnx.Rngs(seed)) for seed in (0, 1)]
    data = [rows(70, 3, seed) for seed in (0, 1)]
    keys = [jax.random.key(seed) for seed in (0, 1)]
    with compilations() as first:
        fit(models[0], data[0], data[1], spec, key=keys[0])
    with compilations() as second:
        fit(models[1], data[1], data[0], spec, key=keys[1])
    assert first
    assert not second


def test_other_rates_compile_nothing(compilations):
    spec = FitSpec(epochs=2, batch_size=50, input_noise=0.1)

    def losses(**changes):
        fitted = fit(maf(), rows(), None, spec.model_copy(update=changes), key=jax.random.key(1))
        return fitted.history.column("train_loss")

    first = losses()
    with compilations() as second:
        for changes in ({"learning_rate": 0.1}, {"weight_decay": 0.5}, {"input_noise": 0.7}):
            assert losses(**changes) != first
    assert not second


def test_weights_count_rows():
    """A row of weight 2 is the row twice; one of weight 0 is not there."""
    x = rows(4)
    full_batch = FitSpec(epochs=1, batch_size=100, learning_rate=0.1, warmup=0.0)
    weighted = fit(Location(), Batch(x, np.array([2.0, 1.0, 0.0, 1.0])), None, full_batch, key=jax.random.key(0))
    repeated = fit(Location(), x[[0, 0, 1, 3]], None, full_batch, key=jax.random.key(0))
    assert weighted.history.rows[0]["train_loss"] == pytest.approx(repeated.history.rows[0]["train_loss"], rel=1e-6)
    np.testing.assert_allclose(weighted.model.point[...], repeated.model.point[...], rtol=1e-6)


def test_no_row_is_dropped_and_padding_changes_nothing():
    x = rows(10)
    spec = FitSpec(epochs=1, batch_size=4, learning_rate=1e-12, warmup=0.0)  # so small that the model stays put
    result = fit(Location(), x, x[:7], spec, key=jax.random.key(0))
    assert result.history.rows[0]["train_loss"] == pytest.approx((x**2).sum(axis=1).mean(), rel=1e-5)
    assert result.history.rows[0]["valid_loss"] == pytest.approx((x[:7] ** 2).sum(axis=1).mean(), rel=1e-5)


def test_held_out_rows_beyond_one_block_are_all_counted(monkeypatch):
    monkeypatch.setattr("jaxflow.training.engine.epoch.VALID_ROWS", 4)
    x = rows(11, seed=7)
    spec = FitSpec(epochs=1, batch_size=64, learning_rate=1e-12, warmup=0.0)
    result = fit(Location(), x, x, spec, key=jax.random.key(0))
    assert result.history.rows[0]["valid_loss"] == pytest.approx((x**2).sum(axis=1).mean(), rel=1e-5)


def test_the_learning_rate_warms_up_and_decays():
    spec = FitSpec(epochs=10, batch_size=100, learning_rate=1e-2, warmup=0.2, final_learning_rate=0.1, patience=None)
    rates = fit(Location(), rows(), None, spec, key=jax.random.key(0)).history.column("learning_rate")
    assert rates[0] == 0
    assert max(rates) == rates[2] == pytest.approx(1e-2)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 1e-3 < rates[-1] < 2e-3


def test_every_step_has_the_learning_rate_of_its_place_in_the_whole_fit():
    class Slope(Location):
        """Its gradient is always one, of which Adam makes steps of just the learning rate."""

        def loss(self, x, weight=None, context=None, rngs=None):
            return jnp.sum(self.point[...])

    spec = FitSpec(epochs=5, batch_size=25, learning_rate=0.01, warmup=0.2, final_learning_rate=0.1, patience=None)
    fitted = fit(Slope(), rows(100), None, spec, key=jax.random.key(0)).model
    step = np.arange(20)
    share = np.where(step < 4, step / 4, 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * (step - 4) / 16)))
    np.testing.assert_allclose(fitted.point[...], -0.01 * share.sum(), rtol=1e-4)


@pytest.mark.parametrize("clip_norm", [1.0, 1e3, None])
def test_the_gradient_is_clipped(clip_norm):
    """With Adam a scaled gradient makes the same first step, so look at two steps of very different size."""
    x = np.array([[3e3, 4e3], [0.3, 0.1]])
    spec = FitSpec(epochs=1, batch_size=1, learning_rate=0.1, warmup=0.0, clip_norm=clip_norm, weight_decay=0.0)
    result = fit(Location(), x, None, spec, key=jax.random.key(0))

    def by_hand(order):
        point, mean, square, norms = np.zeros(2), np.zeros(2), np.zeros(2), []
        for count, row in enumerate(x[order], start=1):
            gradient = 2 * (point - row)
            norms.append(np.linalg.norm(gradient))
            gradient = gradient * min(1.0, (clip_norm or np.inf) / norms[-1])
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            rate = 0.1 if count == 1 else 0.1 * (0.01 + 0.99 / 2)  # half way down
            point = point - rate * mean / (1 - 0.9**count) / (np.sqrt(square / (1 - 0.999**count)) + 1e-8)
        return point, np.mean(norms)

    point = np.asarray(result.model.point[...])
    expected, norm = min((by_hand(order) for order in ([0, 1], [1, 0])), key=lambda one: abs(one[0] - point).max())
    np.testing.assert_allclose(point, expected, rtol=1e-3)
    assert result.history.column("gradient_norm") == [pytest.approx(norm, rel=1e-4)]  # before clipping


def test_weight_decay_shrinks_matrices_only():
    class Matrix(Location):
        def __init__(self):
            super().__init__()
            self.matrix = nnx.Param(jnp.ones((2, 2)))

        def loss(self, x, weight=None, context=None, rngs=None):
            return 0.0 * (jnp.sum(self.matrix[...]) + jnp.sum(self.point[...])) + jnp.sum(0.0 * x)

    model = Matrix()
    model.point[...] = jnp.ones(2)
    spec = FitSpec(epochs=1, batch_size=100, learning_rate=0.1, warmup=0.0, weight_decay=0.5)
    fitted = fit(model, rows(), None, spec, key=jax.random.key(0)).model
    np.testing.assert_allclose(fitted.matrix[...], np.full((2, 2), 1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(fitted.point[...], np.ones(2))


def test_input_noise_reaches_the_model():
    x = np.zeros((2000, 2))
    spec = FitSpec(epochs=1, batch_size=2000, learning_rate=1e-12, warmup=0.0, input_noise=0.5)
    result = fit(Location(), x, x, spec, key=jax.random.key(0))
    assert result.history.rows[0]["train_loss"] == pytest.approx(2 * 0.25, rel=0.1)
    assert result.history.rows[0]["valid_loss"] == pytest.approx(0, abs=1e-6)


def test_context_reaches_the_model():
    context = np.random.default_rng(0).normal(size=(400, 1))
    x = 3 * context + 0.1 * np.random.default_rng(1).normal(size=(400, 1))
    spec = FitSpec(epochs=60, batch_size=50, learning_rate=1e-2)
    model = MAF(layers=1, hidden=(16,), context_dim=1).build(1, rngs=nnx.Rngs(0))
    fitted = fit(model, Batch(x, context=context), None, spec, key=jax.random.key(0)).model
    ones = jnp.ones((1, 1))
    assert fitted.log_prob(3 * ones, ones)[0] > fitted.log_prob(3 * ones, -ones)[0] + 10


def test_act_norm_is_initialised_from_the_training_data():
    model = MAF(layers=1, hidden=(8,), normalization="act_norm").build(2, rngs=nnx.Rngs(0))
    spec = FitSpec(epochs=1, batch_size=500, learning_rate=1e-12, warmup=0.0)
    x = 100 + 10 * rows(500)
    fitted = fit(model, x, None, spec, key=jax.random.key(0)).model
    norm = fitted.bijector.layers[1]
    assert bool(norm.initialized[...])
    np.testing.assert_allclose(norm.affine.shift[...], x.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(np.exp(norm.affine.log_scale[...]), x.std(axis=0), rtol=1e-4)
    again = fit(fitted, x + 1000, None, spec, key=jax.random.key(0)).model
    np.testing.assert_allclose(again.bijector.layers[1].affine.shift[...], norm.affine.shift[...], rtol=1e-5)


def test_models_that_fit_themselves_go_through_the_same_door():
    x = rows(500)
    result = fit(Gaussian(2, regularization=0.0), x, x[:50], key=jax.random.key(0))
    np.testing.assert_allclose(result.model.mean[...], x.mean(axis=0), rtol=1e-4)
    assert len(result.history.rows) == 1
    assert result.history.rows[0]["valid_loss"] == pytest.approx(
        float(result.model.loss(jnp.asarray(x[:50]))), rel=1e-5
    )
    with pytest.raises(InputError, match="takes no FitSpec"):
        fit(Gaussian(2), x, None, SPEC, key=jax.random.key(0))


def test_the_best_loss_of_a_model_that_fits_itself_is_the_lowest_so_far():
    class Fitted(Location, DirectlyFitted):
        def fit_directly(self, x, weight=None, context=None, *, key):
            return jnp.array([3.0, 1.0, 2.0])

    history = fit(Fitted(), rows(), rows(), key=jax.random.key(0)).history
    assert history.column("train_loss") == [3.0, 1.0, 2.0]
    assert history.column("best_loss") == [3.0, 1.0, 1.0]
    assert history.column("valid_loss")[:2] == [None, None]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (rows(dim=3), r"train has shape \(100, 3\), expected \(rows, 2\)"),
        (rows(0), "train has no rows"),
        (np.array([[1.0, 2.0], [3.0, np.nan]]), r"train holds nan at index \(1, 1\)"),
        (np.array([[1.0, np.inf]]), r"train holds inf at index \(0, 1\)"),
        (Batch(rows(3), np.array([1.0, -1.0, 1.0])), "non-negative"),
        (Batch(rows(3), np.zeros(3)), "positive somewhere"),
        (Batch(rows(3), np.ones(2)), r"weight of train has shape \(2,\), expected \(3,\)"),
        (Batch(rows(3), context=np.ones((3, 1))), r"context of train has shape \(3, 1\), expected \(3, 0\)"),
    ],
)
def test_bad_rows_are_refused(train, message):
    with pytest.raises(InputError, match=message):
        fit(Location(), train, None, SPEC, key=jax.random.key(0))


def test_bad_held_out_rows_are_refused_by_name():
    with pytest.raises(InputError, match="valid has shape"):
        fit(Location(), rows(), rows(dim=3), SPEC, key=jax.random.key(0))


def test_float64_stays_float64():
    with jax.enable_x64(True):
        model = RealNVP(layers=2, hidden=(8,)).build(2, rngs=nnx.Rngs(0))
        fitted = fit(model, rows(), rows(seed=1), FitSpec(epochs=2), key=jax.random.key(0)).model
        dtypes = {array.dtype for array in state_arrays(fitted).values() if array.dtype.kind == "f"}
        assert dtypes == {np.dtype(np.float64)}


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0.0), (1, 0.99), (3, 0.9), (10, 0.95)])
def test_any_share_of_warm_up_trains(epochs, warmup):
    spec = FitSpec(epochs=epochs, batch_size=200, learning_rate=0.1, warmup=warmup, patience=None)
    result = fit(Location(), rows(100), None, spec, key=jax.random.key(0))
    assert len(result.history.rows) == epochs
    assert max(result.history.column("learning_rate")) <= 0.1 + 1e-6


@pytest.mark.parametrize(
    ("epochs", "n", "expected"),
    [(100, 100, 5), (100, 95, 5), (3, 100, 3), (100, 10_000, 1), (100, 4, 50), (100, 25, 17)],
)
def test_steps_leave_as_many_epochs_as_they_make(epochs, n, expected):
    assert FitSpec(epochs=epochs, steps=50, batch_size=10).for_rows(n).epochs == expected


def test_a_fit_has_no_more_epochs_than_its_steps_make():
    spec = FitSpec(epochs=100, steps=8, batch_size=25, patience=None)
    assert len(fit(Location(), rows(), None, spec, key=jax.random.key(0)).history.rows) == 2


def test_a_batch_beyond_the_rows_is_all_rows():
    def losses(batch_size):
        spec = FitSpec(epochs=3, batch_size=batch_size, warmup=0.0)
        return fit(Location(), rows(50), None, spec, key=jax.random.key(0)).history.column("train_loss")

    assert losses(10**9) == losses(50)


def test_batch_norm_needs_more_than_a_row():
    flow = MAF(layers=1, hidden=(4,), normalization="batch_norm").build(2, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="batches of at least 2 rows, got 1"):
        fit(flow, rows(10), None, FitSpec(batch_size=1), key=jax.random.key(0))


def test_large_arrays_train_as_small_ones_do(monkeypatch):
    def losses(large):
        monkeypatch.setattr(flat, "LARGE", large)
        spec = FitSpec(epochs=4, batch_size=25, learning_rate=1e-2, weight_decay=0.1, patience=large)
        history = fit(maf(), rows(), rows(seed=1), spec, key=jax.random.key(0)).history
        return [history.column(name) for name in ("valid_loss", "gradient_norm")]

    np.testing.assert_allclose(losses(30), losses(10_000), rtol=1e-5)


def test_layers_start_from_rows_that_count():
    x = np.concatenate([np.full((5000, 2), 1e3), np.random.default_rng(0).normal(size=(5000, 2))])
    weight = np.repeat([0.0, 1.0], 5000)
    model = MAF(layers=1, hidden=(4,), normalization="act_norm").build(2, rngs=nnx.Rngs(0))
    result = fit(model, Batch(x, weight), spec=FitSpec(epochs=1, batch_size=1000), key=jax.random.key(0))
    assert result.history.column("train_loss")[0] < 4  # that of a standard normal is 2.84
