"""Roots of increasing functions: found in every bracket, differentiated exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.bijectors.root import solve_increasing


def cubic(y, parameters):
    slope, bend = parameters
    return slope * y + bend * y**3, slope + 3 * bend * y**2


def kinked(y, parameters):
    return jnp.where(y < 0, 1e-3 * y, 1e3 * y), jnp.where(y < 0, 1e-3, 1e3) + 0 * parameters


BOUNDS = (jnp.full(5, -1e3), jnp.full(5, 1e3))


def test_finds_the_root_to_the_last_digits():
    y = jnp.array([-700.0, -1e-9, 0.0, 0.3, 512.5])
    parameters = (jnp.asarray(0.2), jnp.asarray(0.01))
    found = solve_increasing(cubic, cubic(y, parameters)[0], parameters, *BOUNDS)
    np.testing.assert_allclose(found, y, rtol=1e-14, atol=1e-14)


def test_a_kink_does_not_catch_it():
    y = jnp.array([-900.0, -1e-3, 0.0, 1e-6, 900.0])
    found = solve_increasing(kinked, kinked(y, 0.0)[0], jnp.asarray(0.0), *BOUNDS)
    np.testing.assert_allclose(found, y, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivatives_are_those_of_the_inverse_function(mode):
    parameters = (jnp.asarray(0.7), jnp.asarray(0.1))
    target = jnp.asarray(2.0)

    def root(target, parameters):
        return solve_increasing(cubic, target, parameters, jnp.asarray(-50.0), jnp.asarray(50.0))

    y = root(target, parameters)
    slope = 1 / (0.7 + 0.3 * y**2)
    by_target, (by_slope, by_bend) = mode(root, argnums=(0, 1))(target, parameters)
    np.testing.assert_allclose([by_target, by_slope, by_bend], [slope, -y * slope, -(y**3) * slope], rtol=1e-12)
    # Second order: d2y/dt2 = -f''(y) / f'(y)^3.
    np.testing.assert_allclose(mode(jax.grad(root))(target, parameters), -0.6 * y * slope**3, rtol=1e-12)


def test_batched_roots_are_the_single_ones():
    targets = jnp.linspace(-3, 3, 7)
    parameters = (jnp.linspace(0.1, 1, 7), jnp.asarray(0.1))

    def root(target, slope):
        return solve_increasing(cubic, target, (slope, parameters[1]), jnp.asarray(-90.0), jnp.asarray(90.0))

    together = jax.vmap(root)(targets, parameters[0])
    alone = jnp.stack([root(t, s) for t, s in zip(targets, parameters[0], strict=True)])
    np.testing.assert_allclose(together, alone, rtol=1e-14)
