"""The ways through a masked autoregressive layer agree with the plain one, a whole pass for every feature."""

import math

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.bijectors import Affine, MaskedAutoregressive, RationalQuadraticSpline, Shift
from jaxflow.networks import MaskedMLP
from jaxflow.networks.masked import masked_mlp
from tests.bijectors.cases import GRAPH, shaken
from tests.compiled import normal

WIRINGS = {
    "one feature": {"dim": 1},
    "two features": {"dim": 2},
    "two segments": {"dim": 12, "hidden": (30, 20)},
    "four segments, conditional": {"dim": 37, "hidden": (50, 50), "context_dim": 3},
    "fewer units than features": {"dim": 12, "hidden": (3,)},
    "three hidden layers": {"hidden": (12, 24, 6)},
    "residual blocks": {"dim": 13, "hidden": (20, 20, 20), "residual": True},
    "residual blocks, conditional": {"hidden": (20, 20), "residual": True, "context_dim": 3},
    "random degrees": {"dim": 13, "hidden": (40, 40), "hidden_degrees": "random"},
    "own order": {"order": np.array([2, 0, 4, 1, 3])},
    "graph, residual, conditional": {"adjacency": GRAPH, "residual": True, "context_dim": 3},
    "graph without edges": {"adjacency": np.zeros((5, 5), bool)},
}


def layer(name: str, transformer, sampling) -> MaskedAutoregressive:
    options = {"dim": 5, "hidden": (16, 16), **WIRINGS[name]}
    conditioner = MaskedMLP(outputs_per_feature=transformer.num_parameters, **options, rngs=nnx.Rngs(0))
    made = shaken(MaskedAutoregressive(transformer, conditioner, sampling=sampling), scale=0.3)
    assert isinstance(made, MaskedAutoregressive)
    return made


def feature_by_feature(layer: MaskedAutoregressive, z, context):
    """The definition: as many whole passes as there are steps, each fixing the features whose turn it is."""
    degrees = layer.conditioner.degrees[...]
    x, terms = jnp.zeros_like(z), jnp.zeros_like(z)
    for step in range(1, layer.conditioner.steps + 1):
        candidate, candidate_terms = layer.transformer.forward_and_log_det(z, layer.conditioner(x, context))
        x = jnp.where(degrees == step, candidate, x)
        terms = jnp.where(degrees == step, candidate_terms, terms)
    return x, jnp.sum(terms, axis=-1)


