"""The hyperparameters of an ensemble."""

from typing import Annotated, Literal

from flax import nnx
from pydantic import Field, model_validator

from jaxflow.models.combined.ensemble import Combination, Ensemble
from jaxflow.models.combined.surprise import QUANTILES
from jaxflow.models.flows.any_flow import AnyFlowSpec
from jaxflow.models.model import ModelSpec
from jaxflow.networks.planned import PlannedArray, planned_stack, within

# As those of a `FitSpec`.
Positive = Annotated[float, Field(gt=0, le=1e9)]
NotNegative = Annotated[float, Field(ge=0, le=1e9)]


class EnsembleSpec(ModelSpec):
    """Flows of one kind, trained together; each has its own seed, and with it its own weights and random orders.

    Where the permutation of the members is "reverse", all visit the features in the same order.

    >>> type(EnsembleSpec(member=NICE(layers=1, hidden=(4,)), members=2).build(3, rngs=nnx.Rngs(0))).__name__
    'Ensemble'
    """

    kind: Literal["ensemble"] = "ensemble"
    member: AnyFlowSpec = Field(description="each of the flows")
    members: int = Field(default=8, ge=1, le=1024, description="number of flows")
    combination: Combination = Field(
        default="mean_log_prob",
        description="what a score is: the mean of the members' negative log-densities, the negative log of their mean "
        "density, or the mean of their negative log tail probabilities among held-out normal rows",
    )
    bootstrap: bool = Field(
        default=False, description="weigh the training rows of each member by how often they are drawn with replacement"
    )
    learning_rates: tuple[Positive, ...] = Field(
        default=(), description="peak learning rate of each member; none for that of the fit"
    )
    weight_decays: tuple[NotNegative, ...] = Field(
        default=(), description="weight decay of each member; none for that of the fit"
    )
    input_noises: tuple[NotNegative, ...] = Field(
        default=(), description="standard deviation of the noise on each member's rows; none for that of the fit"
    )

    @model_validator(mode="after")
    def _one_for_each(self):
        for name in ("learning_rates", "weight_decays", "input_noises"):
            given = len(getattr(self, name))
            if given not in (0, self.members):
                raise ValueError(f"{name} must have one value for each of {self.members} members or none, got {given}")
        return self

    @property
    def context_dim(self) -> int:
        """Number of context features of each member."""
        return self.member.context_dim

    def require_imported(self) -> None:
        """Require that the members' own layers have been imported."""
        self.member.require_imported()

    def build(self, dim: int, *, rngs: nnx.Rngs) -> Ensemble:
        """The ensemble for data of `dim` features."""
        return Ensemble(
            lambda rngs: self.member.build(dim, rngs=rngs),
            self.members,
            combination=self.combination,
            bootstrap=self.bootstrap,
            learning_rates=self.learning_rates,
            weight_decays=self.weight_decays,
            input_noises=self.input_noises,
            rngs=rngs,
        )

    def planned(self, dim):
        """The arrays of the members, stacked, and the yardsticks of all."""
        yield from within("member", planned_stack(self.members, self.member.planned(dim)))
        yield PlannedArray("kept", (self.members,), "bool")
        yield PlannedArray("quantiles", (self.members, QUANTILES))
        yield PlannedArray("excess", (self.members,))
