"""Hyperparameters found by held-out likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.errors import InputError
from jaxflow.models import MAF
from jaxflow.training import FitSpec, search
from jaxflow.training.search import _points

SPEC = MAF(layers=2, hidden=(8,))
FIT = FitSpec(epochs=15, batch_size=32, patience=None)


def rows(seed: int, n: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 2.0, size=(n, 2))


def test_the_best_trial_is_the_first_and_gives_the_model():
    ranges = {"learning_rate": (1e-5, 1e-1), "input_noise": (1e-3, 1.0)}
    found = search(SPEC, rows(0), rows(1), ranges, key=jax.random.key(0), trials=8, fit_spec=FIT)
    losses = [trial.valid_loss for trial in found.trials]
    assert len(losses) == 8
    assert losses == sorted(losses)
    np.testing.assert_allclose(found.model.loss(jnp.asarray(rows(1))), losses[0], rtol=1e-5)
    assert min(found.trials[0].history.column("valid_loss")) == pytest.approx(losses[0])
    # A rate of 1e-5 learns nothing in sixty steps.
    slow = [trial for trial in found.trials if trial.values["learning_rate"] < 1e-4]
    assert slow
    assert found.trials[0].values["learning_rate"] > 1e-3
    for trial in found.trials:
        assert list(trial.values) == list(ranges)
        assert all(low <= trial.values[name] <= high for name, (low, high) in ranges.items())


def test_the_same_key_gives_the_same_search():
    def losses(seed):
        found = search(
            SPEC, rows(0), rows(1), {"weight_decay": (1e-5, 1.0)}, key=jax.random.key(seed), trials=3, fit_spec=FIT
        )
        return [(trial.valid_loss, trial.values) for trial in found.trials]

    assert losses(0) == losses(0) != losses(1)


def test_points_cover_the_ranges_evenly_in_their_logarithms():
    points = _points({"learning_rate": (1e-4, 1e-2), "input_noise": (1e-3, 1e1)}, 16, jax.random.key(0))
    assert points.shape == (16, 2)
    for column, (low, high) in zip(points.T, ((1e-4, 1e-2), (1e-3, 1e1)), strict=True):
        share = np.log(column / low) / np.log(high / low)
        assert sorted(np.floor(16 * share)) == list(range(16))


@pytest.mark.filterwarnings("always:left out of the ensemble")
def test_trials_that_diverge_are_last():
    ranges = {"learning_rate": (1e-3, 1e9)}
    with pytest.warns(UserWarning, match="left out of the ensemble"):
        found = search(SPEC, rows(0), rows(1), ranges, key=jax.random.key(0), trials=4, fit_spec=FIT)
    losses = [trial.valid_loss for trial in found.trials]
    assert np.isfinite(losses[0])
    assert np.isnan(losses[-1])


@pytest.mark.parametrize(
    ("ranges", "trials", "message"),
    [
        ({"layers": (1.0, 2.0)}, 4, "layers, which cannot be searched; known are learning_rate, weight_decay"),
        ({"trim": (0.01, 0.1)}, 4, "trim, which cannot be searched"),
        ({"learning_rate": (0.1, 0.01)}, 4, "the range of learning_rate must be two positive numbers in order"),
        ({"input_noise": (0.0, 0.1)}, 4, "the range of input_noise must be two positive numbers in order, got 0.0"),
        ({"learning_rate": (0.1, 1e10)}, 4, "the range of learning_rate reaches to 1e.10: Input should be less than"),
        ({}, 4, "ranges names no hyperparameter"),
        ({"learning_rate": (0.01, 0.1)}, 0, "trials = 0: expected a whole number of at least 1"),
    ],
)
def test_bad_ranges_are_refused(ranges, trials, message):
    with pytest.raises(InputError, match=message):
        search(SPEC, rows(0), rows(1), ranges, key=jax.random.key(0), trials=trials)


def test_held_out_rows_are_needed():
    with pytest.raises(InputError, match="a search needs held-out rows to rank by"):
        search(SPEC, rows(0), None, {"learning_rate": (0.01, 0.1)}, key=jax.random.key(0))