@pytest.mark.parametrize(
    ("name", "sampling"),
    [(name, "walk") for name in WIRINGS] + [(name, "jacobi") for name in ("own order", "graph, residual, conditional")],
)
def test_forward_is_that_of_whole_passes(name, sampling):
    transformer = RationalQuadraticSpline(bins=3) if name == "two segments" else Affine()
    made = layer(name, transformer, sampling)
    z = normal(1, (2, 3, made.conditioner.dim))
    context = normal(2, (3, 3)) if made.conditioner.context_dim else None
    x, log_det = jax.jit(made.forward_and_log_det)(z, context)
    expected, expected_log_det = jax.jit(lambda z, context: feature_by_feature(made, z, context))(z, context)
    np.testing.assert_allclose(x, expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(log_det, expected_log_det, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("sampling", ["walk", "jacobi"])
def test_gradients_are_those_of_whole_passes(sampling):
    made = layer("residual blocks, conditional", Affine(), sampling)
    z = normal(1, (4, 5))
    context = normal(2, (4, 3))
    graph, params, rest = nnx.split(made, nnx.Param, ...)

    def gradients(method):
        def loss(params, z, context):
            x, log_det = method(nnx.merge(graph, params, rest), z, context)
            return jnp.sum(jnp.sin(x)) + jnp.sum(log_det**2)

        return jax.tree.leaves(jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(params, z, context))

    ours = gradients(lambda layer, z, context: layer.forward_and_log_det(z, context))
    for gradient, expected in zip(ours, gradients(feature_by_feature), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-10)


def test_members_with_orders_of_their_own_walk_together():
    """What an ensemble does: the masks are not known when the program is made."""

    def member(key, z):
        order = jax.random.permutation(key, 6)
        conditioner = MaskedMLP(6, 2, (12,), order=order, hidden_degrees="random", rngs=nnx.Rngs(key))
        made = shaken(MaskedAutoregressive(Affine(), conditioner))
        x, log_det = made.forward_and_log_det(z)
        return x, log_det, made.inverse_and_log_det(x)

    z = normal(0, (3, 6))
    together = jax.jit(jax.vmap(member, in_axes=(0, None)))
    x, log_det, (back, back_log_det) = together(jax.random.split(jax.random.key(1), 4), z)
    np.testing.assert_allclose(back, jnp.broadcast_to(z, back.shape), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(back_log_det, -log_det, rtol=1e-9, atol=1e-9)
    assert len(np.unique(np.round(x[:, 0, 0], 6))) == 4


def multiplications(jaxpr) -> int:
    """Scalar multiplications in the matrix products of a program, loops counted as often as they run."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            total += equation.params.get("length", 1) * multiplications(inner)
    return total


def test_the_walk_costs_one_pass(monkeypatch):
    monkeypatch.setattr(masked_mlp, "pays", lambda: False)  # the halves of wide layers would cost less than a pass
    made = MaskedAutoregressive(Affine(), MaskedMLP(32, 2, (256, 256), rngs=nnx.Rngs(0)))
    rows = jnp.zeros((64, 32))
    one_pass = multiplications(jax.make_jaxpr(made.inverse_and_log_det)(rows).jaxpr)
    assert one_pass == 64 * (32 * 256 + 256 * 256 + 256 * 64)
    assert multiplications(jax.make_jaxpr(made.forward_and_log_det)(rows).jaxpr) <= one_pass


def test_jacobi_needs_few_passes_where_features_hardly_depend_on_each_other():
    calls = []

    class Counted(MaskedMLP):
        def __call__(self, x, context=None):
            jax.debug.callback(lambda: calls.append(1))
            return super().__call__(x, context)

    made = MaskedAutoregressive(Affine(), Counted(20, 2, (32,), rngs=nnx.Rngs(0)), sampling="jacobi")
    z = normal(1, (8, 20))
    for scale, most in ((1e-3, 8), (1.0, 22)):
        kernel = made.conditioner.linears[-1].kernel
        kernel[...] = scale * normal(2, kernel.shape)
        calls.clear()
        x, _ = jax.jit(made.forward_and_log_det)(z)
        jax.effects_barrier()
        assert 2 < len(calls) <= most
        np.testing.assert_allclose(x, feature_by_feature(made, z, None)[0], rtol=1e-11, atol=1e-11)


def test_jacobi_recovers_from_guesses_that_overflow():
    # Each feature is shifted by 1e200 times the one before it where that is positive, which only the guesses are.
    conditioner = MaskedMLP(3, 1, (2,), rngs=nnx.Rngs(0))
    first, last = conditioner.linears
    first.kernel[...] = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    last.kernel[...] = jnp.array([[0.0, 1e200, 0.0], [0.0, 0.0, 1e200]])
    last.bias[...] = jnp.array([-1.0, 0.0, 0.0])
    z = jnp.array([[1.0, -1.0, 5.0]])
    for sampling in ("walk", "jacobi"):
        made = MaskedAutoregressive(Shift(), conditioner, sampling=sampling)
        np.testing.assert_array_equal(jax.jit(made.forward)(z), [[0.0, -1.0, 5.0]])


def test_refusals():
    conditioner = MaskedMLP(3, 2, (8,), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="takes 8 parameters per feature, the conditioner gives 2"):
        MaskedAutoregressive(RationalQuadraticSpline(bins=3), conditioner)
    with pytest.raises(ValueError, match="tolerance must be positive, got 0"):
        MaskedAutoregressive(Affine(), conditioner, sampling="jacobi", tolerance=0.0)
    with pytest.raises(ValueError, match="expected a context of 0 features, got 2"):
        MaskedAutoregressive(Affine(), conditioner).forward_and_log_det(jnp.zeros((4, 3)), jnp.zeros((4, 2)))
