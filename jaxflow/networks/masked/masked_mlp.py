"""The masked network of autoregressive flows: MADE and ResMADE."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jaxflow.networks.activations import ACTIVATIONS, Activation
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.dropout import make_dropout
from jaxflow.networks.masked import masks
from jaxflow.networks.masked.half_masked_products import cut_in_halves, joined, linear_in_halves, pays
from jaxflow.networks.matmul_precision import HasProducts, matmul
from jaxflow.networks.mlp import join_context
from jaxflow.networks.planned import Planned, PlannedArray, in_list
from jaxflow.networks.row_blocks import in_row_blocks


class MaskedLinear(nnx.Module, HasProducts):
    """A linear layer, `x @ (kernel * mask) + bias`, whose masked connections do not exist.

    >>> MaskedLinear(jnp.array([[True, False], [True, True]]), rngs=nnx.Rngs(0))(jnp.ones((5, 2))).shape
    (5, 2)

    Args:
        mask: which connections exist, inputs by outputs.
        zero: start at zero.
        rngs: source of the initial weights.
    """

    def __init__(self, mask: Bool[Array, "inputs outputs"], *, zero: bool = False, rngs: nnx.Rngs):
        dtype = jnp.result_type(float)
        initializer = nnx.initializers.zeros_init() if zero else nnx.initializers.he_normal()
        self.mask = Buffer(mask)
        self.kernel = nnx.Param(initializer(rngs.params(), mask.shape, dtype))
        self.bias = nnx.Param(jnp.zeros(mask.shape[-1], dtype))

    @staticmethod
    def planned(inputs: int, outputs: int) -> Planned:
        """The arrays of a layer of these sizes."""
        yield PlannedArray("mask", (inputs, outputs), "bool")
        yield PlannedArray("kernel", (inputs, outputs))
        yield PlannedArray("bias", (outputs,))

    def weights(self) -> Float[Array, "inputs outputs"]:
        """The kernel with zeros where the mask forbids a connection."""
        return jnp.where(self.mask[...], self.kernel[...], 0)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """Apply the layer."""
        return matmul(x, self.weights()) + self.bias[...]


class Wiring(NamedTuple):
    """Who may see whom in a masked network.

    Attributes:
        degrees: step (from 1) at which each feature is visited.
        units: degree of each unit of each hidden layer, ascending.
        masks: the masks into the hidden layers, then, last, the mask from hidden units to features.
        within: the mask between units of the last hidden layer's kind, for residual blocks.
        features_per_step: the most features visited at one step.
        units_per_step: the most units of one degree, for each hidden layer.
    """

    degrees: Int[Array, "dim"]
    units: list[Int[Array, "width"]]
    masks: list[Bool[Array, "inputs outputs"]]
    within: Bool[Array, "width width"]
    features_per_step: int
    units_per_step: tuple[int, ...]


class MaskedMLP(nnx.Module):
    """Parameters of each feature, given the features visited before it and the context.

    Germain et al. 2015 (MADE); with `residual`, the blocks `h + second(act(first(act(h))))` of Nash and Durkan 2019
    (ResMADE). The last layer starts at zero, so all parameters are zero at first and a transformer for which zero means
    identity starts as the identity.

    >>> MaskedMLP(3, 2, (8,), rngs=nnx.Rngs(0))(jnp.ones((5, 3))).shape
    (5, 3, 2)

    Args:
        dim: number of features.
        outputs_per_feature: number of parameters of each feature.
        hidden: widths of the hidden layers. With `residual`, the first is the width of all and each further one adds a
            block of two layers.
        order: the features in the order in which they are visited; by default 0, 1, ..., dim - 1.
        adjacency: instead of an order, which features each feature depends on: True at (i, j) where the parameters of i
            see feature j. The graph must have no cycle (Wehenkel and Louppe 2021).
        context_dim: number of context features; every output sees all of them.
        hidden_degrees: "sequential" or "random"; a graph has no use for it.
        residual: use residual blocks; all widths must then be equal.
        dropout: share of units that a training step leaves out of residual blocks, before their second layer; off until
            `train()` is called, and refused by the walk, which visits the units one after the other.
        activation: name of the function between the layers.
        rngs: source of the initial weights and of random degrees.

    Attributes:
        linears: all linear layers, from the features to the parameters.
        steps: number of steps in which the features can be visited one after the other.

    Raises:
        ValueError: if `order` is no permutation or `adjacency` not `dim` by `dim`, `hidden` is empty, its widths differ
            although `residual` is set, an order and a graph are given together, the graph has a cycle or more different
            sets of parents than a layer has units, or `dropout` is not in [0, 1) or given without `residual`.
    """

    def __init__(
        self,
        dim: int,
        outputs_per_feature: int,
        hidden: Sequence[int] = (64, 64),
        *,
        order: Int[ArrayLike, "dim"] | None = None,
        adjacency: Bool[ArrayLike, "dim dim"] | None = None,
        context_dim: int = 0,
        hidden_degrees: masks.HiddenDegrees = "sequential",
        residual: bool = False,
        dropout: float = 0.0,
        activation: Activation = "relu",
        rngs: nnx.Rngs,
    ):
        hidden = tuple(hidden)
        if not hidden:
            raise ValueError("hidden must hold at least one width: features reach outputs only through hidden units")
        if residual and len(set(hidden)) > 1:
            raise ValueError(f"residual blocks need hidden layers of one width, got {hidden}")
        if order is not None and adjacency is not None:
            raise ValueError("give an order or an adjacency, not both: a graph brings its own order")
        if dropout and not residual:
            raise ValueError(f"dropout acts in residual blocks, got dropout = {dropout} without them")
        _check_wiring(dim, order, adjacency)
        self.dim = dim
        self.context_dim = context_dim
        self.outputs_per_feature = outputs_per_feature
        self.activation = activation
        self.residual = residual

        widths = hidden[:1] if residual else hidden
        natural = order is None
        order = np.arange(dim) if order is None else order
        if adjacency is None:
            wiring = _by_degrees(order, widths, context_dim > 0, hidden_degrees, rngs)
            self.steps = dim
        else:
            adjacency = np.asarray(adjacency, bool)
            wiring = _by_graph(adjacency, widths)
            self.steps = int(masks.graph_levels(adjacency).max())
        self.degrees = Buffer(wiring.degrees)
        self.features_per_step = wiring.features_per_step
        blocks = 2 * (len(hidden) - 1) if residual else 0
        self.units = nnx.List([Buffer(units) for units in wiring.units + [wiring.units[-1]] * blocks])
        self.units_per_step = wiring.units_per_step + wiring.units_per_step[-1:] * blocks

        # Every hidden unit and every output sees the whole context, which comes after the features.
        first = jnp.concatenate([wiring.masks[0], jnp.ones((context_dim, widths[0]), bool)])
        into_hidden = [first, *wiring.masks[1:-1], *[wiring.within] * blocks]
        output = jnp.repeat(wiring.masks[-1], outputs_per_feature, axis=1)
        self.linears = nnx.List(
            [MaskedLinear(mask, rngs=rngs) for mask in into_hidden] + [MaskedLinear(output, zero=True, rngs=rngs)]
        )
        self.dropout = make_dropout(dropout, rngs=rngs)

        # For each linear layer, how many of its outputs belong to the lower half; None for a network left whole.
        self.lower: tuple[int, ...] | None = None
        if adjacency is None and hidden_degrees == "sequential":
            halves = cut_in_halves([masks.sequential_degrees(dim, w, conditional=context_dim > 0) for w in widths])
            if halves is not None:
                highest, units = halves
                # Features in another order than their own have their parameters in both halves.
                features = highest + 1 if natural else 0
                self.lower = (*units, *units[-1:] * blocks, features * outputs_per_feature)

    @staticmethod
    def planned(
        dim: int, outputs_per_feature: int, hidden: Sequence[int], *, context_dim: int = 0, residual: bool = False
    ) -> Planned:
        """The arrays of a network of these sizes."""
        units = [hidden[0]] * (2 * len(hidden) - 1) if residual else list(hidden)
        yield PlannedArray("degrees", (dim,), "int")
        for index, width in enumerate(units):
            yield PlannedArray(f"units.{index}", (width,), "int")
        sizes = pairwise([dim + context_dim, *units, dim * outputs_per_feature])
        yield from in_list("linears", (MaskedLinear.planned(*pair) for pair in sizes))

    def __call__(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim outputs_per_feature"]:
        """The parameters of every feature, in the features' own order."""
        inputs = join_context(x, context, self.context_dim)
        if self.lower is not None and pays():
            weights = [(linear.weights(), linear.bias[...]) for linear in self.linears]
            whole = inputs.ndim != 2 or self.dropout is not None
            parameters = self._in_halves(weights, inputs) if whole else in_row_blocks(self._in_halves, weights, inputs)
        else:
            parameters = self.compose(lambda index, values: self.linears[index](values), inputs)
        return parameters.reshape(*x.shape[:-1], self.dim, self.outputs_per_feature)

    def _in_halves(self, weights: Sequence[tuple[Array, Array]], inputs: Array) -> Array:
        lower = self.lower
        assert lower is not None
        return joined(self.compose(lambda index, h: linear_in_halves(h, *weights[index], lower[index]), inputs))

    def compose(self, apply: Callable[[int, Any], Any], inputs: Array) -> Any:
        """The network, with `apply(index, values)` in the place of its linear layers.

        How the layers are put together is said here alone; `__call__` applies them to whole arrays or to their halves,
        the walk through the features to a few units at a time.
        """
        act = partial(jax.tree.map, ACTIVATIONS[self.activation])
        last = len(self.linears) - 1
        h = apply(0, inputs)
        if self.residual:
            for index in range(1, last, 2):
                inner = act(apply(index, act(h)))
                inner = inner if self.dropout is None else jax.tree.map(self.dropout, inner)
                h = jax.tree.map(jnp.add, h, apply(index + 1, inner))
        else:
            for index in range(1, last):
                h = apply(index, act(h))
        return apply(last, act(h))


