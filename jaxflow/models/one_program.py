"""Methods of models as one compiled program where they are called by themselves."""

import inspect
from collections.abc import Callable
from functools import lru_cache, partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax._src.core import trace_state_clean  # there is no public way to ask it

from jaxflow.config.compiled_programs import make_room_for_programs
from jaxflow.whole_numbers import draw_shape

Module = TypeVar("Module", bound=nnx.Module)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

MOST_STRUCTURES = 1024  # of models that are remembered
# Raised by code that needs to see the numbers, such as a layer that hands them to NumPy or branches on them.
NEEDS_NUMBERS = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)


def one_program(
    method: Callable[Concatenate[Module, Arguments], Result],
) -> Callable[Concatenate[Module, Arguments], Result]:
    """Let a method run as one program, compiled once for each structure of the module and each shape.

    Called by itself a method would run operation by operation, each compiled alone and for each shape, which takes
    seconds at the first call and, where there are loops, at every call. Inside `jax.jit`, `vmap`, `grad` and the like
    nothing is changed, nor under `jax.disable_jit()`. A method that changes the module, as dropout does in training,
    or has to see the numbers themselves runs operation by operation.

    Args:
        method: takes arrays, which may be None, and `sample_shape`, which the program depends on.
    """
    signature = inspect.signature(method)

    @wraps(method)
    def run(self: Module, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        settings: Any = jax.config
        if not trace_state_clean() or settings.jax_disable_jit:
            return method(self, *arguments, **named)
        given = signature.bind(self, *arguments, **named).arguments
        arrays = {name: _array(value) for name, value in list(given.items())[1:] if name != "sample_shape"}
        shape = draw_shape(given["sample_shape"]) if "sample_shape" in given else None
        leaves, tree = jax.tree.flatten(self)
        structure = (
            _structure(tree, method) if all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves) else None
        )
        if structure is None or structure.by_operations:
            return method(self, *arguments, **named)
        make_room_for_programs(structure, shape, str(jax.tree.map(_form, arrays)))
        try:
            return _run(leaves, arrays, structure=structure, sample_shape=shape)
        except _StoppedError as stopped:
            reason = stopped.reason
        if reason is not None and not isinstance(reason, NEEDS_NUMBERS):
            raise reason
        structure.by_operations = True
        return method(self, *arguments, **named)

    return run


class _Structure:
    """All of a module but its arrays, and the method that is called.

    Attributes:
        by_operations: whether the method cannot be compiled.
    """

    def __init__(self, tree: Any, method: Callable[..., Any]):
        self.tree = tree
        self.method = method
        try:
            hash(nnx.graphdef(jax.tree.unflatten(tree, [np.zeros(())] * tree.num_leaves)))
        except TypeError:  # a list, say, may be another one at the next call
            self.by_operations = True
        else:
            self.by_operations = False


class _StoppedError(Exception):
    """Raised while a method is traced; JAX adds remarks of its own to what leaves a program.

    Attributes:
        reason: what the method raised; None for one that changes its module.
    """

    def __init__(self, reason: Exception | None = None):
        self.reason = reason


@lru_cache(MOST_STRUCTURES)
def _structure(tree: Any, method: Callable[..., Any]) -> _Structure:
    return _Structure(tree, method)


@partial(jax.jit, static_argnames=("structure", "sample_shape"))
def _run(leaves: list[Any], arrays: dict[str, Any], *, structure: _Structure, sample_shape: Any) -> Any:
    module = jax.tree.unflatten(structure.tree, leaves)
    shape = {} if sample_shape is None else {"sample_shape": sample_shape}
    try:
        result = structure.method(module, **arrays, **shape)
    except Exception as reason:
        raise _StoppedError(reason) from None
    after, tree = jax.tree.flatten(module)
    if tree != structure.tree or any(new is not old for new, old in zip(after, leaves, strict=True)):
        raise _StoppedError
    return result


def _array(value: Any) -> Any:
    return value if value is None or isinstance(value, jax.Array) else jnp.asarray(value)


def _form(array: Any) -> Any:
    return array.shape, array.dtype
