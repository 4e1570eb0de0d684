"""Losses that are not finite: a fit stops and names the rows, or leaves the step out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.detection import FlowDetector, Percentile
from jaxflow.errors import InputError, NonFiniteLoss
from jaxflow.experiment.run import StoppedRun, run_experiment
from jaxflow.experiment.spec import Experiment
from jaxflow.models import MAF, EnsembleSpec, Model
from jaxflow.models.model import weighted_mean
from jaxflow.training import Batch, Checkpoints, FitSpec, fit

SPEC = FitSpec(epochs=3, batch_size=8, learning_rate=0.05, warmup=0.0, patience=None)
SKIP = SPEC.model_copy(update={"bad_steps": "skip"})


class Location(Model):
    """A point, and the squared distance to it; NaN for a row beyond 100, or whatever `spoil` makes of a batch."""

    def __init__(self, start: float = 0.0, spoil=lambda x: jnp.any(x > 100)):
        self.dim, self.context_dim = 2, 0
        self.point = nnx.Param(jnp.full(2, start))
        self.spoil = spoil

    def score(self, x, context=None):
        return jnp.sum((x - self.point[...]) ** 2, axis=-1)

    def loss(self, x, weight=None, context=None, rngs=None):
        return weighted_mean(self.score(x), weight) + jnp.where(self.spoil(x), jnp.nan, 0.0)


def rows(n: int = 64, seed: int = 0, poisoned: dict[int, float] | None = None) -> np.ndarray:
    x = np.random.default_rng(seed).normal(1.0, 1.0, size=(n, 2))
    for row, value in (poisoned or {}).items():
        x[row] = value
    return x


def stopped(model, x, valid=None, spec=SPEC, **how) -> NonFiniteLoss:
    with pytest.raises(NonFiniteLoss) as caught:
        fit(model, x, valid, spec, key=jax.random.key(0), **how)
    return caught.value


def test_skip_leaves_the_step_out_counts_it_and_goes_on():
    result = fit(Location(), rows(poisoned={5: 1000.0}), rows(seed=1), SKIP, key=jax.random.key(0))
    assert result.history.column("skipped_steps") == [1, 1, 1]
    assert np.isfinite(result.history.column("train_loss")).all()
    assert np.isfinite(result.model.point[...]).all()
    losses = result.history.column("valid_loss")
    assert losses[-1] < losses[0]


def test_steps_that_are_left_out_have_no_part_in_the_means_of_an_epoch():
    x = np.ones((64, 2))
    x[5] = 1000.0
    spec = SKIP.model_copy(update={"learning_rate": 1e-12})
    history = fit(Location(), x, None, spec, key=jax.random.key(0)).history
    assert history.column("skipped_steps") == [1, 1, 1]
    assert history.column("train_loss") == [pytest.approx(2.0)] * 3
    assert history.column("gradient_norm") == [pytest.approx(np.sqrt(8))] * 3


def test_a_loss_that_is_never_finite_is_an_error():
    x = np.full((8, 2), 1000.0)
    for valid in (x, rows()):  # also where the held-out loss of the start is finite
        with pytest.raises(FloatingPointError, match="not finite in any of 3 epochs"):
            fit(Location(), x, valid, SKIP, key=jax.random.key(0))
        error = stopped(Location(), x, valid)
        assert error.diverged
        assert error.result is None
        assert "no epoch before it gave parameters to keep" in str(error)


def test_stop_names_epoch_step_and_row():
    error = stopped(Location(), rows(poisoned={5: 1000.0}), rows(seed=1))
    assert (error.epoch, error.rows) == (1, (5,))
    assert 1 <= error.step <= 8
    assert str(error) == (
        f"the loss or its gradient was not finite in epoch 1, step {error.step}, because of row 5 of the training "
        "data, counted from 0; the best parameters are kept; bad_steps = skip leaves such steps out"
    )


def test_of_several_bad_steps_the_first_is_named():
    error = stopped(Location(), rows(poisoned=dict.fromkeys(range(64), 1e3)))
    assert (error.epoch, error.step, len(error.rows)) == (1, 1, 8)


def test_nothing_changes_after_the_bad_step():
    """The parameters are those of as many steps as came before it."""
    error = stopped(Location(), rows(poisoned={5: 1000.0}), rows(seed=1))
    skipped = error.result.history.rows[0]["skipped_steps"]
    assert skipped == 8 - (error.step - 1)
    # With the same key the order is the same, so the rows of the steps before are too.
    moved = np.asarray(error.result.model.point[...])
    assert np.all(moved != 0) if error.step > 1 else np.all(moved == 0)
    assert np.max(np.abs(moved)) < 0.05 * error.step


def test_the_best_parameters_so_far_are_kept():
    class Late(Location):
        """Its loss is NaN once the point has come near the rows."""

        def loss(self, x, weight=None, context=None, rngs=None):
            return super().loss(x, weight) + jnp.where(jnp.all(self.point[...] < 3.0), jnp.nan, 0.0)

    spec = SPEC.model_copy(update={"epochs": 50})
    error = stopped(Late(start=5.0), rows(), rows(seed=1), spec)
    assert error.diverged
    assert 2 < error.epoch < 50
    history = error.result.history
    assert len(history.rows) == error.epoch
    # In the last epoch the held-out loss is not finite either; the one before is the best.
    assert history.best_epoch == error.epoch - 1
    assert np.all(error.result.model.point[...] >= 3.0)


def test_a_gradient_that_is_not_finite_is_found_too():
    class Root(Location):
        def loss(self, x, weight=None, context=None, rngs=None):
            return jnp.mean(jnp.sqrt(jnp.sum((x - self.point[...]) ** 2, axis=-1)))  # no slope at the point itself

    assert stopped(Root(), rows(poisoned={9: 0.0}), spec=SPEC.model_copy(update={"batch_size": 64})).rows == (9,)


def test_rows_that_do_no_harm_alone_are_not_named():
    error = stopped(Location(spoil=lambda x: jnp.sum(x > 100) > 2), rows(n=8, poisoned={2: 1e3, 5: 1e3}))
    assert error.rows == ()
    assert "for no row of that step by itself" in str(error)


def test_the_noise_of_that_step_is_counted_in():
    spec = SPEC.model_copy(update={"input_noise": 50.0, "final_input_noise": 2.0})
    error = stopped(Location(), rows(n=60, poisoned={5: 60.0}), spec=spec)
    x = rows(n=60, poisoned={5: 60.0})
    assert error.rows
    assert not np.any(x > 100)


@pytest.mark.parametrize("n", [5, 61])
def test_a_last_step_that_is_filled_up(n):
    errors = [stopped(Location(), rows(n=n, poisoned={bad: 1e3}), spec=SPEC) for bad in range(5)]
    assert [error.rows for error in errors] == [(0,), (1,), (2,), (3,), (4,)]


def test_many_rows_are_counted():
    error = stopped(Location(), rows(n=8, poisoned=dict.fromkeys(range(7), 1e3)))
    assert error.rows == tuple(range(7))
    assert "because of rows 0, 1, 2, 3, 4 and 2 more of the training data" in str(error)


def test_a_fit_that_goes_on_from_a_checkpoint_says_the_same(tmp_path):
    saved = Checkpoints(directory=tmp_path / "saved", seconds=0)
    first = stopped(Location(), rows(poisoned={5: 1000.0}), rows(seed=1), checkpoints=saved)
    resumed = saved.model_copy(update={"resume": True})
    again = stopped(Location(), rows(poisoned={5: 1000.0}), rows(seed=1), checkpoints=resumed)
    assert str(again) == str(first)
    np.testing.assert_array_equal(again.result.model.point[...], first.result.model.point[...])


ENSEMBLE = EnsembleSpec(member=MAF(layers=1, hidden=(4,)), members=3)


def test_members_with_rows_of_their_own_go_on_without_the_one_that_stopped():
    own = np.stack([rows(seed=seed) for seed in range(3)])
    own[1, 7] = 1e30
    with pytest.warns(UserWarning, match=r"as their loss was not finite: member 1 \(epoch 1, step"):
        result = fit(ENSEMBLE.build(2, rngs=nnx.Rngs(0)), own, rows(seed=5), SPEC, key=jax.random.key(0))
    np.testing.assert_array_equal(result.model.kept[...], [True, False, True])
    assert [len(history.rows) for history in result.history.members] == [3, 1, 3]


def test_an_ensemble_whose_members_all_stop_names_the_rows_of_the_first():
    error = stopped(ENSEMBLE.build(2, rngs=nnx.Rngs(0)), rows(poisoned={5: 1e30}), rows(seed=1))
    assert error.rows == (5,)
    assert str(error).startswith("no member is left of 3: the loss or its gradient of member 0 was not finite in epoch")
    assert np.isfinite(error.result.model.score(jnp.asarray(rows(seed=2)))).all()


def test_a_detector_names_the_row_of_x_and_is_ready():
    x = rows(n=100)
    detector = FlowDetector(
        MAF(layers=1, hidden=(4,)), train=SPEC, preprocessing=(), threshold=Percentile(percentile=90),
        validation_fraction=0.0, calibration_folds=0,
    )  # fmt: skip
    detector.fit(x)
    learnt = np.flatnonzero(~np.isin(detector.anomaly_score(x), detector.calibration_scores_))
    assert len(learnt) == 80
    for bad in learnt[::16]:
        poisoned = x.copy()
        poisoned[bad] = 1e30
        with pytest.raises(NonFiniteLoss, match=f"because of row {bad} of X, counted from 0") as caught:
            detector.fit(poisoned)
        assert caught.value.rows == (bad,)
        assert detector.history_ is caught.value.result.history
        assert detector.predict(x).shape == (100,)


def test_an_experiment_names_the_row_of_the_file_and_has_a_result(tmp_path):
    x = rows(n=60)
    x[26] = 1e30
    table = "\n".join(["a,b", *(f"{a},{b}" for a, b in x)])
    (tmp_path / "rows.csv").write_text(table)
    experiment = Experiment.model_validate(
        {
            "data": {"path": str(tmp_path / "rows.csv"), "label": None},
            "model": {"kind": "maf", "layers": 1, "hidden": [4]},
            "train": {"epochs": 2, "batch_size": 4},
            "preprocessing": [],
            "detection": {"validation_fraction": 0.0, "threshold": {"kind": "percentile"}},
        }
    )
    with pytest.raises(StoppedRun, match="rows: the loss or its gradient") as caught:
        run_experiment(experiment)
    assert "because of row 27 of rows, counted from 1" in str(caught.value)
    assert len(caught.value.run.scores)
    assert isinstance(caught.value, InputError)


def test_batches_with_weights_and_context_are_examined():
    context = np.random.default_rng(0).normal(size=(64, 1))
    model = MAF(layers=1, hidden=(4,), context_dim=1).build(2, rngs=nnx.Rngs(0))
    error = stopped(model, Batch(rows(poisoned={5: 1e30}), np.ones(64), context))
    assert error.rows == (5,)
