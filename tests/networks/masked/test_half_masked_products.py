"""A masked network in two halves is the network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.networks import MaskedMLP, row_blocks
from jaxflow.networks.masked import half_masked_products as halves
from jaxflow.networks.masked import masked_mlp
from tests.bijectors.cases import shaken
from tests.compiled import normal

VARIANTS = {
    "plain": {},
    "three widths": {"hidden": (24, 16, 25)},
    "context": {"context_dim": 2},
    "residual": {"hidden": (24, 24, 24), "residual": True},
    "ordered": {"order": np.array([3, 0, 2, 4, 1])},
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("block", [row_blocks.ROWS, 2], ids=["all rows", "block by block"])
def test_equals_the_whole_network(monkeypatch, name, block):
    monkeypatch.setattr(halves, "HALVED_FROM", 8)
    monkeypatch.setattr(row_blocks, "ROWS", block)
    network = shaken(MaskedMLP(5, 3, **{"hidden": (24, 24), **VARIANTS[name]}, rngs=nnx.Rngs(0)))
    assert network.lower is not None
    x = normal(0, (7, 5))
    context = normal(1, (7, 2)) if network.context_dim else None

    def values_and_gradient(halved: bool):
        monkeypatch.setattr(masked_mlp, "pays", lambda: halved)
        # What the masks hide may hold anything, and the halves must not look at it.
        graph, params, rest = nnx.split(network, nnx.Param, ...)

        def loss(params):
            values = nnx.merge(graph, params, rest)(x, context)
            return jnp.sum(values**2), values

        # A derivative never goes block by block, so the values are asked for without one.
        return jax.jit(loss)(params)[1], jax.tree.leaves(jax.jit(jax.grad(loss, has_aux=True))(params)[0])

    (whole, expected), (cut, gradient) = values_and_gradient(False), values_and_gradient(True)
    np.testing.assert_allclose(cut, whole, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(gradient, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_a_quarter_of_the_arithmetic_is_saved(monkeypatch):
    monkeypatch.setattr(halves, "HALVED_FROM", 8)
    network = MaskedMLP(33, 2, (512, 512), rngs=nnx.Rngs(0))
    x = jnp.ones((64, 33))

    def operations(halved: bool) -> float:
        monkeypatch.setattr(masked_mlp, "pays", lambda: halved)
        cost: Any = jax.jit(lambda x: network(x)).lower(x).compile().cost_analysis()
        return cost["flops"]

    assert operations(True) < 0.8 * operations(False)


@pytest.mark.parametrize("options", [{"hidden_degrees": "random"}, {"adjacency": np.tri(5, k=-1, dtype=bool)}])
def test_networks_whose_degrees_are_not_known_are_left_whole(monkeypatch, options):
    monkeypatch.setattr(halves, "HALVED_FROM", 8)
    assert MaskedMLP(5, 3, (24, 24), **options, rngs=nnx.Rngs(0)).lower is None


def test_narrow_layers_and_layers_of_one_degree_are_left_whole():
    assert MaskedMLP(5, 3, (512, 200), rngs=nnx.Rngs(0)).lower is None
    assert MaskedMLP(2, 3, (512, 512), rngs=nnx.Rngs(0)).lower is None
    assert MaskedMLP(5, 3, (512, 512), rngs=nnx.Rngs(0)).lower == (256, 256, 9)
