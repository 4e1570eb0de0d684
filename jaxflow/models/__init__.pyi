"""Models: things that can be fitted and that give each row an anomaly score."""

from .attribution.score_terms import score_terms, term_methods
from .autoencoders.autoencoder import AutoEncoder, AutoEncoderSpec
from .autoencoders.variational_autoencoder import VariationalAutoEncoder, VariationalAutoEncoderSpec
from .classical.gaussian import Gaussian
from .classical.gaussian_mixture import GaussianMixture, GaussianMixtureSpec
from .classical.gaussian_spec import GaussianSpec
from .classical.kernel_density import KernelDensity, KernelDensitySpec
from .classical.linear_gaussian import LinearGaussian
from .classical.principal_components import PrincipalComponents, PrincipalComponentsSpec
from .combined.committee import Committee
from .combined.committee_spec import CommitteeMember, CommitteeSpec
from .combined.ensemble import Ensemble
from .combined.ensemble_spec import EnsembleSpec
from .flows.architectures import BNAF, CNF, IAF, MAF, NICE, NSF, AutoregressiveNSF, Glow, RealNVP
from .flows.base_distributions import (
    Base,
    Logistic,
    MixtureOfGaussians,
    StandardNormal,
    StudentT,
    Uniform,
)
from .flows.base_specs import (
    BaseSpec,
    LogisticBase,
    MixtureBase,
    NormalBase,
    StudentTBase,
    UniformBase,
)
from .flows.custom_flow import CustomFlow
from .flows.dequantized import Dequantized
from .flows.flow import Flow
from .flows.flow_spec import ConditionedFlowSpec, CouplingFlowSpec, FlowSpec, MaskedFlowSpec
from .model import Density, DirectlyFitted, Model, ModelSpec
from .specs import AnyFlowSpec, AnyModelSpec

__all__ = [
    "BNAF",
    "CNF",
    "IAF",
    "MAF",
    "NICE",
    "NSF",
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
    "Uniform",
    "UniformBase",
    "VariationalAutoEncoder",
    "VariationalAutoEncoderSpec",
    "score_terms",
    "term_methods",
]
