"""The variational autoencoder: rows that a small latent space explains badly are anomalous."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field

from jaxflow.bijectors.transformers import soft_clamp
from jaxflow.models.model import MOST_DRAWS, MOST_LAYERS, ContextWidth, Model, ModelSpec, Width, weighted_mean
from jaxflow.models.one_program import one_program
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.mlp import MLP
from jaxflow.networks.planned import Planned, PlannedArray, within

VariationalScore: TypeAlias = Literal["reconstruction_probability", "elbo", "importance"]
MAX_LOG_SCALE = 5.0  # of the normal distribution that the encoder gives, in size


class VariationalAutoEncoder(Model):
    """A ReLU encoder to a normal distribution over a few latent features, and a ReLU decoder to one over the data.

    p(z) = N(0, I),   p(x | z) = N(decode(z), diag(variance)),   q(z | x) = N(m(x), diag(s(x)^2))

    log p(x) >= ELBO(x) = E_q[log p(x | z)] - KL(q(z | x) | p(z))
    KL(q | p) = 1/2 sum_k (m_k^2 + s_k^2 - 1 - 2 log s_k)

    Kingma and Welling 2014, "Auto-encoding variational Bayes", equation 10 and appendix B. Training lowers
    -E_q[log p(x | z)] + beta KL, where one draw z = m + s * noise of each row at each step stands for the mean. With
    beta = 1 it raises the bound; another weight is that of Higgins et al. 2017.

    A score is minus one of these, in nats of the features as they are given, each over `draws` of z ~ q(z | x):

    - "reconstruction_probability": E_q[log p(x | z)], what An and Cho 2015 judge by, whose decoder gives each z its own
      variances as well. How usual z itself is does not count.
    - "elbo": the evidence lower bound, with beta = 1 whatever it was in training.
    - "importance": log mean_l p(x | z_l) p(z_l) / q(z_l | x), on average between the bound and log p(x), which it nears
      as draws grow (Burda et al. 2016, theorem 1).

    The draws are the same for every row and every call, so a row's score depends on the row and the fit alone. They
    are a Latin hypercube sample of normal noise (McKay et al. 1979): each by itself is standard normal, so what is said
    of averages holds over the draws that different seeds make, and together they are spread evenly along every latent
    feature.

    It is no `Density`: the first score is none, and the others are a bound and an estimate of one, which do not
    integrate to 1.

    Each feature has one variance, the same for all rows: variance = variance_floor + exp(r) with a trained r. Without
    a floor the likelihood would have no upper bound where a decoder can hit a constant or discrete feature exactly.

    With a context this is the conditional model of Sohn et al. 2015, encoder and decoder being given the context, with
    a prior of z that does not depend on it.

    >>> VariationalAutoEncoder(3, (4,), rngs=nnx.Rngs(0)).score(jnp.ones((5, 3))).shape
    (5,)

    Args:
        dim: number of features.
        hidden: widths of the encoder's hidden layers, from the data to the latent; the decoder has them in reverse.
        latent: number of latent features; None for half of the features, rounded down, and at least one.
        beta: weight of the KL term in training; at least 0.
        variance_floor: the least variance of a feature under the decoder, above 0; they should be standardised, so
            that it means the same to all.
        score: what a score is.
        draws: number of z that a row is scored with.
        context_dim: number of context features, appended to the inputs of the encoder and of the decoder.
        rngs: source of the initial weights and of the draws.

    Attributes:
        draws: the noise of the draws, `(draws, latent)`.

    Raises:
        ValueError: if `draws` is below 1.
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (64, 32),
        latent: int | None = None,
        *,
        beta: float = 1.0,
        variance_floor: float = 1e-3,
        score: VariationalScore = "reconstruction_probability",
        draws: int = 16,
        context_dim: int = 0,
        rngs: nnx.Rngs,
    ):
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        self.dim = dim
        self.context_dim = context_dim
        self.latent = max(1, dim // 2) if latent is None else latent
        self.beta = beta
        self.variance_floor = variance_floor
        self.scored_by = score
        self.encoder = MLP(dim, 2 * self.latent, tuple(hidden), context_dim=context_dim, rngs=rngs)
        self.decoder = MLP(self.latent, dim, tuple(reversed(hidden)), context_dim=context_dim, rngs=rngs)
        self.raw_variance = nnx.Param(jnp.zeros(dim))
        self.draws = Buffer(latin_hypercube_normal(rngs.params(), draws, self.latent))

    @staticmethod
    def planned(dim: int, hidden: Sequence[int], latent: int | None, draws: int, *, context_dim: int = 0) -> Planned:
        """The arrays of a variational autoencoder of these sizes."""
        latent = max(1, dim // 2) if latent is None else latent
        yield from within("encoder", MLP.planned(dim, 2 * latent, hidden, context_dim=context_dim))
        yield from within("decoder", MLP.planned(latent, dim, tuple(reversed(hidden)), context_dim=context_dim))
        yield PlannedArray("raw_variance", (dim,))
        yield PlannedArray("draws", (draws, latent))

    @property
    def variance(self) -> Float[Array, "dim"]:
        """The variance of each feature under the decoder."""
        return self.variance_floor + jnp.exp(self.raw_variance[...])

    def encode(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """Means and log standard deviations of q(z | x), the latter clamped softly to at most 5 in size.

        Raises:
            InputError: if the context is missing, unwanted or of the wrong width.
        """
        x, context = self.aligned(x, context)
        mean, raw = jnp.split(self.encoder(x, context), 2, axis=-1)
        return mean, soft_clamp(raw, MAX_LOG_SCALE)

    def decode(
        self, z: Float[Array, "*#batch latent"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim"]:
        """The mean of p(x | z); raises `InputError` as `encode` does."""
        return self.decoder(z, self._checked(context))

    def reconstruct(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim"]:
        """The mean of `decode(z)` over the draws of z ~ q(z | x)."""
        mean, log_scale = self.encode(x, context)
        decoded = jax.lax.map(lambda noise: self.decode(mean + jnp.exp(log_scale) * noise, context), self.draws[...])
        return jnp.mean(decoded, axis=0)

    def kl_divergence(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch"]:
        """KL(q(z | x) | p(z)) of each row in nats, in closed form."""
        return _kl_from_prior(*self.encode(x, context))

    @property
    def term_methods(self):
        """Log-densities given the latent features by default."""
        return ("reconstruction", "replacement")

    def feature_terms(self, x, context=None):
        """-E_q[log p(x_j | z)] of each feature in nats, over the draws; their sum scores by reconstruction."""
        x, context = self.aligned(x, context)
        mean, log_scale = self.encode(x, context)
        start = jnp.zeros(x.shape, jnp.result_type(x, mean))

        def add(total, noise):
            # One draw after the other, since all at once would take as many times the memory.
            return total + self._terms(x, mean + jnp.exp(log_scale) * noise, context), None

        total, _ = jax.lax.scan(add, start, self.draws[...])
        return total / self.draws.shape[0]

    def lower_bound(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch"]:
        """ELBO(x) of each row in nats, over the draws."""
        return -jnp.sum(self.feature_terms(x, context), axis=-1) - self.kl_divergence(x, context)

    def importance_bound(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch"]:
        """log mean_l p(x | z_l) p(z_l) / q(z_l | x) of each row in nats, over the draws."""
        x, context = self.aligned(x, context)
        mean, log_scale = self.encode(x, context)

        def log_weight(noise):
            z = mean + jnp.exp(log_scale) * noise
            # log p(z) - log q(z | x), in which log(2 pi) cancels
            ratio = 0.5 * jnp.sum(noise**2 - z**2, axis=-1) + jnp.sum(log_scale, axis=-1)
            return ratio - jnp.sum(self._terms(x, z, context), axis=-1)

        weights = jax.lax.map(log_weight, self.draws[...])
        return jax.nn.logsumexp(weights, axis=0) - math.log(self.draws.shape[0])

    @one_program
    def score(self, x, context=None):
        """Minus the quantity that the model is scored by, in nats, `(*batch,)`."""
        x, context = self.aligned(x, context)
        if self.scored_by == "reconstruction_probability":
            return jnp.sum(self.feature_terms(x, context), axis=-1)
        return -(self.lower_bound if self.scored_by == "elbo" else self.importance_bound)(x, context)

    def losses(self, x, context=None):
        """-E_q[log p(x | z)] + beta KL of each row, over the draws that it is scored with."""
        x, context = self.aligned(x, context)
        return jnp.sum(self.feature_terms(x, context), axis=-1) + self.beta * self.kl_divergence(x, context)

    def loss(self, x, weight=None, context=None, rngs=None):
        """Weighted mean of the negative bound, over one fresh draw a row; without `rngs`, of `losses`."""
        if weight is not None:
            # Rows of weight 0 may hold anything; through them a gradient of 0 * inf would be NaN.
            x = jnp.where(weight[:, None] > 0, x, 0.0)
        if rngs is None:
            return weighted_mean(self.losses(x, context), weight)
        mean, log_scale = self.encode(x, context)
        z = mean + jnp.exp(log_scale) * jax.random.normal(rngs(), mean.shape, mean.dtype)
        reconstruction = jnp.sum(self._terms(x, z, context), axis=-1)
        return weighted_mean(reconstruction + self.beta * _kl_from_prior(mean, log_scale), weight)

    @one_program
    def sample(
        self,
        key: PRNGKeyArray,
        sample_shape: Any = (),
        context: Float[Array, "*batch context_dim"] | None = None,
    ) -> Float[Array, "*sample dim"]:
        """Draws of x from p(x | z), z from p(z), of shape `sample_shape + context.shape[:-1] + (dim,)`."""
        sample_shape, context = self.asked(sample_shape, context)
        latent_key, noise_key = jax.random.split(key)
        shape = (*sample_shape, *(() if context is None else context.shape[:-1]))
        variance = self.variance
        mean = self.decode(jax.random.normal(latent_key, (*shape, self.latent), variance.dtype), context)
        return mean + jnp.sqrt(variance) * jax.random.normal(noise_key, mean.shape, mean.dtype)

    def _terms(self, x: Array, z: Array, context: Array | None) -> Float[Array, "*batch dim"]:
        """-log p(x_j | z) of each feature."""
        variance = self.variance
        squares = (x - self.decoder(z, context)) ** 2
        return 0.5 * (squares / variance + jnp.log(variance) + math.log(2 * math.pi))


def latin_hypercube_normal(key: PRNGKeyArray, draws: int, dim: int) -> Float[Array, "draws dim"]:
    """Standard normal numbers of which every column has one in each of `draws` equally likely intervals.

    McKay, Beckman and Conover 1979, section 2: the intervals are in random order in every column, and a number lies in
    its interval at random. So each row by itself is standard normal, while means over all rows vary less.
    """
    order_key, place_key = jax.random.split(key)
    intervals = jnp.arange(draws, dtype=jnp.result_type(float))
    orders = jax.vmap(jax.random.permutation, (0, None), 1)(jax.random.split(order_key, dim), intervals)
    uniform = (orders + jax.random.uniform(place_key, orders.shape, orders.dtype)) / draws
    # At 0 and 1 it would be infinite.
    least = jnp.finfo(uniform.dtype).eps
    return jax.scipy.special.ndtri(jnp.clip(uniform, least, 1 - least))


def _kl_from_prior(
    mean: Float[Array, "*batch latent"], log_scale: Float[Array, "*batch latent"]
) -> Float[Array, "*batch"]:
    return 0.5 * jnp.sum(mean**2 + jnp.expm1(2 * log_scale) - 2 * log_scale, axis=-1)


class VariationalAutoEncoderSpec(ModelSpec):
    """Hyperparameters of `VariationalAutoEncoder`.

    >>> type(VariationalAutoEncoderSpec(hidden=(4,), draws=2).build(3, rngs=nnx.Rngs(0))).__name__
    'VariationalAutoEncoder'
    """

    is_density: ClassVar[bool] = False

    kind: Literal["vae"] = "vae"
    hidden: tuple[Width, ...] = Field(
        default=(64, 32),
        max_length=MOST_LAYERS,
        description="widths of the encoder's hidden layers; the decoder has them in reverse",
    )
    latent: Width | None = Field(
        default=None, description="number of latent features; by default half of the features, at least 1"
    )
    beta: float = Field(
        default=1.0, ge=0, le=1e6, description="weight of the KL term in training; scores have weight 1"
    )
    variance_floor: float = Field(
        default=1e-3,
        gt=0,
        le=1e6,
        description="least variance of a feature under the decoder, of standardised features",
    )
    score: VariationalScore = Field(
        default="reconstruction_probability",
        description="minus what a score is: the mean log-density of the row under decoded draws, the evidence lower "
        "bound, or the importance-weighted bound, which nears the log-density",
    )
    draws: int = Field(
        default=16, ge=1, le=MOST_DRAWS, description="draws of the latent features with which a row is scored"
    )
    context_dim: ContextWidth = Field(default=0, description="number of context features")

    def build(self, dim: int, *, rngs: nnx.Rngs) -> VariationalAutoEncoder:
        """A variational autoencoder for rows of `dim` features, with random weights."""
        return VariationalAutoEncoder(
            dim,
            self.hidden,
            self.latent,
            beta=self.beta,
            variance_floor=self.variance_floor,
            score=self.score,
            draws=self.draws,
            context_dim=self.context_dim,
            rngs=rngs,
        )

    def planned(self, dim):
        """The arrays of the two networks, and the draws."""
        return VariationalAutoEncoder.planned(dim, self.hidden, self.latent, self.draws, context_dim=self.context_dim)
