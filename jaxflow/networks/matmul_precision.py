"""Matrix products of networks, in the precision that is asked for.

By JAX's default a float32 product keeps about 10 bits of each factor on NVIDIA GPUs (TF32) and 8 on TPUs (bfloat16).
The walk of an autoregressive layer and its pass would then disagree, and scores would depend on the device. So products
here keep all bits of float32, unless a fit asks for less in its training steps, or the user's own setting of
`jax_default_matmul_precision` says otherwise.

In bfloat16 the factors are rounded to 8 bits and the sums stay in float32, which matrix units of accelerators do
several times as fast. All else is left alone: activations, splines, exponentials, log-determinants need their digits.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BFLOAT16 = "bfloat16"
HIGHEST = jax.lax.Precision.HIGHEST

ProductPrecision: TypeAlias = Literal["float32", "float64", "tf32", "bfloat16"]

# JAX's name of each precision of products; it is part of what makes a traced program another one.
_SETTINGS = {"float32": "highest", "float64": "highest", "tf32": "tensorfloat32", "bfloat16": BFLOAT16}


class HasProducts:
    """Marks a module, other than a linear layer of Flax, whose products `products_in` reaches."""


def has_products(module: Any) -> bool:
    """Return whether a module has products that `products_in` reaches."""
    return getattr(module, "dot_general", None) is dot_general or isinstance(module, HasProducts)


def products_in(precision: ProductPrecision | None) -> AbstractContextManager:
    """Return a context in which the products that are traced have that precision; None leaves JAX's setting alone.

    "tf32" asks matrix units for TF32, which changes nothing on a CPU. "float32" and "float64" keep all bits.
    """
    return nullcontext() if precision is None else jax.default_matmul_precision(_SETTINGS[precision])


def exact_products() -> AbstractContextManager:
    """Return a context in which the products that are traced keep all bits of their factors, whatever JAX's setting.

    What is judged is computed in it: scores, draws, reasons, held-out losses and exported programs.
    """
    return products_in("float32")


def product_precision() -> jax.lax.Precision | None:
    """Return the precision for a product that is traced now: all bits, or None where JAX's setting is to decide."""
    return HIGHEST if _setting() is None else None


def matmul(x: Float[Array, "*batch inputs"], kernel: Float[Array, "inputs outputs"]) -> Float[Array, "*batch outputs"]:
    """Return `x @ kernel`."""
    if _setting() == BFLOAT16:
        return _half_matmul(x, kernel)
    return jnp.matmul(x, kernel, precision=product_precision())


def dot_general(x: Array, kernel: Array, dimension_numbers: Any, precision: Any = None, **options: Any) -> Array:
    """Return `matmul` as `nnx.Linear` calls it, which contracts the last axis of `x` with the first of `kernel`."""
    if _setting() == BFLOAT16:
        return _half_matmul(x, kernel)
    precision = product_precision() if precision is None else precision
    return jax.lax.dot_general(x, kernel, dimension_numbers, precision, **options)


def _setting() -> str | None:
    settings: Any = jax.config
    return settings.jax_default_matmul_precision


@jax.custom_jvp
def _half_matmul(x: Array, kernel: Array) -> Array:
    return jnp.matmul(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), preferred_element_type=x.dtype)


@_half_matmul.defjvp
def _half_matmul_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    x, kernel = primals
    x_tangent, kernel_tangent = tangents
    return _half_matmul(x, kernel), _rounded(x_tangent, kernel) + _rounded(x, kernel_tangent)


def _rounded(x: Array, kernel: Array) -> Array:
    """Return the product with its result in bfloat16 too, as the backward pass, its transpose, then has its factors."""
    return (x.astype(jnp.bfloat16) @ kernel.astype(jnp.bfloat16)).astype(x.dtype)
