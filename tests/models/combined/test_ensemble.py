"""An ensemble is the mean of its members' densities, and its scores are what the docstring says."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from jaxflow.errors import InputError
from jaxflow.models import MAF, Density, Ensemble, EnsembleSpec, Gaussian, RealNVP
from tests.bijectors.cases import shaken
from tests.compiled import call

MEMBERS = 3


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def ensemble(combination: Any = "mean_log_prob", context_dim: int = 0, dim: int = 2) -> Ensemble:
    member = MAF(layers=2, hidden=(8,), permutation="random", context_dim=context_dim)
    return shaken(
        EnsembleSpec(member=member, members=MEMBERS, combination=combination).build(dim, rngs=nnx.Rngs(0)), scale=0.3
    )


def member(model: Ensemble, index: int) -> Density:
    graph, state = nnx.split(model.member)
    return nnx.merge(graph, jax.tree.map(lambda array: array[index], state))


def sample(model: Ensemble, *arguments: Any):
    return jax.jit(lambda key: model.sample(key, *arguments))(jax.random.key(0))


X = jnp.asarray(np.random.default_rng(0).normal(size=(20, 2)))


def test_is_the_mean_of_the_members_densities():
    model = ensemble()
    each = np.stack([call(member(model, index), "log_prob", X) for index in range(MEMBERS)])
    assert each.std(axis=0).min() > 0
    np.testing.assert_allclose(
        call(model, "log_prob", X), special.logsumexp(each, axis=0) - np.log(MEMBERS), rtol=1e-12
    )
    np.testing.assert_allclose(call(model, "score", X), -each.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(call(ensemble("log_mean_prob"), "score", X), -call(model, "log_prob", X), rtol=1e-12)


def test_a_member_that_is_left_out_does_not_count():
    model = ensemble()
    graph, state = nnx.split(model.member)
    state = jax.tree.map(lambda a: a.at[1].set(jnp.nan) if jnp.issubdtype(a.dtype, jnp.floating) else a, state)
    kept = np.array([True, False, True])
    model.replace_members(nnx.merge(graph, state), kept)
    each = np.stack([call(member(model, index), "log_prob", X) for index in (0, 2)])
    np.testing.assert_allclose(call(model, "score", X), -each.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(call(model, "log_prob", X), special.logsumexp(each, axis=0) - np.log(2), rtol=1e-12)
    assert np.all(np.isfinite(sample(model, (200,))))
    with pytest.raises(ValueError, match="at least one member must be kept"):
        model.replace_members(model.member, np.zeros(MEMBERS, bool))


def test_tail_scores_are_tail_probabilities_on_held_out_rows():
    model = ensemble("tail")
    rng = np.random.default_rng(1)
    held_out, new = jnp.asarray(rng.normal(size=(4000, 2))), jnp.asarray(rng.normal(scale=0.7, size=(50, 2)))
    model.calibrate(held_out)
    each = []
    for index in range(MEMBERS):
        reference, scores = (np.asarray(call(member(model, index), "score", rows)) for rows in (held_out, new))
        each.append(-np.log(np.mean(reference[:, None] >= scores, axis=0)))
    typical = np.max(each, axis=0) < 2.2  # before the last tenth
    assert typical.sum() > 25
    np.testing.assert_allclose(call(model, "score", new)[typical], np.mean(each, axis=0)[typical], atol=0.03)
    # Beyond all held-out rows the order is kept, and off the scale nothing overflows.
    far = call(model, "score", jnp.array([[20.0, 0.0], [40.0, 0.0], [1e6, 0.0]]))
    assert far[0] < far[1] < far[2] < np.inf


def test_each_draw_comes_from_one_member():
    model = ensemble(dim=1)
    draws = np.asarray(sample(model, (20_000,)))[:, 0]
    grid = jnp.linspace(-60, 60, 20_001)[:, None]
    density = np.exp(call(model, "log_prob", grid))
    assert np.trapezoid(density, grid[:, 0]) == pytest.approx(1, abs=1e-4)
    cumulative = np.cumsum(density) / density.sum()
    ranks = np.interp(np.sort(draws), grid[:, 0], cumulative)
    assert np.abs(ranks - np.linspace(0, 1, len(ranks))).max() < 0.015


def test_context_reaches_every_member():
    model = ensemble(context_dim=2)
    context = jnp.asarray(np.random.default_rng(2).normal(size=(20, 2)))
    each = np.stack([call(member(model, index), "log_prob", X, context) for index in range(MEMBERS)])
    np.testing.assert_allclose(call(model, "score", X, context), -each.mean(axis=0), rtol=1e-12)
    assert sample(model, (3,), context).shape == (3, 20, 2)


def test_members_differ_in_weights_and_permutations():
    model = EnsembleSpec(member=RealNVP(layers=3, hidden=(8,), permutation="random"), members=4).build(
        6, rngs=nnx.Rngs(0)
    )
    for path, variable in nnx.to_flat_state(nnx.state(model.member)):
        if path[-1] in ("kernel", "order") and np.any(np.asarray(variable[...]) != 0):
            assert len({np.asarray(array).tobytes() for array in variable[...]}) > 1, path


def test_refusals():
    with pytest.raises(ValueError, match="members must be at least 1, got 0"):
        Ensemble(lambda rngs: MAF().build(2, rngs=rngs), 0, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="Gaussian fits itself"):
        Ensemble(lambda rngs: Gaussian(2), 2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="learning_rates must have one value for each of 3 members or none, got 2"):
        EnsembleSpec(member=MAF(), members=3, learning_rates=(0.1, 0.2))
    with pytest.raises(ValueError, match="input_noises must have one value for each of 3 members or none, got 1"):
        Ensemble(lambda rngs: MAF().build(2, rngs=rngs), 3, input_noises=[0.1], rngs=nnx.Rngs(0))
