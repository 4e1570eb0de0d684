"""Every model that a config can name."""

from typing import Annotated, TypeAlias

from pydantic import Field

from jaxflow.models.autoencoders.autoencoder import AutoEncoderSpec
from jaxflow.models.autoencoders.variational_autoencoder import VariationalAutoEncoderSpec
from jaxflow.models.classical.gaussian_mixture import GaussianMixtureSpec
from jaxflow.models.classical.gaussian_spec import GaussianSpec
from jaxflow.models.classical.kernel_density import KernelDensitySpec
from jaxflow.models.classical.principal_components import PrincipalComponentsSpec
from jaxflow.models.combined.committee_spec import CommitteeSpec
from jaxflow.models.combined.ensemble_spec import EnsembleSpec
from jaxflow.models.flows.any_flow import AnyFlowSpec, FlowSpecs

__all__ = ["AnyFlowSpec", "AnyModelSpec"]

AnyModelSpec: TypeAlias = Annotated[
    FlowSpecs
    | GaussianSpec
    | GaussianMixtureSpec
    | KernelDensitySpec
    | PrincipalComponentsSpec
    | AutoEncoderSpec
    | VariationalAutoEncoderSpec
    | EnsembleSpec
    | CommitteeSpec,
    Field(discriminator="kind"),
]
