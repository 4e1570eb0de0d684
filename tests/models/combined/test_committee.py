"""A committee: what its score is made of, that it is a density all the same, and how it is fitted."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from jaxflow.data import ColumnsSpec
from jaxflow.detection import FlowDetector, Percentile
from jaxflow.errors import InputError
from jaxflow.models import (
    MAF,
    Committee,
    CommitteeMember,
    CommitteeSpec,
    Gaussian,
    GaussianMixtureSpec,
    GaussianSpec,
    KernelDensitySpec,
)
from jaxflow.models.combined.surprise import score_tail
from jaxflow.training import Batch, Checkpoints, FitSpec, fit
from tests.compiled import call
from tests.models.small_committee import FLOW, SMALL_COMMITTEE

TRAIN = FitSpec(epochs=2, batch_size=64)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def rows(seed: int = 0, n: int = 300) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, 2))
    return np.stack([x[:, 0], np.exp(x[:, 0] + 0.5 * x[:, 1])], axis=1)


@pytest.fixture(scope="module")
def committee(double_precision) -> Committee:
    model = SMALL_COMMITTEE.for_rows(600).build(2, rngs=nnx.Rngs(0))
    return fit(model, jnp.asarray(rows()), jnp.asarray(rows(1)), TRAIN, key=jax.random.key(0)).model


def test_each_member_learns_in_its_own_coordinates(committee):
    x = jnp.asarray(rows())
    seen = call(committee, "seen", x)
    np.testing.assert_allclose(seen[6], np.arcsinh(x), atol=1e-12)
    for view, z in zip(committee.views[:6], seen, strict=False):
        skew = float(jnp.mean((z[:, 1] - z[:, 1].mean()) ** 3) / z[:, 1].std() ** 3)
        assert abs(skew) < 0.1 if view == "rank_gaussian" else skew > 1


def test_flows_are_fitted_to_the_rows_as_they_see_them():
    model = Committee(["rank_gaussian", "arcsinh"], [FLOW.build(2, rngs=nnx.Rngs(seed)) for seed in (0, 1)])
    x, held_out, key = jnp.asarray(rows(0, 64)), jnp.asarray(rows(1, 64)), jax.random.key(0)
    histories = fit(model, x, held_out, TRAIN, key=key).history.members
    model.prepare(x)
    for number, z, z_held_out in zip((0, 1), call(model, "seen", x), call(model, "seen", held_out), strict=True):
        own = jax.random.fold_in(jax.random.split(key)[1], number)
        alone = fit(model.members[number], Batch(z, np.ones(64)), Batch(z_held_out, np.ones(64)), TRAIN, key=own)
        for name in ("train_loss", "valid_loss"):
            assert histories[number].column(name) == pytest.approx(alone.history.column(name), rel=1e-9)


def test_members_that_fit_themselves_end_with_all_rows_and_the_yardstick_of_those_held_out(committee):
    x = jnp.asarray(np.concatenate([rows(), rows(1)]))
    kernels = [member for member in committee.members if hasattr(member, "centres")]
    assert len(kernels) == 2
    for kernel, z in zip(kernels, call(committee, "seen", x), strict=False):
        np.testing.assert_allclose(kernel.centres[:600], z, atol=1e-12)
        np.testing.assert_array_equal(kernel.weights[600:], 0)  # places up to the size class of 600
    # Of rows that it has learned from, a kernel density finds fewer rare than when they were held out.
    surprises = call(committee, "surprises", jnp.asarray(rows(1)))
    assert np.all(np.mean(surprises[:2], axis=1) < 0.95)
    alone = fit(
        KernelDensitySpec().for_rows(300).build(2, rngs=nnx.Rngs(0)), jnp.asarray(rows()), key=jax.random.key(0)
    )
    expected = score_tail(jnp.asarray(call(alone.model, "score", jnp.asarray(rows(1)))))
    np.testing.assert_allclose(committee.quantiles[...][0], expected[0], rtol=1e-9)
    np.testing.assert_allclose(committee.excess[...][0], expected[1], rtol=1e-9)


def test_a_surprise_is_how_rare_the_score_is_among_held_out_rows(committee):
    held_out, model = jnp.asarray(rows(1)), nnx.clone(committee)
    model.calibrate(held_out)
    for member, one in zip(model.members, np.asarray(call(model, "surprises", held_out)), strict=True):
        assert member.dim == 2
        below = one < -np.log(0.1) - 0.05
        ranks = 1 - (np.argsort(np.argsort(one)) + 0.5) / len(one)
        np.testing.assert_allclose(one[below], -np.log(ranks[below]), atol=0.03)
        assert one.mean() == pytest.approx(1, abs=0.1)  # about as of a standard exponential variable


def test_rows_of_weight_zero_have_no_part_in_the_yardstick():
    x, weight = rows(1, 50), np.repeat([0.0, 0.5, 2.0], [20, 15, 15])
    given, without = (Committee(["as_given", "arcsinh"], [Gaussian(2), Gaussian(2)]) for _ in range(2))
    given.calibrate(x, weight)
    without.calibrate(x[20:])
    np.testing.assert_allclose(given.quantiles[...], without.quantiles[...], rtol=1e-9)
    np.testing.assert_allclose(given.excess[...], without.excess[...], rtol=1e-9)


@pytest.mark.parametrize("power", [1.0, 4.0])
def test_the_score_is_the_power_mean_over_the_voices_of_which_each_is_a_mean(committee, power):
    x = jnp.asarray(np.concatenate([rows(2, 50), [[1e3, 0.0], [0.0, 1e5]]]))
    model = nnx.clone(committee)
    model.power = power
    each = np.asarray(call(committee, "surprises", x))
    assert committee.voices == (0, 1, 2, 3, 3, 4, 5)
    assert committee.weights == (2, 1, 1, 0.5, 1.5, 1, 1)
    heard = np.stack([each[0], each[1], each[2], 0.25 * each[3] + 0.75 * each[4], each[5], each[6]])
    expected = np.average(heard**power, axis=0, weights=[2, 1, 1, 2, 1, 1]) ** (1 / power)
    np.testing.assert_allclose(call(model, "score", x), expected, rtol=1e-9)
    assert np.max(np.abs(each[3] - each[4])) > 0.01


def test_rows_out_of_all_reach_are_the_most_anomalous(committee):
    scores = call(committee, "score", jnp.asarray([[1e200, 0.0], [1e3, 0.0]]))
    assert scores[0] > scores[1]
    assert not np.isnan(scores).any()


def test_is_a_density_and_samples_itself(committee):
    grid = np.stack(np.meshgrid(np.linspace(-8, 8, 400), np.linspace(-10, 80, 2000), indexing="ij"), axis=-1)
    density = np.exp(call(committee, "log_prob", jnp.asarray(grid.reshape(-1, 2)))).reshape(400, 2000)
    cell = (16 / 399) * (90 / 1999)
    assert density.sum() * cell == pytest.approx(1, abs=0.03)  # what a grid leaves out of a heavy tail
    draws = np.asarray(jax.jit(lambda key: committee.sample(key, (4000,)))(jax.random.key(0)))
    below = density[grid[..., 1] < 1].sum() * cell
    assert (draws[:, 1] < 1).mean() == pytest.approx(below, abs=0.03)
    assert call(committee, "loss", jnp.asarray(draws)) == pytest.approx(
        -float(jnp.mean(call(committee, "log_prob", jnp.asarray(draws)))), rel=1e-9
    )


def test_the_density_is_the_mean_of_the_members_by_their_weights():
    members = [Gaussian(2), Gaussian(2), Gaussian(2)]
    for member, place in zip(members, (0.0, 3.0, -1.0), strict=True):
        member.mean[...] = jnp.full(2, place)
    model = Committee(["as_given", "as_given", "arcsinh"], members, weights=[1.0, 5.0, 2.0])
    x = np.random.default_rng(0).normal(size=(20, 2)) * 3
    each = [scipy.stats.norm.pdf(x, place).prod(axis=1) for place in (0.0, 3.0)]
    each.append((scipy.stats.norm.pdf(np.arcsinh(x), -1.0) / np.sqrt(1 + x**2)).prod(axis=1))
    expected = np.log(np.average(each, axis=0, weights=[1.0, 5.0, 2.0]))
    np.testing.assert_allclose(call(model, "log_prob", jnp.asarray(x)), expected, rtol=1e-9)
    draws = np.asarray(jax.jit(lambda key: model.sample(key, (4000,)))(jax.random.key(0)))
    means = 3.0 * 5 / 8, np.sinh(-1.0) * np.exp(0.5) * 2 / 8  # the mean of sinh(-1 + e) is sinh(-1) exp(1/2)
    assert draws.mean() == pytest.approx(sum(means), abs=0.15)


def test_the_same_key_gives_the_same_and_a_fit_can_go_on(tmp_path, committee):
    model = SMALL_COMMITTEE.for_rows(600).build(2, rngs=nnx.Rngs(0))
    how: Any = {"key": jax.random.key(0), "checkpoints": Checkpoints(directory=tmp_path / "kept", seconds=0)}
    first = fit(model, jnp.asarray(rows()), jnp.asarray(rows(1)), TRAIN, **how)
    how["checkpoints"] = how["checkpoints"].model_copy(update={"resume": True})
    again = fit(model, jnp.asarray(rows()), jnp.asarray(rows(1)), TRAIN, **how)
    asked = jnp.asarray(rows(2, 20))
    expected = call(committee, "score", asked)
    np.testing.assert_array_equal(call(first.model, "score", asked), expected)
    np.testing.assert_array_equal(call(again.model, "score", asked), expected)
    assert len(again.history.members) == 3  # the flows


def test_the_default_serves_tables_of_any_size():
    spec = CommitteeSpec().for_rows(50)
    components = [member.model.components for member in spec.members if isinstance(member.model, GaussianMixtureSpec)]
    assert components == [2, 2, 2]
    assert GaussianMixtureSpec().for_rows(50).components == 8
    detector = FlowDetector(
        CommitteeSpec(members=(CommitteeMember(model=KernelDensitySpec()), CommitteeMember(model=GaussianSpec()))),
        threshold=Percentile(percentile=50),
        calibration_folds=0,
    ).fit(rows(0, 60))
    assert detector.predict([[0.0, 1.0], [9.0, 0.0]]).tolist() == [1, -1]
    assert detector.explain([[9.0, 1.0]]).method == "replacement"


def test_refusals():
    x = jnp.asarray(rows())
    model = SMALL_COMMITTEE.for_rows(300).build(2, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="a committee needs held-out rows"):
        fit(model, x, None, TRAIN, key=jax.random.key(0))
    with pytest.raises(InputError, match="context"):
        model.score(x, x)
    with pytest.raises(ValueError, match="one view for each"):
        Committee(["as_given"], [])
    for voices in ([0, 0], [1], [-1]):
        with pytest.raises(ValueError, match="one voice for each of 1 members, from 0 on"):
            Committee(["as_given"], [MAF(layers=1).build(2, rngs=nnx.Rngs(0))], voices=voices)
    for weights in ([1.0, 1.0], [0.0], [np.nan]):
        with pytest.raises(ValueError, match="one positive weight for each of 1 members"):
            Committee(["as_given"], [MAF(layers=1).build(2, rngs=nnx.Rngs(0))], weights=weights)
    with pytest.raises(ValueError, match="tail_shape must be from 0 to below 1"):
        Committee(["as_given"], [MAF(layers=1).build(2, rngs=nnx.Rngs(0))], tail_shape=1.0)
    with pytest.raises(ValueError, match="power must be at least 1"):
        Committee(["as_given"], [MAF(layers=1).build(2, rngs=nnx.Rngs(0))], power=0.5)
    with pytest.raises(InputError, match="a committee takes no context"):
        FlowDetector(SMALL_COMMITTEE, columns=ColumnsSpec(context=("x1",))).fit(rows())
