"""Every model that a config can name."""

from typing import Annotated, TypeAlias

from pydantic import Field

from jaxflow.models.any_flow import AnyFlowSpec, FlowSpecs
from jaxflow.models.autoencoder import AutoEncoderSpec
from jaxflow.models.committee_spec import CommitteeSpec
from jaxflow.models.ensemble_spec import EnsembleSpec
from jaxflow.models.gaussian_mixture import GaussianMixtureSpec
from jaxflow.models.gaussian_spec import GaussianSpec
from jaxflow.models.kernel_density import KernelDensitySpec
from jaxflow.models.principal_components import PrincipalComponentsSpec
from jaxflow.models.variational_autoencoder import VariationalAutoEncoderSpec

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
