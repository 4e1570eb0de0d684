from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxflow.training.engine.adamw import adam_start, adam_step


def steps(gradients, *, rate=0.1, scale=1.0, decay: Any = 0.0, good=None):
    params = jnp.array([1.0, -2.0, 3.0])
    state = adam_start(params)
    for index, gradient in enumerate(gradients):
        params, state = adam_step(
            params,
            jnp.asarray(gradient),
            state,
            learning_rate=jnp.asarray(rate),
            gradient_scale=jnp.asarray(scale),
            weight_decay=decay,
            good=jnp.asarray(True if good is None else good[index]),
        )
    return params, state


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_equals_optax(decay):
    with jax.enable_x64(True):
        gradients = np.random.default_rng(0).normal(size=(20, 3)) * np.array([1.0, 1e-6, 1e3])
        params: Any = jnp.array([1.0, -2.0, 3.0])
        optimizer = optax.adamw(0.1, weight_decay=decay)
        state = optimizer.init(params)
        for gradient in gradients:
            updates, state = optimizer.update(jnp.asarray(gradient), state, params)
            params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(steps(gradients, decay=decay)[0], params, rtol=1e-10)


def test_a_bad_step_changes_nothing_wherever_it_stands():
    gradients = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    nan = np.full(3, np.nan, np.float32)
    expected, expected_state = steps(gradients)
    given = [nan, gradients[0], gradients[1], nan, gradients[2]]
    params, state = steps(given, good=[False, True, True, False, True])
    np.testing.assert_array_equal(params, expected)
    jax.tree.map(np.testing.assert_array_equal, state, expected_state)


def test_the_gradient_is_scaled():
    gradients = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    np.testing.assert_allclose(steps(gradients, scale=0.25)[1].square, steps(0.25 * gradients)[1].square, rtol=1e-6)


def test_decay_of_each_parameter():
    params, _ = steps(np.zeros((1, 3), np.float32), decay=jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(params, [1.0, -2.0 * 0.95, 3.0 * 0.9], rtol=1e-6)


def test_arrays_of_a_tree_are_stepped_alike():
    params = (jnp.array([1.0, -2.0]), jnp.ones((2, 2)))
    state = adam_start(params)
    gradient = (jnp.array([0.5, 1.0]), jnp.full((2, 2), 0.5))
    scalars: Any = {"learning_rate": jnp.asarray(0.1), "gradient_scale": jnp.asarray(1.0), "good": jnp.asarray(True)}
    stepped, state = adam_step(params, gradient, state, weight_decay=(0.0, 0.3), **scalars)
    for index, decay in enumerate((0.0, 0.3)):
        alone, _ = adam_step(params[index], gradient[index], adam_start(params[index]), weight_decay=decay, **scalars)
        np.testing.assert_array_equal(stepped[index], alone)
    assert int(state.count) == 1
