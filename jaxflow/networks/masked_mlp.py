"""The masked network of autoregressive flows: MADE and ResMADE."""

from collections.abc import Sequence
from itertools import pairwise

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jaxflow.networks import masks
from jaxflow.networks.activations import ACTIVATIONS, Activation
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.mlp import join_context


class MaskedLinear(nnx.Module):
    """A linear layer, `x @ (kernel * mask) + bias`, whose masked connections do not exist.

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

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """Apply the layer."""
        return x @ jnp.where(self.mask[...], self.kernel[...], 0) + self.bias[...]


class ResidualBlock(nnx.Module):
    """`h + second(act(first(act(h))))`, all units keeping their degrees (Nash and Durkan 2019, ResMADE)."""

    def __init__(self, mask: Bool[Array, "width width"], activation: Activation, *, rngs: nnx.Rngs):
        self.activation = activation
        self.first = MaskedLinear(mask, rngs=rngs)
        self.second = MaskedLinear(mask, rngs=rngs)

    def __call__(self, h: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        """Apply the block."""
        act = ACTIVATIONS[self.activation]
        return h + self.second(act(self.first(act(h))))


class MaskedMLP(nnx.Module):
    """Parameters of each feature, given the features visited before it and the context.

    Germain et al. 2015 (MADE); with `residual`, the blocks of Nash and Durkan 2019 (ResMADE). The last layer starts at
    zero, so all parameters are zero at first and a transformer for which zero means identity starts as the identity.

    Args:
        dim: number of features.
        outputs_per_feature: number of parameters of each feature.
        hidden: widths of the hidden layers. With `residual`, the first is the width of all and each further one adds a
            block of two layers.
        order: the features in the order in which they are visited; by default 0, 1, ..., dim - 1.
        context_dim: number of context features; every output sees all of them.
        hidden_degrees: "sequential" or "random".
        residual: use residual blocks; all widths must then be equal.
        activation: name of the function between the layers.
        rngs: source of the initial weights and of random degrees.

    Raises:
        ValueError: if `hidden` is empty, or its widths differ although `residual` is set.
    """

    def __init__(
        self,
        dim: int,
        outputs_per_feature: int,
        hidden: Sequence[int] = (64, 64),
        *,
        order: Int[ArrayLike, "dim"] | None = None,
        context_dim: int = 0,
        hidden_degrees: masks.HiddenDegrees = "sequential",
        residual: bool = False,
        activation: Activation = "relu",
        rngs: nnx.Rngs,
    ):
        hidden = tuple(hidden)
        if not hidden:
            raise ValueError("hidden must hold at least one width: features reach outputs only through hidden units")
        if residual and len(set(hidden)) > 1:
            raise ValueError(f"residual blocks need hidden layers of one width, got {hidden}")
        self.dim = dim
        self.context_dim = context_dim
        self.outputs_per_feature = outputs_per_feature
        self.activation = activation
        self.residual = residual

        degrees = masks.feature_degrees(jnp.arange(dim) if order is None else jnp.asarray(order))
        self.degrees = Buffer(degrees)
        layer_degrees = [jnp.concatenate([degrees, jnp.zeros(context_dim, degrees.dtype)])]
        for width in hidden[:1] if residual else hidden:
            key = rngs.params() if hidden_degrees == "random" else None
            layer_degrees.append(
                masks.hidden_degrees(dim, width, conditional=context_dim > 0, kind=hidden_degrees, key=key)
            )
        layers: list[nnx.Module] = [
            MaskedLinear(masks.hidden_mask(below, above), rngs=rngs) for below, above in pairwise(layer_degrees)
        ]
        if residual:
            mask = masks.hidden_mask(layer_degrees[-1], layer_degrees[-1])
            layers += [ResidualBlock(mask, activation, rngs=rngs) for _ in hidden[1:]]
        self.layers = nnx.List(layers)
        output_degrees = jnp.repeat(degrees, outputs_per_feature)
        self.output = MaskedLinear(masks.output_mask(layer_degrees[-1], output_degrees), zero=True, rngs=rngs)

    def __call__(
        self, x: Float[Array, "*batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim outputs_per_feature"]:
        """The parameters of every feature, in the features' own order."""
        act = ACTIVATIONS[self.activation]
        h = join_context(x, context, self.context_dim)
        for layer in self.layers:
            # A residual block applies the activation itself, on the way in.
            h = layer(h) if self.residual else act(layer(h))
        parameters = self.output(act(h) if self.residual else h)
        return parameters.reshape(*x.shape[:-1], self.dim, self.outputs_per_feature)
