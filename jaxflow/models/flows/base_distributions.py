"""Base distributions: what a flow maps to the data.

A base is a module that holds its parameters and builds the distrax distribution from them on the fly. A distribution
stored in a module would hide its parameters from the optimiser.
"""

import math
from abc import abstractmethod
from types import ModuleType
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.networks.planned import Planned, PlannedArray

if TYPE_CHECKING:
    import distrax


def _distrax() -> ModuleType:
    """Import distrax, which takes most of a second, when the first distribution is built."""
    with jax.ensure_compile_time_eval():  # what its modules compute is a number, also while a program is traced
        import distrax
    return distrax


class Base(nnx.Module):
    """A distribution over latents of `dim` features.

    >>> base = StandardNormal(2)
    >>> isinstance(base, Base), base.distribution().log_prob(jnp.zeros(2)).round(3)
    (True, Array(-1.838, dtype=float32))
    """

    dim: int

    @abstractmethod
    def distribution(self, context: Float[Array, "*batch context_dim"] | None = None) -> "distrax.Distribution":
        """The distrax distribution, with one event dimension of size `dim`."""


class StandardNormal(Base):
    """Independent standard normals, N(0, I).

    >>> StandardNormal(1).distribution().log_prob(jnp.array([0.5])).round(3)
    Array(-1.044, dtype=float32)

    Args:
        dim: number of features.
    """

    def __init__(self, dim: int):
        self.dim = dim

    def distribution(self, context=None):
        """N(0, I), whatever the context."""
        distrax = _distrax()
        dtype = jnp.result_type(float)
        normal = distrax.Normal(jnp.zeros(self.dim, dtype), jnp.ones(self.dim, dtype))
        return distrax.Independent(normal, reinterpreted_batch_ndims=1)


class StudentT(Base):
    """Independent Student's t-distributions with location 0, scale 1 and learned tails.

    The degrees of freedom of each feature are v = 2 + softplus(raw), raw being the parameter: above 2 the
    variance, v / (v - 2), is finite. Data with heavy tails asks for a base with heavy tails, which no Lipschitz map
    makes out of a normal's (Jaini et al. 2020; Alexanderson and Henter 2020).

    >>> StudentT(1).distribution().log_prob(jnp.array([0.5])).round(3)
    Array(-1.115, dtype=float32)

    Args:
        dim: number of features.
        degrees_of_freedom: where all of them start.

    Raises:
        ValueError: if `degrees_of_freedom` is not above 2.
    """

    def __init__(self, dim: int, degrees_of_freedom: float = 5.0):
        if not 2 < degrees_of_freedom < math.inf:
            raise ValueError(f"degrees_of_freedom must be finite and above 2, got {degrees_of_freedom}")
        self.dim = dim
        above = degrees_of_freedom - 2
        # The inverse of softplus, written so that it does not overflow.
        start = above + math.log(-math.expm1(-above))
        self.raw_degrees_of_freedom = nnx.Param(jnp.full(dim, start, jnp.result_type(float)))

    @staticmethod
    def planned(dim: int) -> Planned:
        """The arrays of a base of so many features."""
        yield PlannedArray("raw_degrees_of_freedom", (dim,))

    @property
    def degrees_of_freedom(self) -> Float[Array, "dim"]:
        """The degrees of freedom of each feature."""
        return 2 + jax.nn.softplus(self.raw_degrees_of_freedom[...])

    def distribution(self, context=None):
        """Student's t, whatever the context."""
        distrax = _distrax()
        from jaxflow.models.flows.student_t import StudentTDistribution  # a class of distrax

        return distrax.Independent(StudentTDistribution(self.degrees_of_freedom), reinterpreted_batch_ndims=1)


