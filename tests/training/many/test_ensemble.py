"""Members trained together are members trained alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.errors import InputError
from jaxflow.models import MAF, Ensemble, EnsembleSpec
from jaxflow.models.named_arrays import state_arrays
from jaxflow.training import Batch, FitSpec, fit
from jaxflow.training.many import ensemble

MEMBERS = 3
MEMBER = MAF(layers=2, hidden=(8,), normalization="act_norm")
SPEC = FitSpec(epochs=6, batch_size=32, learning_rate=1e-2, patience=None)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def rows(n: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 2.0, size=(n, 2))


def build(members: int = MEMBERS, member=MEMBER, **options) -> Ensemble:
    return EnsembleSpec(member=member, members=members, **options).build(2, rngs=nnx.Rngs(0))


def finals(model: Ensemble) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model.member))]


def test_together_and_in_turn_give_the_same(monkeypatch):
    results = []
    for in_turn in (True, False):
        monkeypatch.setattr(ensemble, "take_turns", lambda in_turn=in_turn: in_turn)
        results.append(
            fit(
                build(bootstrap=True, learning_rates=(1e-3, 1e-2, 0.1)),
                rows(),
                rows(seed=1),
                SPEC,
                key=jax.random.key(0),
            )
        )
    for together, in_turn in zip(finals(results[0].model), finals(results[1].model), strict=True):
        np.testing.assert_allclose(together, in_turn, rtol=1e-9, atol=1e-9)
    losses = [[history.column("valid_loss") for history in result.history.members] for result in results]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_a_member_is_what_it_would_be_alone():
    # The members differ in their learning rates alone if all have the same seed.
    three = build(learning_rates=(1e-3, 1e-2, 0.1))
    graph, state = nnx.split(three.member)
    same = jax.tree.map(lambda array: jnp.broadcast_to(array[:1], array.shape), state)
    three.member = nnx.merge(graph, same)
    alone = build(1, learning_rates=(1e-2,))
    alone.member = nnx.merge(graph, jax.tree.map(lambda array: array[:1], state))
    key = jax.random.key(0)
    spec = FitSpec(epochs=6, batch_size=100, patience=None)  # one batch, so that its order is of no account
    together = fit(three, rows(), rows(seed=1), spec, key=key)
    lonely = fit(alone, rows(), rows(seed=1), spec, key=key)
    np.testing.assert_allclose(
        together.history.members[1].column("valid_loss"), lonely.history.members[0].column("valid_loss"), rtol=1e-9
    )
    for ours, expected in zip(finals(together.model), finals(lonely.model), strict=True):
        np.testing.assert_allclose(ours[1], expected[0], rtol=1e-8, atol=1e-10)


def test_each_member_stops_for_itself_and_keeps_its_best():
    # With a rate of 1 the loss soon rises, with one of 1e-4 it falls for long.
    spec = FitSpec(epochs=40, batch_size=20, warmup=0.0, patience=3)
    model = build(2, MAF(layers=2, hidden=(8,)), learning_rates=(1e-4, 1.0))
    result = fit(model, rows(), rows(seed=1), spec, key=jax.random.key(0))
    slow, fast = result.history.members
    assert len(fast.rows) < len(slow.rows) == len(result.history.rows)
    valid = jnp.asarray(rows(seed=1))
    losses = result.model.each(lambda member: member.loss(valid))
    best = [min(history.column("valid_loss")) for history in (slow, fast)]
    np.testing.assert_allclose(losses, best, rtol=1e-9)
    assert result.history.rows[0]["valid_loss"] == pytest.approx(
        np.mean([history.column("valid_loss")[0] for history in (slow, fast)])
    )


def test_bootstrap_weighs_every_member_in_its_own_way():
    spec = FitSpec(epochs=60, batch_size=100, learning_rate=0.1, patience=None)
    member = MAF(layers=1, hidden=(2,))

    def spread(bootstrap: bool) -> float:
        fitted = fit(build(6, member, bootstrap=bootstrap), rows(), None, spec, key=jax.random.key(0)).model
        return float(np.std(fitted.each(lambda member: member.log_prob(jnp.asarray(rows()))), axis=0).mean())

    assert spread(True) > 3 * spread(False)


def test_bootstrap_counts_draws_times_the_weight_of_their_rows():
    weight = jnp.array([0.0, 1.0, 2.0, 1.0, 1.0, 0.5])
    drawn = ensemble._bootstrap(jax.random.key(0), Batch(jnp.zeros((6, 1))), 3)
    assert drawn.shape == (3, 6)
    np.testing.assert_array_equal(drawn.sum(axis=1), 6)
    assert not np.array_equal(drawn[0], drawn[1])
    weighed = ensemble._bootstrap(jax.random.key(0), Batch(jnp.zeros((6, 1)), weight), 3)
    np.testing.assert_array_equal(weighed, drawn * weight)


def test_weights_and_context_reach_every_member():
    context = np.random.default_rng(0).normal(size=(200, 1))
    x = 3 * context + 0.1 * np.random.default_rng(1).normal(size=(200, 1))
    weight = np.where(np.arange(200) < 100, 1.0, 0.0)
    x[100:] = 1e3
    spec = EnsembleSpec(member=MAF(layers=1, hidden=(8,), context_dim=1), members=2, bootstrap=True)
    model = spec.build(1, rngs=nnx.Rngs(0))
    train = FitSpec(epochs=80, batch_size=50, learning_rate=2e-2)
    fitted = fit(model, Batch(x, weight, context), None, train, key=jax.random.key(0)).model
    ones = jnp.ones((1, 1))
    assert fitted.score(3 * ones, ones)[0] < fitted.score(3 * ones, -ones)[0] - 5


@pytest.mark.filterwarnings("always:left out of the ensemble")
def test_a_member_that_diverges_is_reported_and_left_out():
    model = build(learning_rates=(1e-2, 1e-2, 1e-2))
    poisoned = jax.tree.map(lambda array: array.at[1].set(jnp.nan), nnx.state(model.member, nnx.Param))
    nnx.update(model.member, poisoned)
    with pytest.warns(UserWarning, match=r"as their loss was not finite: member 1 \(epoch 1, step 1\)"):
        fitted = fit(model, rows(), rows(seed=1), SPEC, key=jax.random.key(0)).model
    np.testing.assert_array_equal(fitted.kept[...], [True, False, True])
    assert np.all(np.isfinite(fitted.score(jnp.asarray(rows()))))


@pytest.mark.filterwarnings("always:left out of the ensemble")
def test_a_member_that_ends_in_nothing_but_skipped_steps_is_left_out_too():
    spec = SPEC.model_copy(update={"bad_steps": "skip", "epochs": 20, "warmup": 0.9})
    with pytest.warns(UserWarning, match=r"as their loss was not finite: member 1 \(every step of epoch 20\)"):
        fitted = fit(build(2, learning_rates=(1e-2, 1e4)), rows(), rows(seed=1), spec, key=jax.random.key(0)).model
    np.testing.assert_array_equal(fitted.kept[...], [True, False])
    assert np.all(fitted.score(jnp.asarray(rows())) < 100)


def test_a_second_fit_and_other_rates_compile_nothing(compilations):
    def train(rate):
        fit(build(learning_rates=(rate,) * 3), rows(), rows(seed=1), SPEC, key=jax.random.key(1))

    train(1e-2)
    with compilations() as second:
        train(2e-2)
    assert not second


def test_an_epoch_of_all_members_is_one_program():
    epoch: Any = ensemble.advance_members
    before = epoch._cache_size()
    fit(build(5), rows(), rows(seed=1), SPEC, key=jax.random.key(1))
    assert epoch._cache_size() == before + 1


def test_tails_need_held_out_rows():
    with pytest.raises(InputError, match="combination = tail needs held-out rows"):
        fit(build(combination="tail"), rows(), None, SPEC, key=jax.random.key(0))
    fitted = fit(build(combination="tail"), rows(), rows(seed=1), SPEC, key=jax.random.key(0)).model
    assert float(fitted.score(jnp.asarray(rows(seed=2))).mean()) == pytest.approx(1, abs=0.3)


def test_all_members_diverging_is_an_error():
    model = build()
    nnx.update(model.member, jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), nnx.state(model.member, nnx.Param)))
    with pytest.raises(
        FloatingPointError, match="no member is left of 3: the loss or its gradient of member 0 was not finite"
    ):
        fit(model, rows(), None, SPEC, key=jax.random.key(0))


def test_the_given_model_stays_as_it_was():
    model = build()
    before = state_arrays(model)
    fit(model, rows(), rows(seed=1), SPEC, key=jax.random.key(0))
    for name, array in state_arrays(model).items():
        np.testing.assert_array_equal(array, before[name])
