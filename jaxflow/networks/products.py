"""Matrix products of networks, in bfloat16 where a fit asks for it.

In bfloat16 the factors keep 8 bits and the sums stay in float32, which matrix units of accelerators do several times as
fast. All else is left alone: activations, splines, exponentials and log-determinants need their digits.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BFLOAT16 = "bfloat16"


class InBfloat16:
    """What a module inherits whose products `products_in_bfloat16` reaches."""


def in_bfloat16(module: Any) -> bool:
    """Whether a module has products that `products_in_bfloat16` reaches."""
    return getattr(module, "dot_general", None) is dot_general or isinstance(module, InBfloat16)


def products_in_bfloat16(wanted: bool = True) -> AbstractContextManager:
    """A context in which the products that are traced have factors in bfloat16, if that is wanted.

    It is JAX's own setting, which is part of what makes a program another one; by itself it does nothing on a CPU.
    """
    return jax.default_matmul_precision(BFLOAT16) if wanted else nullcontext()


def matmul(x: Float[Array, "*batch inputs"], kernel: Float[Array, "inputs outputs"]) -> Float[Array, "*batch outputs"]:
    """`x @ kernel`."""
    return _half_matmul(x, kernel) if _wanted() else x @ kernel


def dot_general(x: Array, kernel: Array, dimension_numbers: Any, precision: Any = None, **options: Any) -> Array:
    """`matmul` as `nnx.Linear` calls it, which contracts the last axis of `x` with the first of `kernel`."""
    if _wanted():
        return _half_matmul(x, kernel)
    return jax.lax.dot_general(x, kernel, dimension_numbers, precision, **options)


def _wanted() -> bool:
    settings: Any = jax.config
    return settings.jax_default_matmul_precision == BFLOAT16


@jax.custom_jvp
def _half_matmul(x: Array, kernel: Array) -> Array:
    return jnp.matmul(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), preferred_element_type=x.dtype)


@_half_matmul.defjvp
def _half_matmul_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    x, kernel = primals
    x_tangent, kernel_tangent = tangents
    return _half_matmul(x, kernel), _rounded(x_tangent, kernel) + _rounded(x, kernel_tangent)


def _rounded(x: Array, kernel: Array) -> Array:
    """The product with its result in bfloat16 too: so are the products of the backward pass, which is its transpose."""
    return (x.astype(jnp.bfloat16) @ kernel.astype(jnp.bfloat16)).astype(x.dtype)
