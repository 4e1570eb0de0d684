"""The hyperparameters of a committee."""

from typing import Annotated, ClassVar, Literal, TypeAlias

from flax import nnx
from pydantic import Field

from jaxflow.bijectors import RankGaussian
from jaxflow.config.spec import Spec
from jaxflow.models.classical.gaussian_mixture import GaussianMixtureSpec
from jaxflow.models.classical.gaussian_spec import GaussianSpec
from jaxflow.models.classical.kernel_density import KernelDensitySpec
from jaxflow.models.combined.committee import Committee, View
from jaxflow.models.combined.surprise import QUANTILES, SHAPE
from jaxflow.models.flows.any_flow import FlowSpecs
from jaxflow.models.flows.architectures import MAF
from jaxflow.models.model import ModelSpec
from jaxflow.networks.planned import PlannedArray, in_list, within

MemberSpec: TypeAlias = Annotated[
    FlowSpecs | GaussianSpec | GaussianMixtureSpec | KernelDensitySpec, Field(discriminator="kind")
]
SMALL_FLOW = MAF(layers=4, hidden=(64, 64))


class CommitteeMember(Spec):
    """A density and the coordinates in which it sees the rows.

    >>> CommitteeMember(model=GaussianSpec()).weight
    1.0
    """

    model: MemberSpec = Field(description="the density")
    view: View = Field(
        default="as_given",
        description="as_given: the features as preprocessing leaves them; rank_gaussian: each made normal by its "
        "ranks; arcsinh: of each the arcsinh, which draws in what lies far out",
    )
    voice: str | None = Field(
        default=None,
        min_length=1,
        description="members with the same voice are averaged before they are heard (default: a voice of its own)",
    )
    weight: float = Field(
        default=1.0, gt=0, le=1e9, description="how much it counts; a voice counts as its members together"
    )


class CommitteeSpec(ModelSpec):
    """Densities of several kinds in several coordinates that judge together.

    The defaults are one configuration for tables of any kind.

    >>> type(CommitteeSpec(members=(CommitteeMember(model=GaussianSpec()),)).build(3, rngs=nnx.Rngs(0))).__name__
    'Committee'
    """

    takes_context: ClassVar[bool] = False

    kind: Literal["committee"] = "committee"
    members: tuple[CommitteeMember, ...] = Field(
        default=(
            CommitteeMember(model=KernelDensitySpec()),
            CommitteeMember(model=KernelDensitySpec(), view="rank_gaussian"),
            CommitteeMember(model=KernelDensitySpec(), view="arcsinh"),
            CommitteeMember(model=GaussianMixtureSpec(rows_each=20)),
            CommitteeMember(model=GaussianMixtureSpec(rows_each=20), view="rank_gaussian"),
            CommitteeMember(model=GaussianMixtureSpec(rows_each=20), view="arcsinh"),
            CommitteeMember(model=SMALL_FLOW, voice="flows", weight=0.25),
            CommitteeMember(model=SMALL_FLOW, voice="flows", weight=0.25),
            CommitteeMember(model=SMALL_FLOW, voice="flows", weight=0.25, view="rank_gaussian"),
            CommitteeMember(model=SMALL_FLOW, voice="flows", weight=0.25, view="rank_gaussian"),
        ),
        min_length=1,
        max_length=64,
        description="the densities, each with its view and voice",
    )
    power: float = Field(
        default=4.0, ge=1, le=64, description="of the power mean of the surprises; 1 for their plain mean"
    )
    tail_shape: float = Field(
        default=SHAPE,
        ge=0,
        lt=1,
        description="of the generalised Pareto distribution that scores beyond those of nine tenths of the held-out "
        "rows are taken to have; 0 for an exponential one",
    )

    def require_imported(self) -> None:
        """Require that the members' own layers have been imported."""
        for member in self.members:
            member.model.require_imported()

    def for_rows(self, count: int) -> "CommitteeSpec":
        """Return this spec with members for `count` rows."""
        members = tuple(member.model_copy(update={"model": member.model.for_rows(count)}) for member in self.members)
        return self.model_copy(update={"members": members})

    def build(self, dim: int, *, rngs: nnx.Rngs) -> Committee:
        """The committee for data of `dim` features."""
        densities = [member.model.build(dim, rngs=rngs) for member in self.members]
        return Committee(
            [member.view for member in self.members],
            densities,
            voices=self.voices(),
            weights=[member.weight for member in self.members],
            power=self.power,
            tail_shape=self.tail_shape,
        )

    def planned(self, dim):
        """The arrays of the members, the ranks of the training rows, and the yardsticks of all."""
        yield from in_list("members", (member.model.planned(dim) for member in self.members))
        yield from within("ranks", RankGaussian.planned(dim))
        yield PlannedArray("quantiles", (len(self.members), QUANTILES))
        yield PlannedArray("excess", (len(self.members),))

    def voices(self) -> tuple[int, ...]:
        """The number of each member's voice, in the order in which they are first heard."""
        names = [number if member.voice is None else member.voice for number, member in enumerate(self.members)]
        heard = list(dict.fromkeys(names))
        return tuple(heard.index(name) for name in names)
