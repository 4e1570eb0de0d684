"""Ready-made flows by the names under which they were published."""

from typing import Literal

from pydantic import Field, model_validator

from jaxflow.bijectors import (
    Affine,
    BlockAutoregressive,
    ElementwiseAffine,
    Inverse,
    NeuralODE,
    RationalQuadraticSpline,
    Shift,
)
from jaxflow.bijectors.continuous import LEAST_TOLERANCE, MOST_PROBES, MOST_STEPS, Solver
from jaxflow.models.flows.flow_spec import (
    ConditionedFlowSpec,
    CouplingFlowSpec,
    FlowSpec,
    MaskedFlowSpec,
    Normalization,
)
from jaxflow.models.model import MOST_LAYERS, Width
from jaxflow.networks.planned import within


class MAF(MaskedFlowSpec):
    """Masked autoregressive flow (Papamakarios et al. 2017): density in one pass, sampling feature by feature.

    >>> type(MAF(layers=1, hidden=(4,)).build(3, rngs=nnx.Rngs(0))).__name__
    'Flow'
    """

    kind: Literal["maf"] = "maf"

    def transformer(self):
        """Shift and scale."""
        return Affine()


class IAF(MaskedFlowSpec):
    """Inverse autoregressive flow (Kingma et al. 2016): sampling in one pass, density feature by feature.

    >>> type(IAF(layers=1, hidden=(4,)).build(3, rngs=nnx.Rngs(0))).__name__
    'Flow'
    """

    kind: Literal["iaf"] = "iaf"

    @model_validator(mode="after")
    def _no_dropout(self):
        if self.dropout:
            raise ValueError(f"dropout needs a density in one pass, which IAF has not; got dropout = {self.dropout}")
        return self

    def transformer(self):
        """Shift and scale."""
        return Affine()

    def transforming_layer(self, dim, index, *, rngs):
        """A masked autoregressive layer turned round."""
        return Inverse(super().transforming_layer(dim, index, rngs=rngs))

    def planned_layer(self, dim, index):
        """The arrays of a masked autoregressive layer turned round."""
        return within("bijector", super().planned_layer(dim, index))


class NICE(CouplingFlowSpec):
    """Couplings that only shift, with one scale per feature at the end (Dinh et al. 2015).

    >>> type(NICE(layers=1, hidden=(4,)).build(3, rngs=nnx.Rngs(0))).__name__
    'Flow'
    """

    kind: Literal["nice"] = "nice"

    def transformer(self):
        """Shift."""
        return Shift()

    def last_layers(self, dim):
        """The scales, without which the flow would preserve volume."""
        return [ElementwiseAffine(dim)]

    def planned_last_layers(self, dim):
        """The arrays of the scales."""
        return [ElementwiseAffine.planned(dim)]


class RealNVP(CouplingFlowSpec):
    """Affine coupling layers (Dinh et al. 2017): one pass in both directions.

    >>> type(RealNVP(layers=1, hidden=(4,)).build(3, rngs=nnx.Rngs(0))).__name__
    'Flow'
    """

    kind: Literal["realnvp"] = "realnvp"

    def transformer(self):
        """Shift and scale."""
        return Affine()


class Glow(CouplingFlowSpec):
    """Steps of ActNorm, a trained linear map and an affine coupling (Kingma and Dhariwal 2018), for rows of numbers.

    >>> type(Glow(layers=1, hidden=(4,)).build(3, rngs=nnx.Rngs(0))).__name__
    'Flow'
    """

    kind: Literal["glow"] = "glow"
    permutation: Literal["lu"] = Field(default="lu", description="features are mixed by a trained linear map")
    normalization: Normalization = Field(default="act_norm", description="what comes after each layer")

    def transformer(self):
        """Shift and scale."""
        return Affine()


class SplineFlowSpec(ConditionedFlowSpec):
    """Base of the flows of rational-quadratic splines."""

    bins: int = Field(default=8, ge=2, le=128, description="number of pieces of each spline")
    bound: float = Field(
        default=5.0, gt=0, le=1e6, description="the splines act on [-bound, bound] and are the identity outside"
    )

    @model_validator(mode="after")
    def _bins_fit(self):
        self.transformer()
        return self

    def transformer(self):
        """A spline."""
        return RationalQuadraticSpline(self.bins, self.bound)


