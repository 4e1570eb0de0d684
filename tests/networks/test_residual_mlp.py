"""The residual network: its shape, its start, and dropout that acts in training alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.networks import ResidualMLP
from tests.compiled import normal

ROWS = normal(0, (64, 3))


def network(**options) -> ResidualMLP:
    return ResidualMLP(3, 4, 16, 2, **options, rngs=nnx.Rngs(0))


def test_layers_by_hand():
    made = network(activation="tanh")
    h = ROWS @ made.first.kernel[...]
    for block in made.blocks:
        # Biases start at zero.
        h = h + np.tanh(np.tanh(h) @ block.first.kernel[...]) @ block.second.kernel[...]
    np.testing.assert_allclose(made(ROWS), np.tanh(h) @ made.last.kernel[...], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (0, 3)])
def test_leading_axes_are_batch(shape):
    assert network()(jnp.ones(shape)).shape == (*shape[:-1], 4)


def test_zero_last_starts_at_zero():
    assert np.all(network(zero_last=True, dropout=0.5)(ROWS) == 0)
    assert not np.any(np.all(network()(ROWS) == 0, axis=0))


def test_context_is_appended_and_repeated_for_leading_axes():
    made = network(context_dim=2)
    context = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(made(ROWS, context)[7], made(ROWS[7], context), rtol=1e-4, atol=1e-5)
    assert not np.allclose(made(ROWS, context), made(ROWS, 2 * context))


@pytest.mark.parametrize("context", [None, jnp.ones((64, 3))])
def test_a_context_of_the_wrong_width_is_refused(context):
    with pytest.raises(ValueError, match="expected a context of 2 features"):
        network(context_dim=2)(ROWS, context)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_reaches_every_parameter(dropout):
    made = network(context_dim=2, dropout=dropout)
    made.train()
    graph, params, rest = nnx.split(made, nnx.Param, ...)

    def loss(params):
        return jnp.sum(nnx.merge(graph, params, rest, copy=True)(ROWS, jnp.ones(2)) ** 2)

    for path, gradient in jax.tree.leaves_with_path(jax.grad(loss)(params)):
        assert np.any(gradient != 0), f"{jax.tree_util.keystr(path)} has no effect"


def test_dropout_acts_in_training_alone():
    made, without = network(dropout=0.4), network()
    np.testing.assert_array_equal(made(ROWS), without(ROWS))
    made.train()
    first, second = made(ROWS), made(ROWS)
    assert not np.allclose(first, without(ROWS))
    assert not np.allclose(first, second)
    made.eval()
    np.testing.assert_array_equal(made(ROWS), without(ROWS))


def test_dropout_keeps_the_expected_output_of_a_block():
    made = ResidualMLP(3, 4, 16, 1, dropout=0.4, rngs=nnx.Rngs(0))
    block, h = made.blocks[0], jnp.broadcast_to(ROWS[:1] @ made.first.kernel[...], (20_000, 16))
    expected = block(h[0], made.dropout)
    made.train()
    drawn = np.asarray(block(h, made.dropout))
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(axis=0) - expected) < 5 * error + 1e-5)
    assert error.max() > 0


def test_the_same_seed_drops_the_same_units():
    made, same = network(dropout=0.4), network(dropout=0.4)
    made.train()
    same.train()
    np.testing.assert_array_equal(made(ROWS), same(ROWS))


def test_a_new_key_drops_other_units():
    made, same, other = (network(dropout=0.4) for _ in range(3))
    for member, seed in ((made, 1), (same, 1), (other, 2)):
        member.train()
        nnx.reseed(member, dropout=seed)
    np.testing.assert_array_equal(made(ROWS), same(ROWS))
    assert not np.allclose(made(ROWS), other(ROWS))


def test_without_dropout_there_is_no_random_state():
    assert not jax.tree.leaves(nnx.state(network(), nnx.RngState))
    assert len(jax.tree.leaves(nnx.state(network(dropout=0.1), nnx.RngState))) == 2


def test_training_and_evaluation_share_one_state():
    made = network(dropout=0.4)
    evaluated, state = nnx.split(made)
    made.train()
    trained, same_state = nnx.split(made)
    assert trained != evaluated
    assert jax.tree.structure(state) == jax.tree.structure(same_state)
    np.testing.assert_array_equal(nnx.merge(evaluated, same_state)(ROWS), network()(ROWS))


def test_the_count_of_draws_passes_through_a_compiled_loop_that_refuses_some_steps():
    made = network(dropout=0.4)
    made.train()
    graph, params, buffers = nnx.split(made, nnx.Param, ...)

    @jax.jit
    def run(buffers, accepted):
        def step(buffers, good):
            stepped = nnx.merge(graph, params, buffers, copy=True)
            output = stepped(ROWS)
            new = nnx.split(stepped, nnx.Param, ...)[2]
            return jax.tree.map(lambda new, old: jnp.where(good, new, old), new, buffers), output

        return jax.lax.scan(step, buffers, accepted)

    after, outputs = run(buffers, jnp.array([True, False, True]))
    assert not np.allclose(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[1], outputs[2])
    assert int(after["dropout"]["rngs"]["count"][...]) == 4  # two blocks in each of the two accepted steps


def test_members_of_a_vmap_drop_different_units():
    def member(key):
        made = ResidualMLP(3, 4, 16, 2, dropout=0.4, rngs=nnx.Rngs(params=0, dropout=key))
        made.train()
        return made(ROWS)

    first, second = jax.vmap(member)(jax.random.split(jax.random.key(0), 2))
    assert not np.allclose(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1, got -0.1"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        ResidualMLP(3, 4, **options, rngs=nnx.Rngs(0))
