"""A stack is a chain of its layers, compiled as one."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.bijectors import ActNorm, Affine, Chain, MaskedAutoregressive, Stack
from jaxflow.models import MAF, RealNVP
from jaxflow.networks import MaskedMLP
from jaxflow.training import FitSpec, fit
from jaxflow.training.engine.flat_parameters import layout_of
from tests.bijectors.cases import DIM, step
from tests.compiled import call, normal


def layers_of(stack: Stack) -> Chain:
    """The same layers, one by one."""
    graph, state = nnx.split(stack.layer)
    return Chain([nnx.merge(graph, jax.tree.map(lambda a, i=i: a[i], state)) for i in range(stack.depth)])


@pytest.mark.parametrize("unroll_below", [1, 10])
def test_is_the_chain_of_its_layers(unroll_below):
    stack = Stack(step, 4, unroll_below=unroll_below, rngs=nnx.Rngs(0))
    rows = 3.0 * normal(0, (20, DIM)) + 1.0
    chain = layers_of(stack)
    np.testing.assert_allclose(stack.initialize(rows), chain.initialize(rows), rtol=1e-12)
    for method in ("forward_and_log_det", "inverse_and_log_det"):
        for ours, expected in zip(call(stack, method, rows), call(chain, method, rows), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


def test_each_layer_is_initialised_with_what_the_layers_nearer_to_the_data_leave():
    stack = Stack(lambda rngs: ActNorm(2), 3, rngs=nnx.Rngs(0))
    rows = jnp.array([[0.0, 10.0], [2.0, 30.0]])
    stack.initialize(rows)
    np.testing.assert_allclose(stack.layer.affine.shift[...], [[0, 0], [0, 0], [1, 20]], atol=1e-12)
    np.testing.assert_array_equal(stack.layer.initialized[...], [True, True, True])


def test_layers_differ():
    stack = Stack(step, 4, rngs=nnx.Rngs(0))
    orders = np.asarray(stack.layer.layers[0].order[...])
    assert len({tuple(order) for order in orders.tolist()}) > 1


def test_the_program_does_not_grow_with_the_depth():
    def size(depth: int) -> int:
        flow = MAF(layers=depth, hidden=(8,)).build(4, rngs=nnx.Rngs(0))
        graph, state = nnx.split(flow)
        program = jax.make_jaxpr(lambda state, x: nnx.merge(graph, state).log_prob(x))(state, jnp.zeros((3, 4)))
        return len(str(program).splitlines())

    assert size(41) == size(21)


def test_the_time_to_compile_does_not_grow_with_the_depth():
    def seconds(depth: int) -> float:
        stack = Stack(step, depth, rngs=nnx.Rngs(0))
        graph, params, rest = nnx.split(stack, nnx.Param, ...)
        rows = jnp.zeros((3, DIM))
        new = np.random.default_rng().uniform()  # or the program would come out of the store of the tests

        def loss(params):
            return new * sum(jnp.sum(part) for part in nnx.merge(graph, params, rest).inverse_and_log_det(rows))

        started = time.perf_counter()
        jax.jit(jax.grad(loss)).lower(params).compile()
        return time.perf_counter() - started

    # The lesser of two: whatever else the machine does makes it longer.
    assert min(seconds(40), seconds(40)) < 1.5 * min(seconds(5), seconds(5))


def test_biases_of_a_stack_are_still_vectors_to_weight_decay():
    params = nnx.state(Stack(step, 4, rngs=nnx.Rngs(0)), nnx.Param)
    layout = layout_of(params)
    ranks = {len(shape) - stacked for shape, stacked in zip(layout.shapes, layout.stacked, strict=True)}
    assert set(layout.stacked) == {1}
    assert ranks == {1, 2}


def test_a_deep_flow_trains():
    rows = 2.0 * normal(0, (512, 3)) + 5.0
    flow = RealNVP(layers=15, hidden=(8,), normalization="act_norm").build(3, rngs=nnx.Rngs(0))
    result = fit(flow, rows, spec=FitSpec(epochs=10, batch_size=128), key=jax.random.key(1))
    assert result.history.column("train_loss")[-1] < 1.05 * 3 * (0.5 * np.log(2 * np.pi * np.e) + np.log(2))


@pytest.mark.parametrize("depth", [3, 9])
def test_dropout_leaves_out_other_units_at_each_call_and_in_each_layer(depth):
    def make(rngs):
        network = MaskedMLP(3, 2, (8, 8), residual=True, dropout=0.5, rngs=rngs)
        return MaskedAutoregressive(Affine(), network)

    def equal_weights(variable):
        return variable.replace(jnp.full_like(variable[...], 0.1))

    stack = Stack(make, depth, rngs=nnx.Rngs(0))
    nnx.update(
        stack,
        jax.tree.map(equal_weights, nnx.state(stack, nnx.Param), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)),
    )
    x = jnp.ones((1, 3))
    still = stack.inverse(x)
    nnx.reseed(stack, policy="match_shape", dropout=jax.random.key(1))
    np.testing.assert_array_equal(stack.inverse(x), still)
    stack.train()
    drawn = [np.asarray(stack.inverse(x)) for _ in range(2)]
    assert not np.allclose(drawn[0], still)
    assert not np.allclose(drawn[0], drawn[1])
    stack.eval()
    np.testing.assert_array_equal(stack.inverse(x), still)


def test_a_deep_flow_trains_with_dropout():
    rows = 2.0 * normal(0, (256, 3)) + 5.0
    flow = MAF(layers=14, hidden=(8, 8), residual=True, dropout=0.1, normalization="batch_norm")
    result = fit(flow.build(3, rngs=nnx.Rngs(0)), rows, spec=FitSpec(epochs=5, batch_size=64), key=jax.random.key(1))
    losses = result.history.column("train_loss")
    assert losses[-1] < losses[0]


def test_refuses_a_depth_of_zero():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        Stack(step, 0, rngs=nnx.Rngs(0))
