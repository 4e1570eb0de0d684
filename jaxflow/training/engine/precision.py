"""The number type of a fit."""

from contextlib import AbstractContextManager, nullcontext

import jax
import jax.numpy as jnp
from flax import nnx

from jaxflow.errors import InputError
from jaxflow.networks.matmul_precision import has_products
from jaxflow.training.fit_spec import FitSpec


def float_type(spec: FitSpec | None) -> str:
    """The type of the parameters of a model that a spec, if there is one, wants: "float32" or "float64"."""
    if spec is None or spec.precision is None:
        return str(jnp.result_type(float))
    return "float64" if spec.precision == "float64" else "float32"


def floats_of(name: str) -> AbstractContextManager:
    """A context in which JAX's default float type is "float32" or "float64"."""
    return nullcontext() if str(jnp.result_type(float)) == name else jax.enable_x64(name == "float64")


def check_precision(spec: FitSpec, model: nnx.Module) -> None:
    """Refuse a precision that is not that of the process, or that would change nothing.

    Raises:
        InputError: if JAX's default float type is another than `spec` wants, a model without networks is to be
            fitted in tf32 or bfloat16, or tf32 is wanted of a CPU.
    """
    wanted, given = float_type(spec), str(jnp.result_type(float))
    if wanted != given:
        raise InputError(
            f"precision = {spec.precision} and JAX's float type is {given}: build and fit the model in "
            f"jax.enable_x64({wanted == 'float64'})"
        )
    if spec.precision not in ("tf32", "bfloat16"):
        return
    if not any(has_products(module) for _, module in nnx.iter_modules(model)):
        raise InputError(
            f"precision = {spec.precision} changes nothing for {type(model).__name__}: it has no network whose "
            "products it reaches"
        )
    if spec.precision == "tf32" and jax.default_backend() == "cpu":
        raise InputError(
            "precision = tf32 changes nothing on a CPU, whose products keep all bits of float32: expected float32 or "
            "bfloat16 here"
        )
