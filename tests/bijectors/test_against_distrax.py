"""Layers that distrax has too give what distrax gives."""

import distrax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.bijectors import Affine, Bijector, Chain, Coupling, ElementwiseAffine, Logit, LULinear, Sigmoid
from jaxflow.networks import MLP
from tests.bijectors.cases import DIM, shaken

ROWS = np.random.default_rng(0).normal(size=(20, DIM))


def blocks(scalar: distrax.Bijector) -> distrax.Bijector:
    return distrax.Block(scalar, 1)


def elementwise_affine() -> tuple[Bijector, distrax.Bijector]:
    layer = shaken(ElementwiseAffine(DIM))
    assert isinstance(layer, ElementwiseAffine)
    return layer, blocks(distrax.ScalarAffine(layer.shift[...], log_scale=layer.log_scale[...]))


def lu_linear() -> tuple[Bijector, distrax.Bijector]:
    """distrax takes one matrix: the entries of L below its diagonal, those of U on and above it."""
    layer = shaken(LULinear(DIM))
    assert isinstance(layer, LULinear)
    matrix = np.diag(np.exp(layer.log_diagonal[...]))
    matrix[np.tril_indices(DIM, -1)] = layer.lower[...]
    matrix.T[np.tril_indices(DIM, -1)] = layer.upper[...]
    return layer, distrax.LowerUpperTriangularAffine(jnp.asarray(matrix), layer.bias[...])


def coupling() -> tuple[Bijector, distrax.Bijector]:
    """distrax masks the input of its conditioner and computes parameters of all features; ours gathers."""
    mask = np.array([True, False, True, True, False])
    conditioner = MLP(3, 4, (16,), rngs=nnx.Rngs(0))

    def parameters(masked):
        ours = conditioner(masked[..., mask]).reshape(*masked.shape[:-1], 2, 2)
        return jnp.zeros((*masked.shape, 2)).at[..., ~mask, :].set(ours)

    def scale_and_shift(params):
        raw = params[..., 1]
        return distrax.ScalarAffine(params[..., 0], log_scale=raw / (1 + jnp.abs(raw) / 5.0))

    return Coupling(mask, Affine(5.0), conditioner), distrax.MaskedCoupling(
        jnp.asarray(mask), parameters, scale_and_shift
    )


def chain() -> tuple[Bijector, distrax.Bijector]:
    """distrax applies the last of its list first, ours the first."""
    ours, theirs = coupling()
    return Chain([ours, Sigmoid()]), distrax.Chain([blocks(distrax.Sigmoid()), theirs])


PAIRS = {
    "sigmoid": lambda: (Sigmoid(), blocks(distrax.Sigmoid())),
    "logit": lambda: (Logit(), blocks(distrax.Inverse(distrax.Sigmoid()))),
    "elementwise_affine": elementwise_affine,
    "lu_linear": lu_linear,
    "coupling": coupling,
    "chain": chain,
}


@pytest.mark.parametrize("name", PAIRS)
def test_equals_distrax(name):
    ours, theirs = PAIRS[name]()
    z = jnp.asarray(1 / (1 + np.exp(-ROWS)) if name == "logit" else ROWS)
    x, log_det = ours.forward_and_log_det(z)
    expected, expected_log_det = theirs.forward_and_log_det(z)
    # distrax's own sigmoid is an approximation below -9, good to about 1e-8.
    np.testing.assert_allclose(x, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(log_det, expected_log_det, rtol=1e-6)
    back, log_det = ours.inverse_and_log_det(x)
    expected, expected_log_det = theirs.inverse_and_log_det(x)
    np.testing.assert_allclose(back, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(log_det, expected_log_det, rtol=1e-6)
