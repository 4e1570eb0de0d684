"""The number type of a fit: bfloat16 in matrix products alone, float64 throughout, or a clear refusal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.bijectors import LULinear
from jaxflow.config.spec import parse_spec
from jaxflow.detection import FlowDetector, Percentile
from jaxflow.errors import InputError
from jaxflow.models import (
    CNF,
    IAF,
    MAF,
    NSF,
    AutoEncoderSpec,
    Flow,
    RealNVP,
    StandardNormal,
    VariationalAutoEncoderSpec,
)
from jaxflow.models.named_arrays import state_arrays
from jaxflow.networks.matmul_precision import dot_general, matmul, products_in
from jaxflow.training import FitSpec, fit

SPEC = FitSpec(epochs=20, batch_size=64, learning_rate=1e-2, patience=None)
HALF = SPEC.model_copy(update={"precision": "bfloat16"})


def rows(seed: int = 0, dim: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(512, dim)) @ np.triu(np.ones((dim, dim))) + 1.0


def factors(seed: int = 0):
    x_key, kernel_key = jax.random.split(jax.random.key(seed))
    return jax.random.normal(x_key, (50, 8)), jax.random.normal(kernel_key, (8, 6))


def test_factors_lose_digits_and_sums_do_not():
    x, kernel = factors()
    with products_in("bfloat16"):
        product = matmul(x, kernel)
    rounded = [np.asarray(array.astype(jnp.bfloat16), np.float64) for array in (x, kernel)]
    assert product.dtype == jnp.float32
    np.testing.assert_allclose(product, rounded[0] @ rounded[1], rtol=1e-5, atol=1e-5)
    assert np.abs(product - x @ kernel).max() > 1e-3
    np.testing.assert_array_equal(matmul(x, kernel), x @ kernel)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivatives_lose_digits_too_in_both_modes(mode):
    x, kernel = factors()

    def total(x, kernel):
        return jnp.sum(jnp.sin(matmul(x, kernel)))

    exact = mode(total, argnums=(0, 1))(x, kernel)
    with products_in("bfloat16"):
        rounded = mode(total, argnums=(0, 1))(x, kernel)
    for first, second in zip(exact, rounded, strict=True):
        assert second.dtype == jnp.float32
        scale = np.abs(first).max()
        assert 1e-5 * scale < np.abs(first - second).max() < 0.05 * scale


def test_a_linear_layer_of_flax_takes_the_same_product():
    x, kernel = factors()
    layer = nnx.Linear(8, 6, use_bias=False, dot_general=dot_general, rngs=nnx.Rngs(0))
    layer.kernel[...] = kernel
    with products_in("bfloat16"):
        np.testing.assert_array_equal(layer(x), matmul(x, kernel))


@pytest.mark.parametrize(
    "spec",
    [
        MAF(layers=2, hidden=(32, 32)),
        IAF(layers=2, hidden=(32,)),
        NSF(layers=2, hidden=(32,)),
        RealNVP(layers=2),
        AutoEncoderSpec(hidden=(8,)),
        VariationalAutoEncoderSpec(hidden=(8,)),
    ],
    ids=lambda spec: spec.kind,
)
def test_a_fit_in_bfloat16_is_close_to_one_in_float32_and_is_not_it(spec):
    models = [spec.build(4, rngs=nnx.Rngs(0)) for _ in range(2)]
    results = [
        fit(model, rows(), rows(1), train, key=jax.random.key(0))
        for model, train in zip(models, (SPEC, HALF), strict=True)
    ]
    exact, rounded = (min(result.history.column("valid_loss")) for result in results)
    assert exact != rounded
    assert rounded == pytest.approx(exact, abs=0.1)
    assert all(array.dtype != jnp.bfloat16 for array in state_arrays(results[1].model).values())


def test_only_matrix_products_of_a_step_are_in_bfloat16():
    """Splines, exponentials and log-determinants stay in float32: what is made in bfloat16 goes into a product."""
    model = NSF(layers=2, hidden=(16,)).build(4, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)

    def loss(state):
        return nnx.merge(graph, state).loss(jnp.asarray(rows(), jnp.float32))

    with products_in("bfloat16"):
        text = jax.make_jaxpr(jax.grad(loss, allow_int=True))(state)
    in_half = {
        equation.primitive.name
        for equation in _equations(text.jaxpr)
        if any(getattr(variable.aval, "dtype", None) == jnp.bfloat16 for variable in equation.outvars)
    }
    assert "dot_general" in in_half
    assert in_half <= {"convert_element_type", "dot_general", "transpose", "pjit", "jit"}


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def test_held_out_rows_are_judged_in_float32():
    result = fit(MAF(layers=1, hidden=(16,)).build(4, rngs=nnx.Rngs(0)), rows(), rows(1), HALF, key=jax.random.key(0))
    best = min(result.history.column("valid_loss"))
    assert float(result.model.loss(jnp.asarray(rows(1), jnp.float32))) == pytest.approx(best, rel=1e-6)


def test_a_continuous_flow_follows_too():
    spec = CNF(hidden=(8,), tolerance=1e-2)
    losses = []
    for train in (SPEC, HALF):
        train = train.model_copy(update={"epochs": 2})
        result = fit(spec.build(2, rngs=nnx.Rngs(0)), rows(dim=2), None, train, key=jax.random.key(0))
        losses.append(result.history.column("train_loss"))
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.2)


def test_a_detector_works_in_float64_by_itself():
    train = FitSpec(epochs=3, precision="float64")
    detector = FlowDetector(MAF(layers=1, hidden=(8,)), train=train, threshold=Percentile()).fit(rows())
    assert detector.float_type_ == "float64"
    assert {array.dtype for array in state_arrays(detector.model_).values() if array.dtype.kind == "f"} == {
        np.dtype(float)
    }
    scores = detector.anomaly_score(rows(1))
    assert np.any(scores.astype(np.float32) != scores)
    assert detector.sample(3, random_state=0).shape == (3, 4)
    assert jnp.result_type(float) == jnp.float32  # the process is as it was


def test_float32_can_be_had_in_a_process_of_float64():
    train = FitSpec(epochs=3, precision="float32")
    with jax.enable_x64(True):
        detector = FlowDetector(MAF(layers=1, hidden=(8,)), train=train, threshold=Percentile()).fit(rows())
    assert detector.float_type_ == "float32"
    plain = FlowDetector(MAF(layers=1, hidden=(8,)), train=train, threshold=Percentile()).fit(rows())
    np.testing.assert_array_equal(detector.anomaly_score(rows(1)), plain.anomaly_score(rows(1)))


def test_another_type_than_that_of_the_process_is_refused():
    spec = SPEC.model_copy(update={"precision": "float64"})
    with pytest.raises(
        InputError, match=r"precision = float64 and JAX's float type is float32: build and fit .*x64\(True\)"
    ):
        fit(MAF().build(4, rngs=nnx.Rngs(0)), rows(), None, spec, key=jax.random.key(0))


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match="precision"):
        parse_spec(FitSpec, {"precision": "float16"}, "here")


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_precision_for_a_model_without_a_network_is_refused(precision):
    model = Flow(StandardNormal(4), LULinear(4))
    with pytest.raises(InputError, match=f"precision = {precision} changes nothing for Flow: it has no network"):
        fit(model, rows(), None, SPEC.model_copy(update={"precision": precision}), key=jax.random.key(0))


def test_tf32_is_refused_on_a_cpu():
    model = MAF(layers=1, hidden=(8,)).build(4, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="precision = tf32 changes nothing on a CPU"):
        fit(model, rows(), None, SPEC.model_copy(update={"precision": "tf32"}), key=jax.random.key(0))
