"""Visiting the features of a masked network one after the other, at the price of one pass.

A feature's parameters depend on the features visited before it, so whoever wants to choose each feature given its
parameters must go step by step. Running the whole network at every step costs as many passes as there are features.
But a hidden unit of degree d sees nothing that is decided after step d: once computed, at that step, it never changes.
So each step computes the units of its own degree in every layer, in place, and then the parameters of its own
features. After the last step every unit has been computed exactly once.

Two things make it fast. Values lie features first, batch last, so that a step's units are contiguous. And steps come
in segments: what units of a segment receive from earlier segments is one large matrix product at the segment's
beginning, and only the connections within a segment are left for the small products of its steps.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxflow.networks.masked.masked_mlp import MaskedMLP
from jaxflow.networks.matmul_precision import matmul
from jaxflow.networks.mlp import check_context, for_each_context

# A segment more saves arithmetic, but each is compiled by itself, and a short one leaves little to save.
MOST_SEGMENTS = 4
STEPS_PER_SEGMENT = 10


class Slots(NamedTuple):
    """Places in order of degree, equally many for each degree, some of them empty.

    Attributes:
        index: which unit or feature stands in each place.
        filled: whether the place is in use.
    """

    index: Int[Array, "steps per_step"]
    filled: Bool[Array, "steps per_step"]


class Weights(NamedTuple):
    """One linear layer, cut along the walk.

    Attributes:
        earlier: for each segment, all its outputs by the inputs of the segments before it.
        own: for each segment and step, that step's outputs by the segment's inputs.
        bias: for each segment, of all its outputs; with the context's part where there is one, for each row.
    """

    earlier: list[Float[Array, "outputs inputs"]]
    own: Float[Array, "segments steps outputs inputs"]
    bias: Float[Array, "segments outputs #batch"]


def walk(
    network: MaskedMLP,
    visit: Callable[[Array, Array], tuple[Array, Array]],
    z: Float[Array, "*#batch dim"],
    context: Float[Array, "*#batch context_dim"] | None = None,
) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch dim"]]:
    """Visit the features in the network's order and choose each given its parameters.

    Args:
        network: gives the parameters of each feature from the features chosen before it.
        visit: called as `visit(z, parameters)` with shapes `(...)` and `(..., outputs_per_feature)`; returns the chosen
            values and one more number for each.
        z: what `visit` is given besides, for every feature.
        context: the context of the rows.

    Returns:
        The chosen values and the other numbers, each of the shape of `z`.

    Raises:
        ValueError: if dropout is on: every step would leave out other units.
    """
    if network.dropout is not None and not network.dropout.deterministic:
        raise ValueError("features cannot be visited one after the other while dropout is on; call eval() first")
    z = for_each_context(z, context)
    batch = z.shape[:-1]
    rows = math.prod(batch)
    z = z.astype(jnp.result_type(z, network.linears[0].kernel[...]))
    if not rows:
        return z, jnp.zeros_like(z)
    columns = z.reshape(rows, network.dim).T
    if check_context(context, network.context_dim):
        context = jnp.broadcast_to(context, (*batch, network.context_dim)).reshape(rows, network.context_dim)

    segments = min(MOST_SEGMENTS, -(-network.steps // STEPS_PER_SEGMENT))
    steps_per_segment = -(-network.steps // segments)
    segments = -(-network.steps // steps_per_segment)
    steps = segments * steps_per_segment
    # Features have degrees from 1, hidden units from 0: a step computes units and then the features one degree above.
    features = _slots(network.degrees[...] - 1, steps, network.features_per_step)
    units = [
        _slots(degrees[...], steps, count) for degrees, count in zip(network.units, network.units_per_step, strict=True)
    ]
    layers = _cut(network, features, units, context, segments)
    offered = jnp.where(features.filled[..., None], columns[features.index], 0)

    def step(own, inputs):
        weights, received, offered, number = inputs
        own = list(own)

        def apply(index, values):
            if index:  # the features, which the first layer is given, are put in place below
                own[index] = jax.lax.dynamic_update_slice_in_dim(own[index], values, number * len(values), 0)
            return received[index] + matmul(weights[index], own[index])

        parameters = network.compose(apply, offered)
        parameters = parameters.reshape(network.features_per_step, network.outputs_per_feature, rows)
        x, terms = visit(offered, jnp.moveaxis(parameters, 1, -1))
        own[0] = jax.lax.dynamic_update_slice_in_dim(own[0], x, number * len(x), 0)
        return own, terms

    # What each linear layer is given, for the segments done.
    given = [jnp.zeros((0, rows), z.dtype) for _ in layers]
    all_terms = []
    for segment in range(segments):
        received = [layer.bias[segment] for layer in layers]
        if segment:
            received = [
                values + matmul(layer.earlier[segment], below)
                for values, layer, below in zip(received, layers, given, strict=True)
            ]
        received = [
            jnp.broadcast_to(values, (len(values), rows)).reshape(steps_per_segment, -1, rows) for values in received
        ]
        own = [jnp.zeros((layer.own.shape[-1], rows), z.dtype) for layer in layers]
        turns = slice(segment * steps_per_segment, (segment + 1) * steps_per_segment)
        within = ([layer.own[segment] for layer in layers], received, offered[turns], jnp.arange(steps_per_segment))
        own, terms = jax.lax.scan(step, own, within)
        given = [jnp.concatenate([done, values]) for done, values in zip(given, own, strict=True)]
        all_terms.append(terms)

    # Features of one step stand in the order of their numbers.
    degrees = network.degrees[...]
    rank = jnp.sum(jnp.tril(degrees[:, None] == degrees, -1), axis=1)
    place = (degrees - 1) * network.features_per_step + rank
    x, terms = (values.reshape(-1, rows)[place].T.reshape(z.shape) for values in (given[0], jnp.concatenate(all_terms)))
    return x, terms


def _slots(degrees: Int[Array, "count"], steps: int, per_step: int) -> Slots:
    """Places for units or features by their degrees 0..steps-1; at most `per_step` may share one."""
    order = jnp.argsort(degrees, stable=True)
    first = jnp.searchsorted(degrees[order], jnp.arange(steps + 1))
    position = first[:-1, None] + jnp.arange(per_step)
    filled = position < first[1:, None]
    return Slots(order[jnp.minimum(position, degrees.size - 1)], filled)


def _cut(
    network: MaskedMLP, features: Slots, units: list[Slots], context: Array | None, segments: int
) -> list[Weights]:
    """The network's linear layers, outputs by inputs, cut into segments and steps."""
    count = network.outputs_per_feature
    parameters = Slots(
        (features.index[..., None] * count + jnp.arange(count)).reshape(len(features.index), -1),
        jnp.repeat(features.filled, count, axis=1),
    )
    cut = []
    for index, (linear, below, above) in enumerate(
        zip(network.linears, [features, *units], [*units, parameters], strict=True)
    ):
        kernel = linear.weights().T
        bias = linear.bias[...][:, None]
        if index == 0 and context is not None:
            bias = bias + matmul(kernel[:, network.dim :], context.T.astype(kernel.dtype))
        cut.append(_cut_layer(kernel, bias, below, above, segments))
    return cut


def _cut_layer(kernel: Array, bias: Array, below: Slots, above: Slots, segments: int) -> Weights:
    def by_segment(slots: Slots) -> Slots:
        return Slots(*(array.reshape(segments, -1) for array in slots))

    def entries(above: Slots, below: Slots) -> Array:
        filled = above.filled[..., :, None] & below.filled[..., None, :]
        places = (above.index[..., :, None], below.index[..., None, :])
        # The places are those of units that exist; checking them once more would double the time.
        return jnp.where(filled, kernel.at[places].get(mode="promise_in_bounds"), 0)

    steps = len(above.index) // segments
    outputs, inputs = by_segment(above), by_segment(below)
    own = entries(outputs, inputs)

    def earlier(segment: int) -> Array:
        before = Slots(*(array[:segment].reshape(-1) for array in inputs))
        return entries(Slots(*(array[segment] for array in outputs)), before)

    return Weights(
        earlier=[earlier(segment) for segment in range(segments)],
        own=own.reshape(segments, steps, -1, own.shape[-1]),
        bias=jnp.where(outputs.filled[..., None], bias[outputs.index], 0),
    )
