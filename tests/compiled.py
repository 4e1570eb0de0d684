"""What tests do so as to compile little, and processes with several devices.

Called as it is, a method runs operation by operation, each of which is compiled by itself; and JAX compiles a program
for each shape of random numbers. Both take far longer than what is tested.
"""

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def normal(seed: int, shape: tuple[int, ...], dtype: Any = None) -> jax.Array:
    """Standard normal numbers, of the default type or another."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def call(module: nnx.Module, method: str, *arguments: Any) -> Any:
    """`getattr(module, method)(*arguments)`, one program for all modules of one structure."""
    graph, state = nnx.split(module)
    return _call(state, *arguments, graph=graph, method=method)


@partial(jax.jit, static_argnames=("graph", "method"))
def _call(state: Any, *arguments: Any, graph: Any, method: str) -> Any:
    return getattr(nnx.merge(graph, state), method)(*arguments)


def with_devices(count: int) -> dict[str, str]:
    """The environment of a process that takes the CPU for so many devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
