"""The state of a module as named arrays, and back."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxflow.errors import InputError
from jaxflow.networks.planned import PlannedArray, dtype_of


def state_arrays(module: nnx.Module) -> dict[str, np.ndarray]:
    """Every array of a module, parameters and buffers alike, under the path where it lives: `layers.0.kernel`."""
    variables = _named(nnx.state(module, nnx.Not(nnx.RngState)))
    return {name: np.asarray(variable[...]) for name, variable in variables.items()}


def require_planned(planned: Iterable[PlannedArray], arrays: Mapping[str, np.ndarray]) -> None:
    """Check that arrays are those of a module that is yet to be made: its plan is read no further than they reach.

    Raises:
        InputError: as `restore_state`.
    """
    left = dict(arrays)
    for name, shape, dtype in planned:
        _require_like(name, left.pop(name, None), shape, dtype_of(dtype))
    if left:
        raise InputError(f"the array {min(left):.80} belongs to no part of this model")


def restore_state(module: nnx.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Put arrays from `state_arrays` back into a module of the same structure, in place, bit for bit.

    Raises:
        InputError: if an array is missing, unknown, of another shape or type than the module's, or holds a number that
            is not finite.
    """
    state = nnx.state(module, nnx.Not(nnx.RngState))
    variables = _named(state)
    _require_fitting(variables, arrays)
    for name, variable in variables.items():
        variable[...] = jnp.asarray(arrays[name])
    nnx.update(module, state)
    jax.block_until_ready(jax.tree.leaves(nnx.state(module)))


def _named(state: Any) -> dict[str, Any]:
    """The variables of a state, under the path where they live."""
    return {".".join(str(part) for part in path): variable for path, variable in nnx.to_flat_state(state)}


def _require_fitting(variables: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    for name in sorted(variables.keys() | arrays.keys()):
        if name not in variables:
            raise InputError(f"the array {name:.80} belongs to no part of this model")
        expected = variables[name].get_value()
        _require_like(name, arrays.get(name), expected.shape, expected.dtype)


def _require_like(name: str, given: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if given is None:
        raise InputError(f"the array {name} is missing")
    if shape != given.shape:
        raise InputError(f"the array {name} has shape {given.shape}, expected {shape}")
    if dtype != given.dtype:
        raise InputError(f"the array {name} is {given.dtype}, expected {dtype}")
    if np.issubdtype(given.dtype, np.floating) and not np.all(np.isfinite(given)):
        raise InputError(f"the array {name} holds values that are not finite")
