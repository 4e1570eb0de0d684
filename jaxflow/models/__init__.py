"""Models: things that can be fitted and that give each row an anomaly score."""

from jaxflow.models.autoencoder import AutoEncoder, AutoEncoderSpec
from jaxflow.models.base import Base, Logistic, MixtureOfGaussians, StandardNormal, StudentT, Uniform
from jaxflow.models.base_specs import (
    AnyBaseSpec,
    BaseSpec,
    LogisticBase,
    MixtureBase,
    NormalBase,
    StudentTBase,
    UniformBase,
)
from jaxflow.models.committee import Committee
from jaxflow.models.committee_spec import CommitteeMember, CommitteeSpec
from jaxflow.models.custom_flow import CustomFlow
from jaxflow.models.dequantized import Dequantized
from jaxflow.models.ensemble import Ensemble
from jaxflow.models.ensemble_spec import EnsembleSpec
from jaxflow.models.flow import Flow
from jaxflow.models.flow_spec import ConditionedFlowSpec, CouplingFlowSpec, FlowSpec, MaskedFlowSpec
from jaxflow.models.flow_specs import BNAF, CNF, IAF, MAF, NICE, NSF, AutoregressiveNSF, Glow, RealNVP
from jaxflow.models.gaussian import Gaussian
from jaxflow.models.gaussian_mixture import GaussianMixture, GaussianMixtureSpec
from jaxflow.models.gaussian_spec import GaussianSpec
from jaxflow.models.kernel_density import KernelDensity, KernelDensitySpec
from jaxflow.models.linear_gaussian import LinearGaussian
from jaxflow.models.model import Density, DirectlyFitted, Model, ModelSpec, weighted_mean
from jaxflow.models.principal_components import PrincipalComponents, PrincipalComponentsSpec
from jaxflow.models.specs import AnyFlowSpec, AnyModelSpec
from jaxflow.models.state import require_planned, restore_state, state_arrays
from jaxflow.models.terms import TermsMethod, score_terms, term_methods
from jaxflow.models.variational_autoencoder import VariationalAutoEncoder, VariationalAutoEncoderSpec

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
