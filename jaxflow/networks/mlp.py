"""The fully connected network."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeGuard

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped

from jaxflow.errors import InputError
from jaxflow.networks.activations import ACTIVATIONS, Activation
from jaxflow.networks.matmul_precision import dot_general
from jaxflow.networks.planned import Planned, PlannedArray, in_list


class MLP(nnx.Module):
    """A multilayer perceptron: linear layers with an activation between them and none after the last.

    >>> MLP(2, 3, (8,), rngs=nnx.Rngs(0))(jnp.ones((5, 2))).shape
    (5, 3)

    Args:
        dim_in: number of inputs.
        dim_out: number of outputs.
        hidden: width of each hidden layer; empty for a single linear map.
        context_dim: number of context features, appended to the inputs.
        activation: name of the function between the layers.
        zero_last: start the last layer at zero, so that the output is zero at first; what a layer whose
            parameters are the output needs in order to start as the identity.
        rngs: source of the initial weights.
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        hidden: Sequence[int],
        *,
        context_dim: int = 0,
        activation: Activation = "relu",
        zero_last: bool = False,
        rngs: nnx.Rngs,
    ):
        widths = [dim_in + context_dim, *hidden]
        self.context_dim = context_dim
        self.activation = activation
        layers = [linear(inputs, outputs, rngs=rngs) for inputs, outputs in pairwise(widths)]
        self.layers = nnx.List([*layers, linear(widths[-1], dim_out, zero=zero_last, rngs=rngs)])

    @staticmethod
    def planned(dim_in: int, dim_out: int, hidden: Sequence[int], *, context_dim: int = 0) -> Planned:
        """The arrays of a network of these sizes."""
        return in_list(
            "layers", (planned_linear(*sizes) for sizes in pairwise([dim_in + context_dim, *hidden, dim_out]))
        )

    def __call__(
        self, x: Float[Array, "*#batch dim_in"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim_out"]:
        """The outputs; `context` must be given exactly when the network was built with a `context_dim`."""
        h = join_context(x, context, self.context_dim)
        for layer in self.layers[:-1]:
            h = ACTIVATIONS[self.activation](layer(h))
        return self.layers[-1](h)


def linear(inputs: int, outputs: int, *, zero: bool = False, rngs: nnx.Rngs) -> Any:
    """An `nnx.Linear` whose weights start at zero or, before a ReLU, with unit gain (He et al. 2015)."""
    kernel_init = nnx.initializers.zeros_init() if zero else nnx.initializers.he_normal()
    # jax's default float is float64 only where the user switched it on; a network follows.
    return nnx.Linear(
        inputs,
        outputs,
        kernel_init=kernel_init,
        param_dtype=jnp.result_type(float),
        dot_general=dot_general,
        rngs=rngs,
    )


def planned_linear(inputs: int, outputs: int) -> Planned:
    """The arrays of a `linear` layer."""
    yield PlannedArray("kernel", (inputs, outputs))
    yield PlannedArray("bias", (outputs,))


def join_context(
    x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None, context_dim: int
) -> Float[Array, "*batch joined"]:
    """Append the context to the features, or refuse a context that is missing, unwanted or of the wrong width."""
    if not check_context(context, context_dim):
        return x
    x = for_each_context(x, context)
    context = jnp.broadcast_to(context, (*x.shape[:-1], context_dim))
    return jnp.concatenate([x, context.astype(x.dtype)], axis=-1)


def for_each_context(
    x: Shaped[Array, "*rows dim"], context: Shaped[Array, "*contexts context_dim"] | None
) -> Shaped[Array, "*batch dim"]:
    """The rows, repeated along the leading axes of a context that has more of them.

    Shapes are known before anything is computed, so rows that are as many as their contexts cost nothing.

    Raises:
        InputError: if the leading axes do not broadcast.
    """
    if context is None:
        return x
    try:
        batch = jnp.broadcast_shapes(x.shape[:-1], context.shape[:-1])
    except ValueError:
        raise InputError(
            f"rows have the shape {x.shape} and their context {context.shape}, expected leading axes that broadcast"
        ) from None
    return x if batch == x.shape[:-1] else jnp.broadcast_to(x, (*batch, x.shape[-1]))


def check_context(context: Shaped[Array, "..."] | None, context_dim: int) -> TypeGuard[Array]:
    """Whether there is a context.

    Raises:
        InputError: if it is missing, unwanted or of the wrong width.
    """
    given = 0 if context is None or not context.ndim else context.shape[-1]
    if given != context_dim:
        raise InputError(f"expected a context of {context_dim} features, got {given}")
    return context is not None
