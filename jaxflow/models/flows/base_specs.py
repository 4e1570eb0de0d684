"""The hyperparameters that name a base distribution."""

from abc import abstractmethod
from typing import Annotated, Literal, TypeAlias

from flax import nnx
from pydantic import Field, model_validator

from jaxflow.config.spec import Spec
from jaxflow.models.flows.base_distributions import (
    Base,
    Logistic,
    MixtureOfGaussians,
    StandardNormal,
    StudentT,
    Uniform,
)
from jaxflow.models.model import MOST_COMPONENTS
from jaxflow.networks.planned import Planned


class BaseSpec(Spec):
    """Base of the specs of base distributions.

    >>> isinstance(NormalBase(), BaseSpec)
    True
    """

    @abstractmethod
    def build(self, dim: int, *, rngs: nnx.Rngs) -> Base:
        """The base distribution over `dim` features."""

    def planned(self, dim: int) -> Planned:
        """The arrays of what `build` makes; none unless a subclass has some."""
        return iter(())


class NormalBase(BaseSpec):
    """Independent standard normals.

    >>> type(NormalBase().build(3, rngs=nnx.Rngs(0))).__name__
    'StandardNormal'
    """

    kind: Literal["normal"] = "normal"

    def build(self, dim, *, rngs):
        """A standard normal."""
        return StandardNormal(dim)


class StudentTBase(BaseSpec):
    """Independent Student's t-distributions with learned tails, for data with outliers among the normal rows.

    >>> type(StudentTBase(degrees_of_freedom=4.0).build(3, rngs=nnx.Rngs(0))).__name__
    'StudentT'
    """

    kind: Literal["student_t"] = "student_t"
    degrees_of_freedom: float = Field(
        default=5.0, gt=2, le=1e6, description="degrees of freedom at first; the fewer, the heavier the tails"
    )

    def build(self, dim, *, rngs):
        """Student's t with all features alike."""
        return StudentT(dim, self.degrees_of_freedom)

    def planned(self, dim):
        """The degrees of freedom."""
        return StudentT.planned(dim)


class MixtureBase(BaseSpec):
    """A mixture of Gaussians with learned means, diagonal covariances and weights, for data with several clusters.

    >>> type(MixtureBase(components=2).build(3, rngs=nnx.Rngs(0))).__name__
    'MixtureOfGaussians'
    """

    kind: Literal["mixture"] = "mixture"
    components: int = Field(default=8, ge=1, le=MOST_COMPONENTS, description="number of Gaussians")

    def build(self, dim, *, rngs):
        """A mixture with its means drawn from `rngs`."""
        return MixtureOfGaussians(dim, self.components, rngs=rngs)

    def planned(self, dim):
        """Means, scales and weights."""
        return MixtureOfGaussians.planned(dim, self.components)


class UniformBase(BaseSpec):
    """Independent uniforms; the flow must map out of their box, for example by beginning with a logit.

    >>> type(UniformBase(low=-1.0).build(3, rngs=nnx.Rngs(0))).__name__
    'Uniform'
    """

    kind: Literal["uniform"] = "uniform"
    low: float = Field(default=0.0, ge=-1e30, le=1e30, description="lower end of every feature")
    high: float = Field(default=1.0, ge=-1e30, le=1e30, description="upper end of every feature")

    @model_validator(mode="after")
    def _ends_in_order(self):
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got low = {self.low} and high = {self.high}")
        return self

    def build(self, dim, *, rngs):
        """A uniform distribution on the box."""
        return Uniform(dim, self.low, self.high)


class LogisticBase(BaseSpec):
    """Independent logistic distributions, whose tails are heavier than a normal's and lighter than Student's t.

    >>> type(LogisticBase().build(3, rngs=nnx.Rngs(0))).__name__
    'Logistic'
    """

    kind: Literal["logistic"] = "logistic"

    def build(self, dim, *, rngs):
        """A standard logistic distribution."""
        return Logistic(dim)


AnyBaseSpec: TypeAlias = Annotated[
    NormalBase | StudentTBase | MixtureBase | UniformBase | LogisticBase, Field(discriminator="kind")
]
