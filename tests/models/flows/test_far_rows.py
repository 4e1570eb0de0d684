"""Rows so far out that float32 cannot hold their log-density keep their order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from jaxflow.models import MAF, NICE, NSF, Glow, RealNVP
from jaxflow.models.flows.flow import drawn_in

DIM = 4
SCALES = (1.0, 10.0, 100.0, 1000.0)
DEEP = {
    "maf": MAF(layers=13, hidden=(16,)),
    "realnvp": RealNVP(layers=13, hidden=(16,)),
    "nice": NICE(layers=13, hidden=(16,)),
    "glow": Glow(layers=13, hidden=(16,)),
    "nsf": NSF(layers=13, hidden=(16,), bins=4),
}


def negative_log_densities(spec, dtype):
    """-log p of 100 rows in each of SCALES, `(4, 100)`, under a flow whose parameters are far from where they start."""
    rows = 3 * np.random.default_rng(0).normal(size=(100, DIM))
    model = spec.build(DIM, rngs=nnx.Rngs(0))
    for _, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        noise = np.random.default_rng(variable[...].size).normal(size=variable[...].shape)
        variable[...] += jnp.asarray(0.25 * noise, jnp.float32)
    graph, state = nnx.split(model)
    with jax.enable_x64(dtype == "float64"):
        state = jax.tree.map(lambda array: array.astype(dtype) if array.dtype == jnp.float32 else array, state)
        log_prob = jax.jit(nnx.merge(graph, state).log_prob)
        return -np.array([log_prob(jnp.asarray(scale * rows, dtype)) for scale in SCALES], np.float64)


@pytest.mark.parametrize("name", DEEP)
def test_a_deep_flow_in_float32_ranks_rows_far_out_as_in_float64(name):
    rough, exact = (negative_log_densities(DEEP[name], dtype) for dtype in ("float32", "float64"))
    assert np.isfinite(rough).all()
    assert np.corrcoef(rankdata(rough), rankdata(exact))[0, 1] > 0.98
    if name == "maf":  # what this is about: numbers that float32 does not hold
        assert exact.max() > float(jnp.finfo(jnp.float32).max)


@settings(deadline=None, max_examples=50)
@given(
    row=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8).filter(lambda row: max(map(abs, row)) > 1e-3),
    exponents=st.tuples(st.integers(0, 37), st.integers(0, 37)),
)
def test_drawing_in_keeps_the_order_along_a_ray_and_squares_finite(row, exponents):
    row = np.float32(row)
    near, far = (np.asarray(drawn_in(jnp.asarray(row * np.float32(10.0**power)))) for power in sorted(exponents))
    squares = [np.sum(values**2, dtype=np.float32) for values in (near, far)]
    assert np.isfinite(squares).all()
    assert (squares[0] < squares[1]) == (exponents[0] != exponents[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_within_reach_stay_as_they_are(dtype):
    with jax.enable_x64(dtype == np.float64):
        limit = np.sqrt(np.finfo(dtype).max / 3) / 8
        rows = np.array([[0.1, -2.3, 1e-30], [1e10, 7.0, -1e12], [limit * 0.999, -limit * 0.99, 0.0]], dtype)
        np.testing.assert_array_equal(drawn_in(jnp.asarray(rows)), rows)
        slopes = jax.grad(lambda values: jnp.sum(drawn_in(values)))(jnp.asarray(rows))
        np.testing.assert_array_equal(slopes, np.ones_like(rows))
        far = jax.grad(lambda values: jnp.sum(drawn_in(values)))(jnp.full((1, 3), 1e38, dtype))
        assert np.isfinite(far).all()
