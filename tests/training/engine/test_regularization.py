"""Noise that fades, and the moving average of the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.config.spec import parse_spec
from jaxflow.errors import InputError
from jaxflow.models import MAF, Model
from jaxflow.models.model import weighted_mean
from jaxflow.networks import Buffer
from jaxflow.training import Batch, FitSpec, fit, fit_ensemble
from jaxflow.training.engine import epoch
from jaxflow.training.engine import flat_parameters as flat

ROWS = np.random.default_rng(0).normal(1.0, 2.0, size=(2, 64, 2))
FLOW = MAF(layers=1, hidden=(8,))


class Echo(Model):
    """Its loss is the mean square of what a step is given, so it tells how much noise there was."""

    def __init__(self):
        self.dim, self.context_dim = 1, 0
        self.unused = nnx.Param(jnp.zeros(1))

    def loss(self, x, weight=None, context=None, rngs=None):
        return weighted_mean(jnp.mean(x**2, axis=-1), weight) + 0.0 * jnp.sum(self.unused[...])

    def score(self, x, context=None):
        return jnp.mean(x**2, axis=-1)


class Recorder(Echo):
    """It keeps the rows of every step, and a number drawn from the step's key."""

    def __init__(self, steps: int, rows: int):
        super().__init__()
        self.seen = Buffer(jnp.zeros((steps, rows)))
        self.drawn = Buffer(jnp.zeros(steps))
        self.count = Buffer(jnp.asarray(0))

    def loss(self, x, weight=None, context=None, rngs=None):
        if rngs is not None:
            self.seen[...] = self.seen[...].at[self.count[...]].set(x[:, 0])
            self.drawn[...] = self.drawn[...].at[self.count[...]].set(jax.random.normal(rngs()))
            self.count[...] += 1
        return super().loss(x, weight)


def test_noise_is_drawn_anew_for_every_row_at_every_step():
    spec = FitSpec(epochs=3, batch_size=16, input_noise=0.5, patience=None)
    plan, state = epoch.start(Recorder(12, 16), spec, 64, jax.random.key(0))
    for _ in range(3):
        state, _ = epoch.run_epoch(state, Batch(jnp.zeros((64, 1))), None, plan=plan)
    model = plan.model(flat.unflatten(state.trained.params, plan.layout), state.trained.buffers)
    seen, drawn = np.asarray(model.seen[...]), np.asarray(model.drawn[...])
    assert int(model.count[...]) == 12
    assert np.unique(seen).size == 12 * 16
    assert seen.std() == pytest.approx(0.5, rel=0.15)
    assert np.unique(drawn).size == 12  # what a model draws by itself
    assert not np.isin(drawn, seen / 0.5).any()


@pytest.mark.parametrize(("last", "expected"), [(1.0, [1.0, 1.0, 1.0]), (0.0, [1.0, 0.5, 0.0]), (3.0, [1.0, 2.0, 3.0])])
def test_noise_goes_in_a_line_from_its_start_to_its_end(last, expected):
    spec = FitSpec(epochs=3, batch_size=200_000, input_noise=2.0, final_input_noise=last, patience=None)
    history = fit(Echo(), np.zeros((200_000, 1)), spec=spec, key=jax.random.key(0)).history
    np.testing.assert_allclose(np.sqrt(history.column("train_loss")), 2 * np.array(expected), rtol=0.01)


def test_a_schedule_without_noise_is_refused():
    with pytest.raises(InputError, match="final_input_noise = 0 needs an input_noise above 0"):
        parse_spec(FitSpec, {"final_input_noise": 0}, "here")


def test_the_average_is_that_of_the_parameters_of_all_steps():
    spec = FitSpec(epochs=6, batch_size=64, learning_rate=0.05, average_decay=0.5, patience=None)
    plan, state = epoch.start(FLOW.build(2, rngs=nnx.Rngs(0)), spec, 64, jax.random.key(0))
    expected = np.asarray(state.trained.params[0])
    for count in range(1, 7):  # steps done, as there is one an epoch
        state, _ = epoch.run_epoch(state, Batch(jnp.asarray(ROWS[0])), Batch(jnp.asarray(ROWS[1])), plan=plan)
        decay = min(0.5, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * np.asarray(state.trained.params[0])
        assert state.trained.average is not None
        np.testing.assert_allclose(state.trained.average[0], expected, rtol=1e-5, atol=1e-7)
    assert not np.allclose(expected, state.trained.params[0], rtol=1e-3)


def test_the_average_does_not_follow_steps_that_are_left_out():
    spec = FitSpec(epochs=4, batch_size=16, learning_rate=0.1, average_decay=0.9, bad_steps="skip", patience=None)
    plan, state = epoch.start(FLOW.build(2, rngs=nnx.Rngs(0)), spec, 64, jax.random.key(0))
    for _ in range(2):
        state, _ = epoch.run_epoch(state, Batch(jnp.asarray(ROWS[0])), None, plan=plan)
    params, average = (np.asarray(arrays[0]) for arrays in (state.trained.params, state.trained.judged))
    assert not np.allclose(params, average, rtol=1e-3)
    state, record = epoch.run_epoch(state, Batch(jnp.full((64, 2), jnp.nan)), None, plan=plan)
    assert record.skipped_steps == 4
    np.testing.assert_array_equal(state.trained.params[0], params)
    np.testing.assert_array_equal(state.trained.judged[0], average)


def test_the_average_is_what_is_judged_and_kept():
    spec = FitSpec(epochs=4, batch_size=16, learning_rate=0.1, average_decay=0.9, patience=None)
    result = fit(FLOW.build(2, rngs=nnx.Rngs(0)), ROWS[0], ROWS[1], spec, key=jax.random.key(0))
    best = min(result.history.column("valid_loss"))
    assert float(result.model.loss(jnp.asarray(ROWS[1]))) == pytest.approx(best, rel=1e-5)
    plain = fit(FLOW.build(2, rngs=nnx.Rngs(0)), ROWS[0], ROWS[1], spec.model_copy(update={"average_decay": 0.0}),
                key=jax.random.key(0))  # fmt: skip
    # The steps are the same, what they are judged by is not.
    assert result.history.column("train_loss") == pytest.approx(plain.history.column("train_loss"), rel=1e-5)
    assert result.history.column("valid_loss") != pytest.approx(plain.history.column("valid_loss"), rel=1e-3)


def test_members_have_averages_of_their_own():
    spec = FitSpec(epochs=3, batch_size=16, learning_rate=0.1, average_decay=0.9)
    result = fit_ensemble(FLOW, ROWS[0], 2, jax.random.key(0), valid=ROWS[1], fit_spec=spec)
    for member, history in zip(range(2), result.history.members, strict=True):
        assert float(result.model.take(member).loss(jnp.asarray(ROWS[1]))) == pytest.approx(
            min(history.column("valid_loss")), rel=1e-5
        )
