"""The fully connected network of residual blocks, with dropout."""

from flax import nnx
from jaxtyping import Array, Float

from jaxflow.networks.activations import ACTIVATIONS, Activation
from jaxflow.networks.dropout import make_dropout
from jaxflow.networks.mlp import join_context, linear, planned_linear
from jaxflow.networks.planned import Planned, in_list, within


class DropoutBlock(nnx.Module):
    """`h + second(dropout(act(first(act(h)))))`.

    Args:
        width: number of units.
        activation: name of the function before each layer.
        rngs: source of the initial weights.
    """

    def __init__(self, width: int, activation: Activation, *, rngs: nnx.Rngs):
        self.activation = activation
        self.first = linear(width, width, rngs=rngs)
        self.second = linear(width, width, rngs=rngs)

    def __call__(self, h: Float[Array, "*batch width"], dropout: nnx.Dropout | None) -> Float[Array, "*batch width"]:
        """Apply the block."""
        act = ACTIVATIONS[self.activation]
        inner = act(self.first(act(h)))
        return h + self.second(inner if dropout is None else dropout(inner))


class ResidualMLP(nnx.Module):
    """A linear layer, residual blocks of two layers each, and a linear layer (Durkan et al. 2019, appendix B).

    Dropout acts inside each block, before its second layer. It is off until `train()` is called on this module or on
    one that holds it, and off again after `eval()`. While it is on, each call draws other units, so a bijector that
    uses the network then has an inverse only in expectation; switch it on for training steps alone. Its random key
    and the number of draws are state of the module (`nnx.RngState`); with a rate of 0 there is no such state.

    >>> ResidualMLP(2, 3, 8, 1, rngs=nnx.Rngs(0))(jnp.ones((5, 2))).shape
    (5, 3)

    Args:
        dim_in: number of inputs.
        dim_out: number of outputs.
        width: number of units of all hidden layers.
        blocks: number of residual blocks.
        context_dim: number of context features, appended to the inputs.
        dropout: share of units that a training step leaves out.
        activation: name of the function between the layers.
        zero_last: start the last layer at zero, so that the output is zero at first.
        rngs: source of the initial weights and, with dropout, of its key.

    Raises:
        ValueError: if `dropout` is not in [0, 1), or `width` or `blocks` is below 1.
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        width: int = 64,
        blocks: int = 2,
        *,
        context_dim: int = 0,
        dropout: float = 0.0,
        activation: Activation = "relu",
        zero_last: bool = False,
        rngs: nnx.Rngs,
    ):
        for name, value in {"width": width, "blocks": blocks}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.context_dim = context_dim
        self.activation = activation
        self.first = linear(dim_in + context_dim, width, rngs=rngs)
        self.blocks = nnx.List([DropoutBlock(width, activation, rngs=rngs) for _ in range(blocks)])
        self.last = linear(width, dim_out, zero=zero_last, rngs=rngs)
        self.dropout = make_dropout(dropout, rngs=rngs)

    @staticmethod
    def planned(dim_in: int, dim_out: int, width: int, blocks: int, *, context_dim: int = 0) -> Planned:
        """The arrays of a network of these sizes."""

        def block() -> Planned:
            for layer in ("first", "second"):
                yield from within(layer, planned_linear(width, width))

        yield from within("first", planned_linear(dim_in + context_dim, width))
        yield from in_list("blocks", (block() for _ in range(blocks)))
        yield from within("last", planned_linear(width, dim_out))

    def __call__(
        self, x: Float[Array, "*#batch dim_in"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim_out"]:
        """The outputs; `context` must be given exactly when the network was built with a `context_dim`."""
        h = self.first(join_context(x, context, self.context_dim))
        for block in self.blocks:
            h = block(h, self.dropout)
        return self.last(ACTIVATIONS[self.activation](h))
