"""The state of a module as named arrays, and back."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxflow.errors import InputError


def state_arrays(module: nnx.Module) -> dict[str, np.ndarray]:
    """Every array of a module, parameters and buffers alike, under the path where it lives: `layers.0.kernel`."""
    return {
        ".".join(str(part) for part in path): np.asarray(variable[...])
        for path, variable in nnx.to_flat_state(nnx.state(module, nnx.Not(nnx.RngState)))
    }


def restore_state(module: nnx.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Put arrays from `state_arrays` back into a module of the same structure, in place, bit for bit.

    Raises:
        InputError: if an array is missing, unknown, or of another shape or type than the module's.
    """
    state = nnx.state(module, nnx.Not(nnx.RngState))
    flat = {".".join(str(part) for part in path): variable for path, variable in nnx.to_flat_state(state)}
    for name in sorted(flat.keys() | arrays.keys()):
        if name not in arrays:
            raise InputError(f"the array {name} is missing")
        if name not in flat:
            raise InputError(f"the array {name} belongs to no part of this model")
        expected, given = flat[name][...], arrays[name]
        if expected.shape != given.shape:
            raise InputError(f"the array {name} has shape {given.shape}, expected {expected.shape}")
        both_floating = all(jnp.issubdtype(array.dtype, jnp.floating) for array in (given, expected))
        if expected.dtype != given.dtype and not both_floating:
            raise InputError(f"the array {name} is {given.dtype}, expected {expected.dtype}")
        if both_floating and not np.all(np.isfinite(given)):
            raise InputError(f"the array {name} holds values that are not finite")
    for name, variable in flat.items():
        variable[...] = jnp.asarray(arrays[name])
    nnx.update(module, state)
    jax.block_until_ready(jax.tree.leaves(nnx.state(module)))
