"""The properties that every bijector has, checked for each case in `cases.py`."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file, save_file

from jaxflow.bijectors import Bijector
from jaxflow.models.named_arrays import restore_state, state_arrays
from jaxflow.networks import MLP
from tests.bijectors.cases import CASES, CONTEXT_DIM, DIM, shaken
from tests.bijectors.small_layers import ReflectedCoupling

every_case = pytest.mark.parametrize("name", CASES)
both_directions = pytest.mark.parametrize("direction", ["forward", "inverse"])
few = settings(max_examples=25, deadline=None, derandomize=True)

# Real numbers as hypothesis likes them: simple, tiny, and as large as still round-trips to 1e-9.
REALS = st.floats(-30, 30, allow_subnormal=False) | st.sampled_from([0.0, 1e-12, -1e-12, 1.0, -1.0])
ROWS = arrays(np.float64, (3, DIM), elements=REALS)
CLEAR_OF_KINKS = 1e-3
CONTEXTS = arrays(np.float64, (3, CONTEXT_DIM), elements=st.floats(-3, 3))


@cache
def built(name: str) -> Bijector:
    return shaken(CASES[name].make(nnx.Rngs(1)))


@partial(jax.jit, static_argnames=("graph", "direction"))
def apply(state, rows, context, *, graph, direction: str):
    """One program for each case, direction and shape; all tests that can, give it three rows."""
    return getattr(nnx.merge(graph, state), f"{direction}_and_log_det")(rows, context)


@cache
def compiled(name: str, direction: str):
    graph, state = nnx.split(built(name))
    return lambda rows, context: apply(state, rows, context, graph=graph, direction=direction)


@cache
def compiled_jacobian(name: str, direction: str):
    """The Jacobian of each row, and the value with its log-determinant: the layer sees one row without a batch."""
    method = getattr(built(name), f"{direction}_and_log_det")

    def value_twice(row, context):
        value, log_det = method(row, context)
        return value, (value, log_det)

    return jax.jit(jax.vmap(jax.jacfwd(value_twice, has_aux=True)))


@cache
def compiled_gradients(name: str):
    """The gradients of a loss of 64 rows of data by parameters and rows, and the values that it is made of."""
    graph, params, rest = nnx.split(built(name), nnx.Param, ...)

    def loss(params, rows, context):
        z, log_det = nnx.merge(graph, params, rest).inverse_and_log_det(rows, context)
        # Weighted, because rotations leave a plain sum of squares as it is.
        return jnp.mean(z**2 @ jnp.linspace(0.5, 1.5, DIM) - log_det), (z, log_det)

    return partial(jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True)), params)


def placed(rows: np.ndarray, space: str) -> jax.Array:
    """Bring real numbers into the space where a map is defined, well inside of it."""
    if space == "unit":
        return jnp.asarray(0.5 + 0.45 * np.tanh(rows / 10))
    if space == "symmetric":
        return jnp.asarray(0.9 * np.tanh(rows / 10))
    if space == "positive":
        return jnp.asarray(np.abs(rows) + 1e-3)
    if space == "circle":
        return jnp.asarray(np.pi * np.tanh(rows / 2))
    return jnp.asarray(rows)


def domain(name: str, direction: str) -> str:
    return CASES[name].latent if direction == "forward" else CASES[name].data


def start_at(name: str, direction: str, rows: np.ndarray) -> jax.Array:
    """Real numbers where a direction of a case begins, away from its kinks."""
    start = np.asarray(placed(rows, domain(name, direction)))  # to NumPy the smallest numbers are no zeros
    for kink in CASES[name].kinks:
        aside = kink + np.where(start < kink, -CLEAR_OF_KINKS, CLEAR_OF_KINKS)
        start = np.where(np.abs(start - kink) < CLEAR_OF_KINKS, aside, start)
    return jnp.asarray(start)


def context_for(name: str, context: np.ndarray) -> jax.Array | None:
    return jnp.asarray(context) if CASES[name].context_dim else None


@every_case
@both_directions
@few
@given(rows=ROWS, context=CONTEXTS)
def test_round_trip(name, direction, rows, context):
    back = "inverse" if direction == "forward" else "forward"
    # A squashing map loses digits of its argument long before it saturates, so stay at |z| < 3.
    scale = 0.1 if {"unit", "symmetric", "circle"} & {CASES[name].data, CASES[name].latent} else 1.0
    start, context = start_at(name, direction, rows * scale), context_for(name, context)
    there, log_det = compiled(name, direction)(start, context)
    again, log_det_back = compiled(name, back)(there, context)
    np.testing.assert_allclose(again, start, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.exact])
@both_directions
@few
@given(rows=ROWS, context=CONTEXTS)
def test_log_det_is_that_of_the_autodiff_jacobian(name, direction, rows, context):
    # Autodiff's own derivative of a squashing function, s (1 - s), loses its digits where s nears 1: stay at |z| < 3,
    # and nearer to 0 where another layer spreads the rows before they are squashed.
    scale = 0.1 if CASES[name].data != "real" or CASES[name].latent != "real" else 1.0
    scale *= 0.2 if name == "chain_onto_unit_cube" else 1.0
    start, context = start_at(name, direction, rows * scale), context_for(name, context)
    _, log_det = compiled(name, direction)(start, context)
    jacobian, _ = compiled_jacobian(name, direction)(start, context)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-8, atol=1e-8)


@every_case
@both_directions
def test_jit_equals_no_jit(name, direction):
    rows = start_at(name, direction, np.random.default_rng(0).normal(size=(3, DIM)))
    context = context_for(name, np.ones((3, CONTEXT_DIM)))
    plain = getattr(built(name), f"{direction}_and_log_det")(rows, context)
    for jitted, unjitted in zip(compiled(name, direction)(rows, context), plain, strict=True):
        np.testing.assert_allclose(jitted, unjitted, rtol=1e-12, atol=1e-12)


@every_case
@both_directions
def test_leading_axes_are_batch(name, direction):
    rows = start_at(name, direction, np.random.default_rng(1).normal(size=(2, 3, DIM)))
    context = context_for(name, np.random.default_rng(2).normal(size=(2, 3, CONTEXT_DIM)))
    method = compiled(name, direction)
    values, log_det = method(rows, context)
    assert values.shape == rows.shape
    assert log_det.shape == (2, 3)
    for i in range(2):
        given = rows[i], None if context is None else context[i]
        _, of_single_rows = compiled_jacobian(name, direction)(*given)
        for some_values, some_log_det in (method(*given), of_single_rows):
            np.testing.assert_allclose(some_values, values[i], rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(some_log_det, log_det[i], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.context_dim])
@both_directions
def test_one_row_under_many_contexts(name, direction):
    method = getattr(built(name), f"{direction}_and_log_det")
    values, log_det = jax.eval_shape(method, jnp.ones((4, 1, DIM)), jnp.ones((1, 2, CONTEXT_DIM)))
    assert (values.shape, log_det.shape) == ((4, 2, DIM), (4, 2))
    if name in ("coupling_conditional", "planar_conditional"):  # what is compiled in a moment
        row = start_at(name, direction, np.random.default_rng(8).normal(size=(1, DIM)))
        contexts = jnp.asarray(np.random.default_rng(9).normal(size=(3, CONTEXT_DIM)))
        expected = compiled(name, direction)(jnp.repeat(row, 3, axis=0), contexts)
        for found, each in zip(compiled(name, direction)(row[0], contexts), expected, strict=True):
            np.testing.assert_allclose(found, each, rtol=1e-12, atol=1e-12)


def far_out(name: str, direction: str, count: int) -> np.ndarray:
    """Rows as far out as the space reaches: five, again and again."""
    rows = np.resize([-1e6, -50.0, 0.0, 50.0, 1e6], count)[:, None] * np.ones(DIM)
    space = domain(name, direction)
    if space == "positive":
        return np.where(rows > 0, rows, 50.0)
    if space == "unit":
        return 1 / (1 + np.exp(-rows / 1e5))
    if space == "symmetric":
        return np.tanh(rows / 2e5)
    return np.pi * np.tanh(rows / 100) if space == "circle" else rows


@every_case
@both_directions
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_gradients_stay_finite_far_out(name, direction, dtype):
    if direction == "inverse" and dtype is np.float64:  # for which there is a program, of the parameters' gradients too
        rows, context = far_out(name, direction, 64), context_for(name, np.full((64, CONTEXT_DIM), 10.0))
        gradients, (values, log_det) = compiled_gradients(name)(jnp.asarray(rows), context)
        assert values.dtype == log_det.dtype == dtype
        assert all(np.isfinite(array).all() for array in jax.tree.leaves((values, log_det, gradients)))
        return
    bijector = jax.tree.map(lambda a: a.astype(dtype) if a.dtype == np.float64 else a, built(name))
    rows = jnp.asarray(far_out(name, direction, 5), dtype)
    context = context_for(name, np.full((5, CONTEXT_DIM), 10.0))
    context = None if context is None else context.astype(dtype)

    def summed(rows):
        values, log_det = getattr(bijector, f"{direction}_and_log_det")(rows, context)
        return jnp.sum(values) + jnp.sum(log_det), (values, log_det)

    gradient, (values, log_det) = jax.jit(jax.grad(summed, has_aux=True))(rows)
    assert values.dtype == log_det.dtype == dtype
    for array in (values, log_det, gradient):
        assert np.isfinite(array).all()


BOUNDED = [(way, name) for name in CASES for way in ("forward", "inverse") if domain(name, way) != "real"]


@pytest.mark.parametrize(("direction", "name"), BOUNDED)
def test_outside_the_domain_the_density_is_zero_and_nothing_is_nan(direction, name):
    # In the second row the last feature alone is outside, which a coupling transforms in every case.
    outside = jnp.asarray([[-5.0] * DIM, [0.5] * (DIM - 1) + [-1e9], [-1e9] * DIM])
    context = context_for(name, np.ones((3, CONTEXT_DIM)))
    values, log_det = compiled(name, direction)(outside, context)
    assert (np.isposinf if direction == "forward" else np.isneginf)(log_det).all()
    assert np.isfinite(values).all()
    gradient = jax.jit(jax.grad(lambda rows: jnp.sum(compiled(name, direction)(rows, context)[0])))(outside)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.identity])
def test_identity_at_first(name):
    graph, state = nnx.split(CASES[name].make(nnx.Rngs(0)))
    rows = start_at(name, "forward", np.random.default_rng(3).normal(size=(3, DIM)))
    context = context_for(name, np.ones((3, CONTEXT_DIM)))
    for direction in ("forward", "inverse"):
        values, log_det = apply(state, rows, context, graph=graph, direction=direction)
        np.testing.assert_allclose(values, rows, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(log_det, np.zeros(3), atol=1e-13)


@every_case
def test_every_parameter_matters(name):
    rows = start_at(name, "inverse", np.random.default_rng(4).normal(size=(64, DIM)))
    context = context_for(name, np.random.default_rng(5).normal(size=(64, CONTEXT_DIM)))
    (gradients, _), _ = compiled_gradients(name)(rows, context)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.any(gradient != 0), f"{jax.tree_util.keystr(path)} has no effect"


def learns(gradients) -> bool:
    """Whether a fit gets anywhere from where it has these gradients of the parameters."""
    leaves = jax.tree.leaves(gradients)
    return not leaves or any(np.any(np.abs(gradient) > 1e-12) for gradient in leaves)


@every_case
def test_some_parameter_has_a_gradient_at_the_start(name):
    _, params, _ = nnx.split(CASES[name].make(nnx.Rngs(1)), nnx.Param, ...)
    rows = start_at(name, "inverse", np.random.default_rng(4).normal(size=(64, DIM)))
    context = context_for(name, np.random.default_rng(5).normal(size=(64, CONTEXT_DIM)))
    (gradients, _), _ = compiled_gradients(name).func(params, rows, context)
    assert learns(gradients), "all gradients are zero: let the conditioner start small, not at zero"


def test_a_start_that_cannot_learn_is_found():
    dead, alive = (ReflectedCoupling(3, MLP(3, 4, (8,), zero_last=zero, rngs=nnx.Rngs(0))) for zero in (True, False))
    rows = jnp.asarray(np.random.default_rng(4).normal(size=(64, DIM)))
    for layer, expected in ((dead, False), (alive, True)):
        graph, params, rest = nnx.split(layer, nnx.Param, ...)

        def loss(params, graph=graph, rest=rest):
            z, log_det = nnx.merge(graph, params, rest).inverse_and_log_det(rows)
            return jnp.mean(z**2 @ jnp.linspace(0.5, 1.5, DIM) - log_det)

        assert learns(jax.jit(jax.grad(loss))(params)) == expected


def test_rows_keep_away_from_kinks():
    rows = np.array([[-1.0, -np.finfo(float).tiny, 0.0, 1e-5, 2.0]] * 3)
    expected = [-1.0, -CLEAR_OF_KINKS, CLEAR_OF_KINKS, CLEAR_OF_KINKS, 2.0]
    np.testing.assert_array_equal(start_at("coupling_two_slopes", "inverse", rows)[0], expected)
    np.testing.assert_array_equal(start_at("coupling", "inverse", rows), rows)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.context_dim])
@both_directions
def test_every_context_feature_matters(name, direction):
    rows = start_at(name, direction, np.random.default_rng(7).normal(size=(3, DIM)))
    context = np.random.default_rng(8).normal(size=(3, CONTEXT_DIM))
    values, _ = compiled(name, direction)(rows, jnp.asarray(context))
    for feature in range(CONTEXT_DIM):
        other = context.copy()
        other[:, feature] += 2.0
        moved, _ = compiled(name, direction)(rows, jnp.asarray(other))
        assert np.all(np.any(np.abs(moved - values) > 1e-6, axis=1)), f"context feature {feature} has no effect"


@every_case
def test_saved_and_loaded_bit_for_bit(name, tmp_path):
    saved = built(name)
    save_file(state_arrays(saved), tmp_path / "weights.safetensors")
    loaded = CASES[name].make(nnx.Rngs(99))
    restore_state(loaded, load_file(tmp_path / "weights.safetensors"))
    before, after = state_arrays(saved), state_arrays(loaded)
    assert before.keys() == after.keys()
    for key, array in before.items():
        assert array.dtype == after[key].dtype
        np.testing.assert_array_equal(array, after[key])
    rows = start_at(name, "forward", np.random.default_rng(6).normal(size=(3, DIM)))
    context = context_for(name, np.ones((3, CONTEXT_DIM)))
    graph, state = nnx.split(saved)
    for ours, theirs in zip(
        apply(state, rows, context, graph=graph, direction="forward"),
        apply(nnx.state(loaded), rows, context, graph=graph, direction="forward"),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
