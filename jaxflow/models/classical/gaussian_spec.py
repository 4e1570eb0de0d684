"""The hyperparameters of a normal density, with or without a context."""

from typing import ClassVar, Literal

from flax import nnx
from pydantic import Field, model_validator

from jaxflow.models.classical.gaussian import Gaussian, GaussianCovariance
from jaxflow.models.classical.linear_gaussian import LinearGaussian
from jaxflow.models.model import ContextWidth, Density, ModelSpec


class GaussianSpec(ModelSpec):
    """Hyperparameters of `Gaussian`.

    >>> type(GaussianSpec(covariance="diagonal").build(3, rngs=nnx.Rngs(0))).__name__
    'Gaussian'
    """

    fits_itself: ClassVar[bool] = True

    kind: Literal["gaussian"] = "gaussian"
    covariance: GaussianCovariance = Field(default="full", description="form of the covariance matrix")
    regularization: float = Field(
        default=1e-6, ge=0, le=1, description="fraction of the mean variance that is added to the diagonal; 0 = none"
    )
    support_fraction: float | None = Field(
        default=None,
        ge=0.5,
        le=1,
        description="for a robust covariance, the share of the training rows that are surely clean, by default 0.75",
    )

    context_dim: ContextWidth = Field(
        default=0, description="number of context features, on which the mean depends linearly; 0 for none"
    )

    @model_validator(mode="after")
    def _a_support_is_of_a_robust_covariance(self):
        if self.support_fraction is not None and self.covariance != "robust":
            raise ValueError(
                f"support_fraction = {self.support_fraction:g} needs covariance = robust, which is {self.covariance}"
            )
        return self

    def build(self, dim: int, *, rngs: nnx.Rngs) -> Density:
        """A standard normal density over `dim` features, ready to be fitted."""
        shape = self.covariance, self.regularization, self.support_fraction
        if self.context_dim:
            return LinearGaussian(dim, self.context_dim, *shape)
        return Gaussian(dim, *shape)

    def planned(self, dim):
        """The arrays of the density."""
        if self.context_dim:
            return LinearGaussian.planned(dim, self.context_dim, self.covariance)
        return Gaussian.planned(dim, self.covariance)
