"""Every model that a config can name."""

from typing import Annotated, TypeAlias

from pydantic import Field

from jaxflow.models.autoencoder import AutoEncoderSpec
from jaxflow.models.flow_specs import IAF, MAF, RealNVP
from jaxflow.models.gaussian import GaussianSpec
from jaxflow.models.gaussian_mixture import GaussianMixtureSpec

AnyFlowSpec: TypeAlias = Annotated[MAF | RealNVP | IAF, Field(discriminator="kind")]
AnyModelSpec: TypeAlias = Annotated[
    MAF | RealNVP | IAF | GaussianSpec | GaussianMixtureSpec | AutoEncoderSpec, Field(discriminator="kind")
]
