"""Every model that a config can name."""

from typing import Annotated, TypeAlias

from pydantic import Field

from jaxflow.models.autoencoder import AutoEncoderSpec
from jaxflow.models.custom_flow import CustomFlow
from jaxflow.models.flow_specs import BNAF, CNF, IAF, MAF, NICE, NSF, AutoregressiveNSF, Glow, RealNVP
from jaxflow.models.gaussian import GaussianSpec
from jaxflow.models.gaussian_mixture import GaussianMixtureSpec

FlowSpecs: TypeAlias = MAF | IAF | NICE | RealNVP | Glow | NSF | AutoregressiveNSF | BNAF | CNF | CustomFlow
AnyFlowSpec: TypeAlias = Annotated[FlowSpecs, Field(discriminator="kind")]
AnyModelSpec: TypeAlias = Annotated[
    FlowSpecs | GaussianSpec | GaussianMixtureSpec | AutoEncoderSpec, Field(discriminator="kind")
]
