"""Every model that a config can name."""

from typing import Annotated, TypeAlias

from pydantic import Field

from jaxflow.models.any_flow import AnyFlowSpec, FlowSpecs
from jaxflow.models.autoencoder import AutoEncoderSpec
from jaxflow.models.ensemble_spec import EnsembleSpec
from jaxflow.models.gaussian_mixture import GaussianMixtureSpec
from jaxflow.models.gaussian_spec import GaussianSpec

__all__ = ["AnyFlowSpec", "AnyModelSpec"]

AnyModelSpec: TypeAlias = Annotated[
    FlowSpecs | GaussianSpec | GaussianMixtureSpec | AutoEncoderSpec | EnsembleSpec, Field(discriminator="kind")
]
