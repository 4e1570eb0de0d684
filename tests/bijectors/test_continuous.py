"""The continuous layer: known equations, the estimate of the trace, and the solver's options."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.bijectors import NeuralODE
from jaxflow.errors import InputError
from tests.bijectors.cases import shaken

DIM = 4
# The rows of a Hadamard matrix: signs, and orthogonal.
HADAMARD = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], float)


def layer(dim: int = DIM, probes: int | None = None, **options) -> NeuralODE:
    """The same weights whatever the options."""
    options = {"rtol": 1e-8, "atol": 1e-8, "max_steps": 256} | options
    built = NeuralODE(dim, (8,), probes=probes, **options, rngs=nnx.Rngs(0))
    noisy = shaken(built)
    assert isinstance(noisy, NeuralODE)
    return noisy


ROWS = np.random.default_rng(0).normal(size=(3, DIM))


def test_a_constant_velocity_shifts():
    moved = NeuralODE(2, (4,), rngs=nnx.Rngs(0))
    moved.velocity.layers[-1].bias[...] = jnp.array([1.5, -2.0])
    x, log_det = moved.forward_and_log_det(jnp.asarray(ROWS[:, :2]))
    np.testing.assert_allclose(x, ROWS[:, :2] + [1.5, -2.0], rtol=1e-12)
    np.testing.assert_array_equal(log_det, np.zeros(3))


def test_a_scalar_equation_in_closed_form():
    """dz/dt = tanh(z) has the solution sinh z(1) = e sinh z(0)."""
    made = NeuralODE(1, (1,), rtol=1e-12, atol=1e-12, solver="dopri8", rngs=nnx.Rngs(0))
    first, last = made.velocity.layers
    first.kernel[...], last.kernel[...] = jnp.array([[1.0], [0.0]]), jnp.array([[1.0]])
    z = jnp.linspace(-2, 2, 7)[:, None]
    x, log_det = made.forward_and_log_det(z)
    expected = np.arcsinh(np.e * np.sinh(z))
    np.testing.assert_allclose(x, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(log_det, 1 + np.log(np.cosh(z) / np.cosh(expected))[:, 0], rtol=1e-9)
    np.testing.assert_allclose(made.inverse(x), z, rtol=1e-9, atol=1e-12)


def test_the_velocity_sees_the_time():
    """dz/dt = tanh(t) shifts by log cosh 1."""
    made = NeuralODE(1, (1,), rtol=1e-12, atol=1e-12, solver="dopri8", rngs=nnx.Rngs(0))
    first, last = made.velocity.layers
    first.kernel[...], last.kernel[...] = jnp.array([[0.0], [1.0]]), jnp.array([[1.0]])
    np.testing.assert_allclose(made.forward(jnp.array([0.3])), [0.3 + np.log(np.cosh(1))], rtol=1e-10)


def test_orthogonal_probes_make_the_estimate_exact():
    estimated = layer(probes=DIM)
    estimated.probes[...] = jnp.asarray(HADAMARD)
    x, log_det = estimated.forward_and_log_det(jnp.asarray(ROWS))
    exact_x, exact = layer().forward_and_log_det(jnp.asarray(ROWS))
    np.testing.assert_allclose(x, exact_x, rtol=1e-7)
    np.testing.assert_allclose(log_det, exact, rtol=1e-7)


def test_one_probe_is_exact_in_one_dimension():
    rows = jnp.asarray(ROWS[:, :1])
    _, log_det = layer(1, probes=1).inverse_and_log_det(rows)
    np.testing.assert_allclose(log_det, layer(1).inverse_and_log_det(rows)[1], rtol=1e-10)


def test_the_mean_of_the_estimate_over_all_signs_is_exact():
    signs = 1.0 - 2 * ((np.arange(2**DIM)[:, None] >> np.arange(DIM)) & 1)
    graph, probes, rest = nnx.split(layer(probes=1), nnx.PathContains("probes"), ...)

    def estimate(one):
        replaced = jax.tree.map(lambda _: one[None], probes)
        return nnx.merge(graph, replaced, rest).forward_and_log_det(jnp.asarray(ROWS))[1]

    estimates = np.asarray(jax.jit(jax.vmap(estimate))(jnp.asarray(signs)))
    exact = layer().forward_and_log_det(jnp.asarray(ROWS))[1]
    assert np.all(estimates.std(axis=0) > 0.05)
    np.testing.assert_allclose(estimates.mean(axis=0), exact, rtol=1e-6)


def test_probes_are_signs_drawn_once():
    first, second = (NeuralODE(DIM, probes=50, rngs=nnx.Rngs(seed)).probes[...] for seed in (0, 1))
    np.testing.assert_array_equal(np.unique(np.asarray(first)), [-1, 1])
    assert np.any(first != second)
    estimated = layer(probes=2)
    once, again = (estimated.forward_and_log_det(jnp.asarray(ROWS))[1] for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_both_adjoints_give_the_same_gradient():
    def gradient(made):
        return jax.grad(lambda z: sum(map(jnp.sum, made.forward_and_log_det(z))))(jnp.asarray(ROWS))

    np.testing.assert_allclose(gradient(layer(adjoint="direct")), gradient(layer()), rtol=1e-8)


def test_a_tighter_tolerance_is_nearer_to_the_truth():
    truth = layer(rtol=1e-12, atol=1e-12, solver="dopri8").forward(jnp.asarray(ROWS))
    loose, tight = (
        np.abs(layer(rtol=tolerance, atol=tolerance).forward(jnp.asarray(ROWS)) - truth).max()
        for tolerance in (1e-3, 1e-8)
    )
    assert tight < 1e-7 < loose < 1e-2


def test_too_few_steps_for_the_tolerance_still_end():
    made = layer(rtol=1e-14, atol=1e-14, max_steps=32)
    x, log_det = made.forward_and_log_det(jnp.asarray(ROWS))
    truth, exact = layer().forward_and_log_det(jnp.asarray(ROWS))
    np.testing.assert_allclose(x, truth, atol=1e-3)
    np.testing.assert_allclose(log_det, exact, atol=1e-3)


def test_no_row_means_no_row():
    x, log_det = layer().forward_and_log_det(jnp.zeros((0, DIM)))
    assert x.shape == (0, DIM)
    assert log_det.shape == (0,)


def test_many_are_built_at_once():
    keys = jax.random.split(jax.random.key(0), 2)
    many = nnx.vmap(lambda key: NeuralODE(DIM, (8,), probes=2, rngs=nnx.Rngs(key)))(keys)
    assert many.probes[...].shape == (2, 2, DIM)
    assert nnx.vmap(lambda one: one.forward(jnp.zeros(DIM)))(many).shape == (2, DIM)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, "hidden must hold at least one width"),
        ({"probes": 0}, "probes must be at least 1, or None for the exact trace, got 0"),
        ({"rtol": 0.0}, "rtol and atol must be positive, got 0.0 and 1e-05"),
        ({"atol": -1.0}, "rtol and atol must be positive, got 1e-05 and -1.0"),
        ({"max_steps": 8}, "max_steps must be at least 16, got 8"),
    ],
)
def test_what_is_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        NeuralODE(DIM, **options, rngs=nnx.Rngs(0))


def test_without_diffrax_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(InputError, match=r"pip install jaxflow\[ode\]"):
        NeuralODE(DIM, rngs=nnx.Rngs(0))