def _check_wiring(dim: int, order: Any, adjacency: Any) -> None:
    # The orders of members that are built together are not known on the host.
    if order is not None and not isinstance(order, Tracer):
        order = np.asarray(order)
        if sorted(order.tolist()) != list(range(dim)):
            raise ValueError(f"order must be a permutation of 0..{dim - 1}, got {order.tolist()}")
    if adjacency is not None and np.shape(adjacency) != (dim, dim):
        raise ValueError(f"adjacency must have the shape {(dim, dim)}, got {np.shape(adjacency)}")


def _by_degrees(order, widths: Sequence[int], conditional: bool, kind: masks.HiddenDegrees, rngs: nnx.Rngs) -> Wiring:
    degrees = masks.feature_degrees(jnp.asarray(order))
    dim = degrees.size
    units = [
        masks.hidden_degrees(
            dim, width, conditional=conditional, kind=kind, key=rngs.params() if kind == "random" else None
        )
        for width in widths
    ]
    return Wiring(
        degrees=degrees,
        units=units,
        masks=[masks.hidden_mask(below, above) for below, above in pairwise([degrees, *units])]
        + [masks.output_mask(units[-1], degrees)],
        within=masks.hidden_mask(units[-1], units[-1]),
        features_per_step=1,
        units_per_step=tuple(masks.largest_group(dim, width, conditional=conditional, kind=kind) for width in widths),
    )


def _by_graph(adjacency: Bool[np.ndarray, "dim dim"], widths: Sequence[int]) -> Wiring:
    levels = masks.graph_levels(adjacency)
    sets, units = [], []
    for width in widths:
        seen = masks.graph_units(adjacency, width)
        degrees = np.max(np.where(seen, levels, 0), axis=1)
        ascending = np.argsort(degrees, kind="stable")
        sets.append(seen[ascending])
        units.append(degrees[ascending])

    def contained(inner, outer):
        """True at (i, j) where set i of `inner` lies within set j of `outer`."""
        return jnp.asarray(~(inner[:, None, :] & ~outer[None, :, :]).any(axis=-1))

    return Wiring(
        degrees=jnp.asarray(levels),
        units=[jnp.asarray(degrees) for degrees in units],
        masks=[jnp.asarray(sets[0].T)]
        + [contained(below, above) for below, above in pairwise(sets)]
        + [contained(sets[-1], adjacency)],
        within=contained(sets[-1], sets[-1]),
        features_per_step=int(np.bincount(levels).max()),
        units_per_step=tuple(int(np.bincount(degrees).max()) for degrees in units),
    )
