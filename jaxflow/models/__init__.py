"""Models: things that can be fitted and that give each row an anomaly score."""

from jaxflow.models.attribution.score_terms import TermsMethod, score_terms, term_methods
from jaxflow.models.autoencoders.autoencoder import AutoEncoder, AutoEncoderSpec
from jaxflow.models.autoencoders.variational_autoencoder import VariationalAutoEncoder, VariationalAutoEncoderSpec
from jaxflow.models.classical.gaussian import Gaussian
from jaxflow.models.classical.gaussian_mixture import GaussianMixture, GaussianMixtureSpec
from jaxflow.models.classical.gaussian_spec import GaussianSpec
from jaxflow.models.classical.kernel_density import KernelDensity, KernelDensitySpec
from jaxflow.models.classical.linear_gaussian import LinearGaussian
from jaxflow.models.classical.principal_components import PrincipalComponents, PrincipalComponentsSpec
from jaxflow.models.combined.committee import Committee
from jaxflow.models.combined.committee_spec import CommitteeMember, CommitteeSpec
from jaxflow.models.combined.ensemble import Ensemble
from jaxflow.models.combined.ensemble_spec import EnsembleSpec
from jaxflow.models.flows.architectures import BNAF, CNF, IAF, MAF, NICE, NSF, AutoregressiveNSF, Glow, RealNVP
from jaxflow.models.flows.base_distributions import (
    Base,
    Logistic,
    MixtureOfGaussians,
    StandardNormal,
    StudentT,
    Uniform,
)
from jaxflow.models.flows.base_specs import (
    AnyBaseSpec,
    BaseSpec,
    LogisticBase,
    MixtureBase,
    NormalBase,
    StudentTBase,
    UniformBase,
)
from jaxflow.models.flows.custom_flow import CustomFlow
from jaxflow.models.flows.dequantized import Dequantized
from jaxflow.models.flows.flow import Flow
from jaxflow.models.flows.flow_spec import ConditionedFlowSpec, CouplingFlowSpec, FlowSpec, MaskedFlowSpec
from jaxflow.models.model import Density, DirectlyFitted, Model, ModelSpec, weighted_mean
from jaxflow.models.specs import AnyFlowSpec, AnyModelSpec
from jaxflow.models.state_arrays import require_planned, restore_state, state_arrays

__all__ = [
    "BNAF",
    "CNF",
    "IAF",
    "MAF",
    "NICE",
    "NSF",
    "AnyBaseSpec",
    "AnyFlowSpec",
    "AnyModelSpec",
    "AutoEncoder",
    "AutoEncoderSpec",
    "AutoregressiveNSF",
    "Base",
    "BaseSpec",
    "Committee",
    "CommitteeMember",
    "CommitteeSpec",
    "ConditionedFlowSpec",
    "CouplingFlowSpec",
    "CustomFlow",
    "Density",
    "Dequantized",
    "DirectlyFitted",
    "Ensemble",
    "EnsembleSpec",
    "Flow",
    "FlowSpec",
    "Gaussian",
    "GaussianMixture",
    "GaussianMixtureSpec",
    "GaussianSpec",
    "Glow",
    "KernelDensity",
    "KernelDensitySpec",
    "LinearGaussian",
    "Logistic",
    "LogisticBase",
    "MaskedFlowSpec",
    "MixtureBase",
    "MixtureOfGaussians",
    "Model",
    "ModelSpec",
    "NormalBase",
    "PrincipalComponents",
    "PrincipalComponentsSpec",
    "RealNVP",
    "StandardNormal",
    "StudentT",
    "StudentTBase",
    "TermsMethod",
    "Uniform",
    "UniformBase",
    "VariationalAutoEncoder",
    "VariationalAutoEncoderSpec",
    "require_planned",
    "restore_state",
    "score_terms",
    "state_arrays",
    "term_methods",
    "weighted_mean",
]