class MixtureOfGaussians(Base):
    """A weighted sum of Gaussians with diagonal covariances, all of it learned.

    log p(z) = log sum_k w_k N(z; mean_k, diag(exp(2 s_k))),    w = softmax(logits)

    A base of several modes spares the map the task of tearing one apart (Izmailov et al. 2020). At first the means are
    standard normal draws, so that the components differ, and scales and weights are all alike. The log-scale is clamped
    softly, s = r / (1 + |r| / max_log_scale), so that no component can collapse onto a row.

    >>> MixtureOfGaussians(1, 2, rngs=nnx.Rngs(0)).distribution().log_prob(jnp.zeros((5, 1))).shape
    (5,)

    Args:
        dim: number of features.
        components: number of Gaussians.
        max_log_scale: bound on |s|.
        rngs: source of the means.

    Raises:
        ValueError: if `components` is below 1 or `max_log_scale` not positive.
    """

    def __init__(self, dim: int, components: int, *, max_log_scale: float = 5.0, rngs: nnx.Rngs):
        if components < 1:
            raise ValueError(f"components must be at least 1, got {components}")
        if max_log_scale <= 0:
            raise ValueError(f"max_log_scale must be positive, got {max_log_scale}")
        self.dim = dim
        self.max_log_scale = max_log_scale
        dtype = jnp.result_type(float)
        self.means = nnx.Param(jax.random.normal(rngs.params(), (components, dim), dtype))
        self.raw_log_scales = nnx.Param(jnp.zeros((components, dim), dtype))
        self.logits = nnx.Param(jnp.zeros(components, dtype))

    @staticmethod
    def planned(dim: int, components: int) -> Planned:
        """The arrays of a base of these sizes."""
        for name in ("means", "raw_log_scales"):
            yield PlannedArray(name, (components, dim))
        yield PlannedArray("logits", (components,))

    def distribution(self, context=None):
        """The mixture, whatever the context."""
        distrax = _distrax()
        raw = self.raw_log_scales[...]
        scales = jnp.exp(raw / (1 + jnp.abs(raw) / self.max_log_scale))
        normals = distrax.Independent(distrax.Normal(self.means[...], scales), reinterpreted_batch_ndims=1)
        return distrax.MixtureSameFamily(distrax.Categorical(logits=self.logits[...]), normals)


class Uniform(Base):
    """Independent uniforms on [low, high].

    The log-density is -dim log(high - low) inside and -inf outside, where its gradient is zero: only a bijector whose
    latent space lies inside the box can be trained over it, such as one that begins with `Logit` over [0, 1].

    >>> Uniform(1).distribution().log_prob(jnp.array([0.5])).round(3)
    Array(0., dtype=float32)

    Args:
        dim: number of features.
        low: lower end, the same for every feature.
        high: upper end.

    Raises:
        ValueError: if `low` is not below `high`.
    """

    def __init__(self, dim: int, low: float = 0.0, high: float = 1.0):
        if not 0 < high - low < math.inf:
            raise ValueError(f"low must be below high, both finite, got low = {low} and high = {high}")
        self.dim = dim
        self.low = low
        self.high = high

    def distribution(self, context=None):
        """The uniform distribution, whatever the context."""
        distrax = _distrax()
        dtype = jnp.result_type(float)
        uniform = distrax.Uniform(jnp.full(self.dim, self.low, dtype), jnp.full(self.dim, self.high, dtype))
        return distrax.Independent(uniform, reinterpreted_batch_ndims=1)


class Logistic(Base):
    """Independent logistic distributions with location 0 and scale 1: tails that fall like exp(-|z|).

    The base of NICE (Dinh et al. 2015, section 3.4), where its gradients behave better than the normal's.

    >>> Logistic(1).distribution().log_prob(jnp.zeros((5, 1))).shape
    (5,)

    Args:
        dim: number of features.
    """

    def __init__(self, dim: int):
        self.dim = dim

    def distribution(self, context=None):
        """The logistic distribution, whatever the context."""
        distrax = _distrax()
        dtype = jnp.result_type(float)
        logistic = distrax.Logistic(jnp.zeros(self.dim, dtype), jnp.ones(self.dim, dtype))
        return distrax.Independent(logistic, reinterpreted_batch_ndims=1)
