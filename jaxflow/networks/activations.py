"""Activation functions by name, so that a spec can hold one."""

from collections.abc import Callable
from typing import Literal

import jax
from jaxtyping import Array

Activation = Literal["relu", "leaky_relu", "elu", "silu", "gelu", "tanh"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "tanh": jax.numpy.tanh,
}
