"""Every flow that a config can name."""

from typing import Annotated, TypeAlias

from pydantic import Field

from jaxflow.models.flows.architectures import BNAF, CNF, IAF, MAF, NICE, NSF, AutoregressiveNSF, Glow, RealNVP
from jaxflow.models.flows.custom_flow import CustomFlow

FlowSpecs: TypeAlias = MAF | IAF | NICE | RealNVP | Glow | NSF | AutoregressiveNSF | BNAF | CNF | CustomFlow
AnyFlowSpec: TypeAlias = Annotated[FlowSpecs, Field(discriminator="kind")]
