import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.networks import row_blocks
from jaxflow.networks.row_blocks import in_row_blocks
from tests.compiled import normal


@pytest.fixture(autouse=True)
def _few_rows_in_a_block(monkeypatch):
    monkeypatch.setattr(row_blocks, "ROWS", 8)


def network(weights, rows):
    first, second = weights
    return jnp.tanh(rows @ first) @ second


WEIGHTS = (normal(0, (3, 5)), normal(1, (5, 2)))


def rows_of(count):
    return normal(2, (count, 3))


@pytest.mark.parametrize("count", [0, 1, 8, 15, 16, 17, 41, 80])
def test_equals_the_whole(count):
    rows = rows_of(count)
    outputs = in_row_blocks(network, WEIGHTS, rows)
    assert outputs.shape == (count, 2)
    np.testing.assert_allclose(outputs, network(WEIGHTS, rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("count", "blocks"), [(15, None), (16, 2), (17, 3), (80, 10)])
def test_is_done_in_blocks(count, blocks):
    program = str(jax.make_jaxpr(lambda rows: in_row_blocks(network, WEIGHTS, rows))(rows_of(count)))
    assert ("scan[" in program) == (blocks is not None)
    assert f"length={blocks}" in program or blocks is None


@pytest.mark.parametrize("derivative", [jax.grad, jax.jacfwd])
@pytest.mark.parametrize("argument", [0, 1])
def test_derivatives_are_those_of_the_whole(derivative, argument):
    rows = rows_of(41)
    blocks = derivative(lambda *both: jnp.sum(in_row_blocks(network, *both) ** 2), argument)(WEIGHTS, rows)
    whole = derivative(lambda *both: jnp.sum(network(*both) ** 2), argument)(WEIGHTS, rows)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5), blocks, whole)


def test_under_vmap():
    rows = jnp.stack([rows_of(20), 2 * rows_of(20)])
    outputs = jax.jit(jax.vmap(lambda each: in_row_blocks(network, WEIGHTS, each)))(rows)
    for one, each in zip(outputs, rows, strict=True):
        np.testing.assert_allclose(one, network(WEIGHTS, each), rtol=1e-5, atol=1e-6)


def test_of_any_number_of_rows_it_is_done_as_a_whole():
    (count,) = jax.export.symbolic_shape("count")
    function = jax.jit(lambda rows: in_row_blocks(network, WEIGHTS, rows))
    exported = jax.export.export(function)(jax.ShapeDtypeStruct((count, 3), np.float32))
    np.testing.assert_allclose(exported.call(rows_of(41)), network(WEIGHTS, rows_of(41)), rtol=1e-5, atol=1e-6)
