"""Bases of the specs of flows: the order of their layers and their conditioners."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from flax import nnx
from pydantic import Field, model_validator

from jaxflow.bijectors import (
    ActNorm,
    BatchNorm,
    Bijector,
    Chain,
    Coupling,
    LULinear,
    MaskedAutoregressive,
    Permutation,
    Reverse,
    Stack,
    Transformer,
)
from jaxflow.bijectors.autoregressive import Sampling
from jaxflow.errors import InputError
from jaxflow.models.flows.base_specs import AnyBaseSpec, NormalBase
from jaxflow.models.flows.dequantized import Dequantized, Noise
from jaxflow.models.flows.flow import Flow
from jaxflow.models.model import MOST_DRAWS, MOST_LAYERS, ContextWidth, ModelSpec, Width
from jaxflow.networks import MLP, Activation, MaskedMLP, ResidualMLP
from jaxflow.networks.masked.masks import HiddenDegrees
from jaxflow.networks.planned import Planned, in_list, planned_stack, within

# From this many layers on, equal layers are stacked and compiled as one.
STACK_FROM = 12

Normalization = Literal["none", "act_norm", "batch_norm"]


class FlowSpec(ModelSpec):
    """Transforming layers with a reordering of the features between each two, over a base distribution.

    With a random order there is one before the first layer too, as the data sees them: an autoregressive flow then
    begins its chain rule at any feature, and the members of an ensemble each have an order of their own.

    >>> isinstance(MAF(), FlowSpec), MAF().layers
    (True, 5)
    """

    layers: int = Field(default=5, ge=1, le=1000, description="number of transforming layers")
    permutation: Literal["reverse", "random", "lu"] = Field(
        default="reverse",
        description="how features are mixed between layers: in reverse order, in random order (also "
        "between data and layers), or in random order and by a trained linear map",
    )
    normalization: Normalization = Field(
        default="none",
        description="what comes after each layer: nothing, a scale and shift that start where the data are (act_norm), "
        "or the mean and deviation of the batch and, after training, of the training set (batch_norm)",
    )
    base: AnyBaseSpec = Field(default=NormalBase(), description="distribution of the latents")
    context_dim: ContextWidth = Field(default=0, description="number of context features; 0 for an unconditional flow")
    context_embedding: tuple[Width, ...] = Field(
        default=(),
        max_length=MOST_LAYERS,
        description="widths of a network that all layers share and that turns the context into as many features as the "
        "last width says; none for the context itself",
    )
    dequantize: Noise | tuple[Noise, ...] = Field(
        default="none",
        description="noise for columns whose values lie on a grid, such as counts and flags: none, uniform, or "
        "variational (learned); one word for all columns, or one for each",
    )
    draws: int = Field(
        default=16, ge=1, le=MOST_DRAWS, description="draws of the noise with which dequantized rows are scored"
    )

    @model_validator(mode="after")
    def _draws_of_a_noise(self):
        noise = (self.dequantize,) if isinstance(self.dequantize, str) else self.dequantize
        # A saved spec names all its fields, so the number by default says nothing.
        if self.draws != type(self).model_fields["draws"].default and set(noise) == {"none"}:
            raise ValueError(f"draws = {self.draws} is for dequantized columns, but dequantize = none")
        return self

    @property
    def layer_context_dim(self) -> int:
        """Number of context features that each layer is given."""
        return self.context_embedding[-1] if self.context_embedding else self.context_dim

    def build(self, dim: int, *, rngs: nnx.Rngs) -> Flow | Dequantized:
        """The flow for data of `dim` features.

        Raises:
            InputError: if there are no features, `dequantize` has not one entry for each, or the context that
                `context_embedding` is for is missing.
        """
        if dim < 1:
            raise InputError(f"a flow needs at least 1 feature, got {dim}")
        if self.context_embedding and not self.context_dim:
            raise InputError(f"context_embedding = {list(self.context_embedding)} needs a context, got context_dim = 0")
        base = self.base.build(dim, rngs=rngs)
        # Layers go from the latent to the data, so the last is the first that rows meet.
        first_order = [Permutation.random(dim, rngs=rngs)] if self.permutation == "random" else []
        layers = Chain([*self._layers(dim, rngs), *first_order, *self.last_layers(dim)])
        flow = Flow(base, layers, context_dim=self.context_dim, embedding=self._embedding(rngs))
        if isinstance(self.dequantize, tuple) and len(self.dequantize) != dim:
            raise InputError(
                f"dequantize must be one word or one for each of {dim} features, got {list(self.dequantize)}"
            )
        if self.dequantize in ("none", ("none",) * dim):
            return flow
        return Dequantized(flow, self.dequantize, draws=self.draws, rngs=rngs)

    def planned(self, dim: int) -> Planned:
        """The arrays of what `build` makes."""
        alike = isinstance(self.dequantize, str)  # a tuple of so many words might be more than there is memory
        if set((self.dequantize,) if alike else self.dequantize) <= {"none"}:
            return self._planned_flow(dim)
        learned = dim * (self.dequantize == "variational") if alike else self.dequantize.count("variational")
        return Dequantized.planned(self._planned_flow(dim), dim, self.draws, learned, context_dim=self.context_dim)

    def _planned_flow(self, dim: int) -> Planned:
        yield from within("base", self.base.planned(dim))
        yield from within("bijector", in_list("layers", self._planned_layers(dim)))
        if self.context_embedding:
            *hidden, last = self.context_embedding
            yield from within("embedding", MLP.planned(self.context_dim, last, hidden))

    def _embedding(self, rngs: nnx.Rngs) -> MLP | None:
        if not self.context_embedding:
            return None
        *hidden, last = self.context_embedding
        return MLP(self.context_dim, last, hidden, activation="silu", rngs=rngs)

    def _layers(self, dim: int, rngs: nnx.Rngs) -> list[Bijector]:
        def group(indices: range, rngs: nnx.Rngs) -> list[Bijector]:
            return [layer for index in indices for layer in self._step(dim, index, rngs)]

        if self.layers < STACK_FROM:
            return group(range(self.layers), rngs)
        # Layers may alternate between even and odd places, so what repeats is a pair of them.
        pairs = (self.layers - 1) // 2
        last = range(1 + 2 * pairs, self.layers)
        repeated = Stack(lambda rngs: Chain(group(range(1, 3), rngs)), pairs, rngs=rngs)
        return [*group(range(1), rngs), repeated, *group(last, rngs)]

    def _step(self, dim: int, index: int, rngs: nnx.Rngs) -> list[Bijector]:
        """Return the reordering before the `index`-th layer, the layer, and the layers after it."""
        step: list[Bijector] = []
        if index and self.permutation == "reverse":
            step.append(Reverse())
        elif index:
            step.append(Permutation.random(dim, rngs=rngs))
        if self.permutation == "lu":
            step.append(LULinear(dim))
        step.append(self.transforming_layer(dim, index, rngs=rngs))
        if self.normalization != "none":
            step.append(ActNorm(dim) if self.normalization == "act_norm" else BatchNorm(dim))
        return step

    def _planned_layers(self, dim: int) -> Iterator[Planned]:
        """The arrays of each layer that `build` chains."""

        def group(indices: range) -> Iterator[Planned]:
            for index in indices:
                yield from self._planned_step(dim, index)

        if self.layers < STACK_FROM:
            yield from group(range(self.layers))
        else:
            pairs = (self.layers - 1) // 2
            yield from group(range(1))
            yield within("layer", planned_stack(pairs, in_list("layers", group(range(1, 3)))))
            yield from group(range(1 + 2 * pairs, self.layers))
        if self.permutation == "random":
            yield Permutation.planned(dim)
        yield from self.planned_last_layers(dim)

    def _planned_step(self, dim: int, index: int) -> Iterator[Planned]:
        """The arrays of each layer of `_step`."""
        if index:
            yield iter(()) if self.permutation == "reverse" else Permutation.planned(dim)
        if self.permutation == "lu":
            yield LULinear.planned(dim)
        yield self.planned_layer(dim, index)
        if self.normalization != "none":
            yield (ActNorm if self.normalization == "act_norm" else BatchNorm).planned(dim)

    @abstractmethod
    def transforming_layer(self, dim: int, index: int, *, rngs: nnx.Rngs) -> Bijector:
        """The `index`-th layer; it may depend on whether the index is even, and on nothing else of it."""

    @abstractmethod
    def planned_layer(self, dim: int, index: int) -> Planned:
        """The arrays of what `transforming_layer` makes."""

    def last_layers(self, dim: int) -> list[Bijector]:
        """Layers nearest to the data; none unless a subclass has some."""
        return []

    def planned_last_layers(self, dim: int) -> list[Planned]:
        """The arrays of each of these."""
        return []


class ConditionedFlowSpec(FlowSpec):
    """Base of flows whose layers are a scalar map and the network that gives its parameters.

    >>> isinstance(RealNVP(), ConditionedFlowSpec)
    True
    """

    hidden: tuple[Width, ...] = Field(
        default=(64, 64), min_length=1, max_length=MOST_LAYERS, description="widths of each conditioner's hidden layers"
    )
    activation: Activation = Field(default="silu", description="activation between the hidden layers")
    residual: bool = Field(
        default=False, description="use residual blocks (ResNet, ResMADE); hidden widths must then be equal"
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of units that each training step leaves out of residual blocks"
    )

    @model_validator(mode="after")
    def _residual_conditioner(self):
        if self.residual and len(set(self.hidden)) > 1:
            raise ValueError(f"residual blocks need hidden layers of one width, got hidden = {list(self.hidden)}")
        if self.residual and len(self.hidden) < 2:
            raise ValueError(f"each hidden width after the first is a residual block, got hidden = {list(self.hidden)}")
        if self.dropout and not self.residual:
            raise ValueError(f"dropout acts in residual blocks, got dropout = {self.dropout} with residual = false")
        return self

    @abstractmethod
    def transformer(self) -> Transformer:
        """The scalar map of each layer."""


class CouplingFlowSpec(ConditionedFlowSpec):
    """Base of the flows built on coupling layers.

    Every second feature conditions the others; the permutations between the layers let them change places. Reversing
    an odd number of features leaves the even ones on even places, so the mask alternates as well where it must.

    >>> isinstance(RealNVP(), CouplingFlowSpec)
    True
    """

    kind: str

    def transforming_layer(self, dim, index, *, rngs):
        """A coupling layer."""
        if dim < 2:
            raise InputError(f"{self.kind} needs at least 2 features to couple, n_features = {dim}")
        flip = self._flip(dim, index)
        mask = np.arange(dim) % 2 == flip
        kept = (dim + 1 - flip) // 2
        transformer = self.transformer()
        return Coupling(mask, transformer, self._conditioner(kept, (dim - kept) * transformer.num_parameters, rngs))

    def planned_layer(self, dim, index):
        """The arrays of a coupling layer."""
        kept = (dim + 1 - self._flip(dim, index)) // 2
        outputs, context_dim = (dim - kept) * self.transformer().num_parameters, self.layer_context_dim
        if self.residual:
            width, blocks = self.hidden[0], len(self.hidden) - 1
            conditioner = ResidualMLP.planned(kept, outputs, width, blocks, context_dim=context_dim)
        else:
            conditioner = MLP.planned(kept, outputs, self.hidden, context_dim=context_dim)
        return Coupling.planned(kept, dim - kept, conditioner)

    def _flip(self, dim: int, index: int) -> int:
        """Whether the odd features of the `index`-th layer condition the others."""
        return index % 2 if dim % 2 else 0

    def _conditioner(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> MLP | ResidualMLP:
        common: dict[str, Any] = {
            "context_dim": self.layer_context_dim,
            "activation": self.activation,
            "zero_last": True,
            "rngs": rngs,
        }
        if not self.residual:
            return MLP(inputs, outputs, self.hidden, **common)
        # As in a masked network, the first width is that of all layers and each further one adds a block.
        blocks = len(self.hidden) - 1
        return ResidualMLP(inputs, outputs, self.hidden[0], blocks, dropout=self.dropout, **common)


class MaskedFlowSpec(ConditionedFlowSpec):
    """Base of the flows built on masked networks.

    >>> isinstance(MAF(), MaskedFlowSpec)
    True
    """

    hidden_degrees: HiddenDegrees = Field(default="sequential", description="how hidden units are assigned to features")
    sampling: Sampling = Field(
        default="walk",
        description="how the slow direction runs: feature by feature at the price of one pass, or by a few corrected "
        "guesses of all features",
    )

    def transforming_layer(self, dim, index, *, rngs) -> Bijector:
        """A masked autoregressive layer, inverse (towards the latent) in one pass."""
        transformer = self.transformer()
        conditioner = MaskedMLP(
            dim,
            transformer.num_parameters,
            self.hidden,
            context_dim=self.layer_context_dim,
            hidden_degrees=self.hidden_degrees,
            residual=self.residual,
            dropout=self.dropout,
            activation=self.activation,
            rngs=rngs,
        )
        return MaskedAutoregressive(transformer, conditioner, sampling=self.sampling)

    def planned_layer(self, dim, index):
        """The arrays of a masked autoregressive layer."""
        outputs, context_dim = self.transformer().num_parameters, self.layer_context_dim
        conditioner = MaskedMLP.planned(dim, outputs, self.hidden, context_dim=context_dim, residual=self.residual)
        return within("conditioner", conditioner)
