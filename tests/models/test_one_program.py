"""Methods of models that are called by themselves run as one program, and say what a user's own program says."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxflow.models.one_program as one_program
from jaxflow.bijectors import Bijector
from jaxflow.errors import InputError
from jaxflow.models import MAF, Density, DirectlyFitted, Flow, Model, RealNVP, StandardNormal
from tests.compiled import call, normal
from tests.models.test_rows_and_contexts import CONDITIONAL, CONTEXT_DIM, DIM, UNCONDITIONAL, built

ROWS = normal(0, (4, DIM))
KEY = jax.random.key(0)
traced = []


class Scaled(Bijector):
    """Doubles, and does what a test asks for besides."""

    def __init__(self, besides=lambda layer, x: None):
        self.scale = nnx.Param(jnp.asarray(2.0))
        self.besides = besides

    def forward_and_log_det(self, z, context=None):
        self.besides(self, z)
        return z * self.scale[...], jnp.full(z.shape[:-1], DIM * jnp.log(self.scale[...]))

    def inverse_and_log_det(self, x, context=None):
        self.besides(self, x)
        return x / self.scale[...], jnp.full(x.shape[:-1], -DIM * jnp.log(self.scale[...]))


def scaled(besides) -> Any:
    return Flow(StandardNormal(DIM), Scaled(besides))


def noted(layer, x):
    traced.append(x.shape)


@pytest.fixture
def programs(monkeypatch):
    """The methods that ran as programs."""
    found = []

    def run(*given, structure, sample_shape):
        found.append(structure.method.__name__)
        return original(*given, structure=structure, sample_shape=sample_shape)

    original = one_program._run
    monkeypatch.setattr(one_program, "_run", run)
    return found


@pytest.mark.parametrize("specs", [UNCONDITIONAL, CONDITIONAL], ids=["unconditional", "conditional"])
def test_models_of_networks_run_as_programs(specs, monkeypatch):
    traceable = vars(one_program._run)["__wrapped__"]

    def run(leaves, arrays, **structure):  # raises what would make it run by operations
        return jax.eval_shape(lambda leaves, arrays: traceable(leaves, arrays, **structure), leaves, arrays)

    monkeypatch.setattr(one_program, "_run", run)
    for name in specs:
        model = built(specs, name)
        if isinstance(model, DirectlyFitted):
            continue
        context = jnp.ones((4, CONTEXT_DIM)) if model.context_dim else None
        results = [(model.log_prob if isinstance(model, Density) else model.score)(ROWS, context)]
        if type(model).score not in (Density.score, Model.score):
            results.append(model.score(ROWS, context))
        assert all(isinstance(result, jax.ShapeDtypeStruct) and result.shape == (4,) for result in results), name
        if hasattr(model, "sample"):
            draws = model.sample(KEY, (2,), context)
            assert isinstance(draws, jax.ShapeDtypeStruct), name
            assert draws.shape == (2, *((4,) if model.context_dim else ()), DIM)


def test_the_values_are_those_of_a_program_of_ones_own():
    flow: Any = RealNVP(layers=2, hidden=(8,)).build(DIM, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(flow.log_prob(ROWS), call(flow, "log_prob", ROWS))
    np.testing.assert_array_equal(flow.log_prob(x=np.asarray(ROWS).tolist(), context=None), flow(ROWS))
    draws, log_prob = flow.sample_and_log_prob(KEY, 4)
    np.testing.assert_array_equal(draws, flow.sample(KEY, sample_shape=(np.int64(4),)))
    np.testing.assert_allclose(log_prob, flow.log_prob(draws), rtol=1e-5)


def test_a_second_call_traces_nothing():
    flow = scaled(noted)
    traced.clear()
    first = flow.log_prob(ROWS)
    assert len(traced) == 1
    flow.bijector.scale[...] = jnp.asarray(4.0)
    second = flow.log_prob(ROWS)
    assert len(traced) == 1, "another scale is no other program"
    assert not np.allclose(first, second)
    scaled(noted).log_prob(ROWS)
    assert len(traced) == 1, "nor is another flow of this structure"
    flow.log_prob(ROWS[:2])
    assert len(traced) == 2


@pytest.mark.parametrize("way", ["jit", "vmap", "grad", "nnx.grad", "disable_jit", "eval_shape"])
def test_transformations_see_the_method_as_it_is(way, programs):
    flow: Any = RealNVP(layers=1, hidden=(4,)).build(DIM, rngs=nnx.Rngs(0))
    if way == "jit":
        found = jax.jit(flow.log_prob)(ROWS)
    elif way == "vmap":
        found = jax.vmap(flow.log_prob)(ROWS)
    elif way == "disable_jit":
        with jax.disable_jit():
            found = flow.log_prob(ROWS)
    elif way == "eval_shape":
        assert jax.eval_shape(flow.log_prob, ROWS).shape == (4,)
        found = None
    elif way == "grad":
        slopes = jax.grad(lambda x: flow.log_prob(x).sum())(ROWS)
        np.testing.assert_allclose(slopes, -ROWS, rtol=1e-5)  # the flow is the identity at first
        found = None
    else:
        slopes = nnx.grad(lambda flow: flow.log_prob(ROWS).sum())(flow)
        assert any(np.any(slope != 0) for slope in jax.tree.leaves(slopes))
        found = None
    assert programs == []
    if found is not None:
        np.testing.assert_allclose(found, flow.log_prob(ROWS), rtol=1e-6)


def test_what_a_method_changes_is_changed(programs):
    def count(layer, x):
        layer.scale[...] = layer.scale[...] + 1

    flow = scaled(count)
    for expected in (3.0, 4.0, 5.0):
        flow.log_prob(ROWS)
        assert float(flow.bijector.scale[...]) == expected
    assert len(programs) == 1, "it is tried once"


def test_dropout_leaves_out_other_units_at_each_call():
    flow: Any = MAF(layers=1, hidden=(16, 16), residual=True, dropout=0.5).build(DIM, rngs=nnx.Rngs(0))
    for variable in jax.tree.leaves(nnx.state(flow, nnx.Param), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)):
        variable[...] = variable[...] + 0.3
    flow.train()
    assert not np.array_equal(flow.log_prob(ROWS), flow.log_prob(ROWS))
    flow.eval()
    np.testing.assert_array_equal(flow.log_prob(ROWS), flow.log_prob(ROWS))


@pytest.mark.parametrize(
    "look", [lambda layer, x: np.asarray(x), lambda layer, x: float(x.sum()), lambda layer, x: bool(x.sum() > 0)]
)
def test_a_layer_that_looks_at_the_numbers_is_let(look, programs):
    flow = scaled(look)
    found = [flow.log_prob(ROWS) for _ in range(2)]
    np.testing.assert_allclose(found, 2 * [scaled(lambda layer, x: None).log_prob(ROWS)], rtol=1e-6)
    assert len(programs) == 2, "tried once, and for the plain flow"


def test_what_holds_a_list_runs_by_operations(programs):
    flow = scaled(lambda layer, x: layer.seen.append(x) if layer.seen[0] else None)
    flow.bijector.seen = nnx.static([True])
    for count in (2, 3):
        assert flow.log_prob(ROWS).shape == (4,)
        assert len(flow.bijector.seen) == count
    assert programs == []


def test_bad_input_is_refused_as_ever():
    flow: Any = RealNVP(layers=1, hidden=(4,)).build(DIM, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"rows have the shape \(4, 2\), expected \(\.\.\., 3\)"):
        flow.log_prob(ROWS[:, :2])
    with pytest.raises(InputError, match="sample_shape = -1"):
        flow.sample(KEY, -1)
    with pytest.raises(TypeError, match="required argument"):
        flow.log_prob(rows=ROWS)


def test_programs_make_room(monkeypatch):
    shapes = []
    monkeypatch.setattr(one_program, "make_room_for_programs", lambda *shape: shapes.append(shape))
    flow = scaled(lambda layer, x: None)
    for rows in (ROWS, ROWS, ROWS[:2]):
        flow.log_prob(rows)
    assert shapes[0] == shapes[1] != shapes[2]
