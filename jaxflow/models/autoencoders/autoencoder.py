"""The autoencoder: rows that a narrow network cannot reproduce are anomalous."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from pydantic import Field

from jaxflow.models.model import MOST_LAYERS, ContextWidth, Model, ModelSpec, Width, weighted_mean
from jaxflow.models.one_program import one_program
from jaxflow.networks.mlp import MLP
from jaxflow.networks.planned import Planned, within


class AutoEncoder(Model):
    """A ReLU encoder to a few latent features and a ReLU decoder back.

    score(x) = mean_j (x_j - decode(encode(x))_j)^2

    Hinton and Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks"; without hidden layers
    the optimum spans the principal subspace. The features should have about the same scale, because the error
    counts them alike. A model, but no density: the score has the squared unit of the features and no fixed scale.

    >>> AutoEncoder(3, (4,), rngs=nnx.Rngs(0)).score(jnp.ones((5, 3))).shape
    (5,)

    Args:
        dim: number of features.
        hidden: widths of the encoder's hidden layers, from the data to the latent; the decoder has them in reverse.
        latent: number of latent features; None for half of the features, rounded down, and at least one. From
            `dim` on nothing forces the network to leave anything out, and anomalies may be reproduced as well.
        context_dim: number of context features, appended to the inputs of the encoder and of the decoder.
        rngs: source of the initial weights.
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (64, 32),
        latent: int | None = None,
        *,
        context_dim: int = 0,
        rngs: nnx.Rngs,
    ):
        self.dim = dim
        self.context_dim = context_dim
        self.latent = max(1, dim // 2) if latent is None else latent
        self.encoder = MLP(dim, self.latent, tuple(hidden), context_dim=context_dim, rngs=rngs)
        self.decoder = MLP(self.latent, dim, tuple(reversed(hidden)), context_dim=context_dim, rngs=rngs)

    @staticmethod
    def planned(dim: int, hidden: Sequence[int], latent: int | None, *, context_dim: int = 0) -> Planned:
        """The arrays of an autoencoder of these sizes."""
        latent = max(1, dim // 2) if latent is None else latent
        yield from within("encoder", MLP.planned(dim, latent, hidden, context_dim=context_dim))
        yield from within("decoder", MLP.planned(latent, dim, tuple(reversed(hidden)), context_dim=context_dim))

    def encode(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch latent"]:
        """The latent features; raises `InputError` if the context is missing, unwanted or of the wrong width."""
        x, context = self.aligned(x, context)
        return self.encoder(x, context)

    def decode(
        self, z: Float[Array, "*#batch latent"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim"]:
        """The features that latent ones stand for; raises `InputError` as `encode` does."""
        return self.decoder(z, self._checked(context))

    @property
    def term_methods(self):
        """Squared errors by default, whose mean is the score."""
        return ("squared_error", "replacement")

    def feature_terms(self, x, context=None):
        """Squared errors of the reconstruction."""
        return (x - self.reconstruct(x, context)) ** 2

    def reconstruct(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim"]:
        """Return each row after its way through the latent: `decode(encode(x))`."""
        return self.decode(self.encode(x, context), context)

    @one_program
    def score(self, x, context=None):
        """Mean over the features of the squared reconstruction error, `(*batch,)`."""
        x, context = self.aligned(x, context)
        return jnp.mean((x - self.reconstruct(x, context)) ** 2, axis=-1)

    def loss(self, x, weight=None, context=None, rngs=None):
        """Weighted mean of the score."""
        if weight is not None:
            # Rows of weight 0 may hold anything; through them a gradient of 0 * inf would be NaN.
            x = jnp.where(weight[:, None] > 0, x, 0.0)
        return weighted_mean(self.score(x, context), weight)


class AutoEncoderSpec(ModelSpec):
    """Hyperparameters of `AutoEncoder`.

    >>> type(AutoEncoderSpec(hidden=(4,)).build(3, rngs=nnx.Rngs(0))).__name__
    'AutoEncoder'
    """

    is_density: ClassVar[bool] = False

    kind: Literal["autoencoder"] = "autoencoder"
    hidden: tuple[Width, ...] = Field(
        default=(64, 32),
        max_length=MOST_LAYERS,
        description="widths of the encoder's hidden layers; the decoder has them in reverse",
    )
    latent: Width | None = Field(
        default=None, description="number of latent features; by default half of the features, at least 1"
    )
    context_dim: ContextWidth = Field(default=0, description="number of context features")

    def build(self, dim: int, *, rngs: nnx.Rngs) -> AutoEncoder:
        """An autoencoder for rows of `dim` features, with random weights."""
        return AutoEncoder(dim, self.hidden, self.latent, context_dim=self.context_dim, rngs=rngs)

    def planned(self, dim):
        """The arrays of the two networks."""
        return AutoEncoder.planned(dim, self.hidden, self.latent, context_dim=self.context_dim)
