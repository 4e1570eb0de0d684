"""The hyperparameters of a normal density, with or without a context."""

from typing import ClassVar, Literal

from flax import nnx
from pydantic import Field, model_validator

from jaxflow.errors import InputError
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

    def for_few_rows(self) -> "GaussianSpec":
        """Return this spec with a shrunk covariance, where nothing else was said of it."""
        usual = type(self).model_fields["regularization"].default
        said = "covariance" in self.model_fields_set or self.regularization != usual
        return self if said else self.model_copy(update={"covariance": "ledoit_wolf"})

    def few_rows_remedy(self):
        """Another covariance; none where this one is made for few rows."""
        if self.covariance in ("diagonal", "ledoit_wolf"):
            return None
        return f"the covariance, {self.covariance}, is all but singular: choose covariance = ledoit_wolf"

    def require_enough(self, rows, said, dim, context_dim):
        """Refuse fewer rows than a robust covariance or a regression needs."""
        if self.covariance == "robust" and rows <= dim:
            raise InputError(
                f"a robust covariance of {dim} features was asked for, and there are {said}: expected more rows than "
                "features, or covariance = ledoit_wolf"
            )
        if context_dim and rows < context_dim + 2:
            raise InputError(
                f"a linear regression on {context_dim} context features was asked for, and there are {said}: expected "
                f"at least {context_dim + 2}, or fewer columns in columns.context"
            )

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
