"""Ready-made flows: the hyperparameters that name one, and how it is put together."""

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from flax import nnx
from pydantic import Field, model_validator

from jaxflow.bijectors import (
    ActNorm,
    Affine,
    Bijector,
    Chain,
    Coupling,
    Inverse,
    MaskedAutoregressive,
    Permutation,
    Reverse,
)
from jaxflow.errors import InputError
from jaxflow.models.base import StandardNormal
from jaxflow.models.flow import Flow
from jaxflow.models.model import ModelSpec
from jaxflow.networks import MLP, Activation, MaskedMLP
from jaxflow.networks.masks import HiddenDegrees

Width = Annotated[int, Field(ge=1)]


class FlowSpec(ModelSpec):
    """What all ready-made flows have in common."""

    layers: int = Field(default=5, ge=1, le=200, description="number of transforming layers")
    hidden: tuple[Width, ...] = Field(
        default=(64, 64), min_length=1, description="widths of each conditioner's hidden layers"
    )
    activation: Activation = Field(default="silu", description="activation between the hidden layers")
    permutation: Literal["reverse", "random"] = Field(
        default="reverse", description="how features are reordered between layers"
    )
    act_norm: bool = Field(
        default=False, description="put a data-initialised scale and shift (ActNorm) after each layer"
    )
    context_dim: int = Field(default=0, ge=0, description="number of context features; 0 for an unconditional flow")

    def build(self, dim: int, *, rngs: nnx.Rngs) -> Flow:
        """Transforming layers with a permutation between each two, over a standard normal base."""
        chain: list[Bijector] = []
        for index in range(self.layers):
            if index and self.permutation == "random":
                chain.append(Permutation.random(dim, rngs=rngs))
            elif index:
                chain.append(Reverse())
            chain.append(self.transforming_layer(dim, index, rngs=rngs))
            if self.act_norm:
                chain.append(ActNorm(dim))
        return Flow(StandardNormal(dim), Chain(chain), context_dim=self.context_dim)

    @abstractmethod
    def transforming_layer(self, dim: int, index: int, *, rngs: nnx.Rngs) -> Bijector:
        """The `index`-th layer."""


class MaskedFlowSpec(FlowSpec):
    """What the flows built on masked networks have in common."""

    residual: bool = Field(default=False, description="use residual blocks (ResMADE); hidden widths must then be equal")
    hidden_degrees: HiddenDegrees = Field(default="sequential", description="how hidden units are assigned to features")

    @model_validator(mode="after")
    def _blocks_of_one_width(self):
        if self.residual and len(set(self.hidden)) > 1:
            raise ValueError(f"residual blocks need hidden layers of one width, got hidden = {list(self.hidden)}")
        return self

    def masked_layer(self, dim: int, *, rngs: nnx.Rngs) -> MaskedAutoregressive:
        """One affine masked autoregressive layer."""
        transformer = Affine()
        conditioner = MaskedMLP(
            dim,
            transformer.num_parameters,
            self.hidden,
            context_dim=self.context_dim,
            hidden_degrees=self.hidden_degrees,
            residual=self.residual,
            activation=self.activation,
            rngs=rngs,
        )
        return MaskedAutoregressive(transformer, conditioner)


class MAF(MaskedFlowSpec):
    """Masked autoregressive flow (Papamakarios et al. 2017): density in one pass, sampling in `dim` passes a layer."""

    kind: Literal["maf"] = "maf"

    def transforming_layer(self, dim, index, *, rngs):
        """A masked autoregressive layer, inverse (towards the latent) in one pass."""
        return self.masked_layer(dim, rngs=rngs)


class IAF(MaskedFlowSpec):
    """Inverse autoregressive flow (Kingma et al. 2016): sampling in one pass, density in `dim` passes a layer."""

    kind: Literal["iaf"] = "iaf"

    def transforming_layer(self, dim, index, *, rngs):
        """A masked autoregressive layer turned round."""
        return Inverse(self.masked_layer(dim, rngs=rngs))


class RealNVP(FlowSpec):
    """Affine coupling layers (Dinh et al. 2017): one pass in both directions.

    Every second feature conditions the others; the permutations between the layers let them change places. Reversing
    an odd number of features leaves the even ones on even places, so the mask alternates as well where it must.
    """

    kind: Literal["realnvp"] = "realnvp"

    def transforming_layer(self, dim, index, *, rngs):
        """A coupling layer."""
        if dim < 2:
            raise InputError(f"realnvp needs at least 2 features to couple, got {dim}")
        flip = index % 2 if dim % 2 else 0
        mask = np.arange(dim) % 2 == flip
        kept = (dim + 1 - flip) // 2
        transformer = Affine()
        conditioner = MLP(
            kept,
            (dim - kept) * transformer.num_parameters,
            self.hidden,
            context_dim=self.context_dim,
            activation=self.activation,
            zero_last=True,
            rngs=rngs,
        )
        return Coupling(mask, transformer, conditioner)