class NSF(SplineFlowSpec, CouplingFlowSpec):
    """Neural spline flow with couplings (Durkan et al. 2019): one pass in both directions.

    >>> type(NSF(layers=1, hidden=(4,), bins=4).build(3, rngs=nnx.Rngs(0))).__name__
    'Flow'
    """

    kind: Literal["nsf"] = "nsf"


class AutoregressiveNSF(SplineFlowSpec, MaskedFlowSpec):
    """Neural spline flow on masked networks (Durkan et al. 2019): density in one pass, sampling feature by feature.

    >>> type(AutoregressiveNSF(layers=1, hidden=(4,)).build(3, rngs=nnx.Rngs(0))).__name__
    'Flow'
    """

    kind: Literal["nsf_autoregressive"] = "nsf_autoregressive"


class BNAF(FlowSpec):
    """Block neural autoregressive flow (De Cao et al. 2019): density in one pass, sampling by solving for each feature.

    One layer is expressive by itself, so there are few.

    >>> type(BNAF(layers=1, hidden_factor=2).build(3, rngs=nnx.Rngs(0))).__name__
    'Flow'
    """

    kind: Literal["bnaf"] = "bnaf"
    layers: int = Field(default=2, ge=1, le=1000, description="number of transforming layers")
    hidden_factor: int = Field(
        default=8, ge=1, le=1024, description="hidden units of each feature in each hidden layer"
    )
    hidden_layers: int = Field(default=2, ge=1, le=100, description="hidden layers of each transforming layer")

    def transforming_layer(self, dim, index, *, rngs):
        """One network whose weights make it increasing and autoregressive."""
        return BlockAutoregressive(
            dim, self.hidden_factor, self.hidden_layers, context_dim=self.layer_context_dim, rngs=rngs
        )

    def planned_layer(self, dim, index):
        """The arrays of that network."""
        sizes = dim, self.hidden_factor, self.hidden_layers
        return BlockAutoregressive.planned(*sizes, context_dim=self.layer_context_dim)


class CNF(FlowSpec):
    """Continuous flow (Chen et al. 2018; Grathwohl et al. 2019): a learned velocity field, solved in both directions.

    Needs diffrax: `pip install jaxflow[ode]`.

    >>> type(CNF(hidden=(4,)).build(3, rngs=nnx.Rngs(0))).__name__
    'Flow'
    """

    kind: Literal["cnf"] = "cnf"
    layers: int = Field(default=1, ge=1, le=1000, description="number of velocity fields, one after the other")
    hidden: tuple[Width, ...] = Field(
        default=(64, 64), min_length=1, max_length=MOST_LAYERS, description="widths of each velocity's hidden layers"
    )
    probes: int | None = Field(
        default=None,
        ge=1,
        le=MOST_PROBES,
        description="random vectors that estimate the trace; null for the exact trace",
    )
    tolerance: float = Field(
        default=1e-5, ge=LEAST_TOLERANCE, le=0.1, description="relative and absolute error of a solver's step"
    )
    max_steps: int = Field(default=4096, ge=16, le=MOST_STEPS, description="most steps of a solve")
    solver: Solver = Field(
        default="tsit5", description="tsit5, of order 5, or dopri8, of order 8, for tight tolerances"
    )

    def transforming_layer(self, dim, index, *, rngs):
        """The flow of one velocity field."""
        return NeuralODE(
            dim,
            self.hidden,
            context_dim=self.layer_context_dim,
            probes=self.probes,
            rtol=self.tolerance,
            atol=self.tolerance,
            max_steps=self.max_steps,
            solver=self.solver,
            rngs=rngs,
        )

    def planned_layer(self, dim, index):
        """The arrays of the velocity field."""
        return NeuralODE.planned(dim, self.hidden, context_dim=self.layer_context_dim, probes=self.probes)
