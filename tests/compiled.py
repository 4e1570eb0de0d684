"""Methods of modules as compiled programs.

Called as it is, a method runs operation by operation, each of which is compiled by itself, and that takes far longer.
"""

from functools import partial
from typing import Any

import jax
from flax import nnx


def call(module: nnx.Module, method: str, *arguments: Any) -> Any:
    """`getattr(module, method)(*arguments)`, one program for all modules of one structure."""
    graph, state = nnx.split(module)
    return _call(state, *arguments, graph=graph, method=method)


@partial(jax.jit, static_argnames=("graph", "method"))
def _call(state: Any, *arguments: Any, graph: Any, method: str) -> Any:
    return getattr(nnx.merge(graph, state), method)(*arguments)
