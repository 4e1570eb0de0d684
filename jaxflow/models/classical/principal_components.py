"""Principal components: rows off the directions in which normal rows vary are anomalous."""

from typing import ClassVar, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float
from pydantic import Field, model_validator

from jaxflow.errors import InputError
from jaxflow.models.classical.covariance import centre
from jaxflow.models.classical.gaussian import Gaussian, refuse_values_not_finite, usable_weight
from jaxflow.models.model import DirectlyFitted, ModelSpec, weighted_mean
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.planned import PlannedArray

ComponentScore: TypeAlias = Literal["reconstruction", "mahalanobis"]
VARIANCE = 0.95


class PrincipalComponents(DirectlyFitted):
    """The directions of greatest variance, of which the first q are kept and the others dropped.

    covariance = sum_j l_j v_j v_j^T,   l_1 >= l_2 >= ... >= l_dim,   z_j = v_j^T (x - mean)

    reconstruct(x) = mean + sum_{j <= q} z_j v_j

    The score is one of these:

    - "reconstruction": 1/dim sum_{j > q} z_j^2 = mean_j (x_j - reconstruct(x)_j)^2, the squared prediction error of
      Jackson and Mudholkar 1979 ("Control procedures for residuals associated with principal component analysis"),
      divided by dim so that it compares with that of an `AutoEncoder`, whose optimum without hidden layers this is.
    - "mahalanobis": sum_{j <= q} z_j^2 / l_j + 1/s^2 sum_{j > q} z_j^2, with s^2 the mean of the dropped l_j. Shyu et
      al. 2003 ("A novel anomaly detection scheme based on principal component classifier") judge major and minor
      components by two such sums, each term divided by its own l_j; with one s^2 for all minor ones, the sum of both is
      the squared Mahalanobis distance under the covariance that probabilistic principal component analysis fits by
      maximum likelihood (Tipping and Bishop 1999, section 3.2; Bishop 2006, equations 12.45 and 12.46): l_j in the kept
      directions, s^2 in all others.

    With the second no variance counts as less than `floor` times the mean variance, so that a direction in which the
    training rows do not vary, up to rounding, neither divides by zero nor decides alone. The fit is by maximum
    likelihood (mean and covariance averaged under the sample weights), and before it the model is that of standard
    normal rows with nothing kept. A model, but no density: errors have the squared unit of the features, which should
    be standardised.

    At least one direction is dropped, and none is kept in which the training rows do not vary.

    >>> PrincipalComponents(3, components=1).score(jnp.ones((5, 3))).shape
    (5,)

    Args:
        dim: number of features.
        variance: keep the fewest directions that have this share of all variance; above 0, at most 1.
        components: keep so many instead; 0 to dim - 1.
        score: what a score is.
        floor: least variance of a direction, as a fraction of the mean variance of the features; above 0.

    Attributes:
        mean: `(dim,)`.
        directions: v_j as rows, orthonormal, those of greatest variance first, `(dim, dim)`; each up to its sign.
        variances: l_j, `(dim,)`.
        kept: whether each direction is kept, `(dim,)`.

    Raises:
        InputError: if `components` is not below `dim`.
    """

    def __init__(
        self,
        dim: int,
        variance: float = VARIANCE,
        components: int | None = None,
        *,
        score: ComponentScore = "reconstruction",
        floor: float = 1e-6,
    ):
        if components is not None and components >= dim:
            raise InputError(
                f"components = {components} of {dim} features: expected at most {dim - 1}, so that one direction is "
                "left to be judged by"
            )
        self.dim = dim
        self.context_dim = 0
        self.share = variance
        self.components = components
        self.scored_by = score
        self.floor = floor
        self.mean = Buffer(jnp.zeros(dim))
        self.directions = Buffer(jnp.eye(dim))
        self.variances = Buffer(jnp.ones(dim))
        self.kept = Buffer(jnp.zeros(dim, bool))

    def project(self, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
        """z, the coordinates of each row along all directions."""
        return jnp.matmul(x - self.mean[...], self.directions[...].T, precision="highest")

    def reconstruct(
        self, x: Float[Array, "*batch dim"], context: Float[Array, "*batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim"]:
        """Return each row projected on the kept directions; raises `InputError` if given a context."""
        x, _ = self.aligned(x, context)
        kept = jnp.where(self.kept[...], self.project(x), 0.0)
        return self.mean[...] + jnp.matmul(kept, self.directions[...], precision="highest")

    def score(self, x, context=None):
        """The error or the distance, `(*batch,)`; raises `InputError` if given a context."""
        x, _ = self.aligned(x, context)
        squares = self.project(x) ** 2
        if self.scored_by == "reconstruction":
            return jnp.mean(jnp.where(self.kept[...], 0.0, squares), axis=-1)
        return jnp.sum(squares / self._counted_variances(), axis=-1)

    def loss(self, x, weight=None, context=None, rngs=None):
        """Weighted mean of the score."""
        return weighted_mean(self.score(x, context), weight)

    def as_gaussian(self) -> Gaussian:
        """The probabilistic model: a normal density of which "mahalanobis" is the squared Mahalanobis distance."""
        gaussian = Gaussian(self.dim)
        rows = jnp.sqrt(self._counted_variances())[:, None] * self.directions[...]
        upper = jnp.linalg.qr(rows, mode="r")  # upper^T upper is the covariance
        gaussian.mean.set_value(self.mean[...])
        gaussian.factor.set_value((upper * jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0)[:, None]).T)
        return gaussian

    @property
    def term_methods(self):
        """By default the terms that make up the score: squared errors, or the densities of the Gaussian it is then."""
        methods = ("squared_error", "replacement")
        return methods if self.scored_by == "reconstruction" else ("conditional", *methods)

    def feature_terms(self, x, context=None):
        """Squared errors of the reconstruction."""
        return (x - self.reconstruct(x, context)) ** 2

    def as_conditional(self, x, context=None):
        """The Gaussian of the probabilistic model, and the rows."""
        return self.as_gaussian(), x

    def fit_directly(self, x, weight=None, context=None, *, key):
        """Find mean, directions and variances, and choose what to keep, in place.

        Args:
            x: training rows.
            weight: how much each row counts; only ratios between weights matter, and a row of weight 0 is ignored.
            context: must be None.
            key: unused.

        Returns:
            The training loss, `(1,)`: the mean score.

        Raises:
            InputError: if there is a context, a row or weight cannot be used, or the rows are all the same. A failed
                fit leaves the model as it was.
        """
        x, _ = self.aligned(x, context)
        weight = usable_weight(x, weight)
        mean, directions, variances = principal_axes(x, weight)
        if not np.isfinite(np.asarray(variances)).all():
            refuse_values_not_finite(x, weight)
            raise InputError(f"the training rows hold values whose squares overflow {x.dtype}: standardise them first")
        if not np.asarray(variances).any():
            raise InputError("the training rows are all the same, so there is no direction in which they vary")
        # Not an assignment to [...]: the fit has the precision of the data, which need not be the one of the start.
        self.mean.set_value(mean)
        self.directions.set_value(directions)
        self.variances.set_value(variances)
        self.kept.set_value(jnp.asarray(self._chosen(np.asarray(variances))))
        return self.loss(x, weight)[None]

    def _chosen(self, variances: Float[np.ndarray, "dim"]) -> Bool[np.ndarray, "dim"]:
        rounding = 10 * self.dim * float(np.finfo(variances.dtype).eps)
        # The root, as it is the singular values of the rows that have this rounding error.
        varying = int(np.sum(np.sqrt(variances) > rounding * np.sqrt(variances[0])))
        if self.components is None:
            shares = np.cumsum(variances) / np.sum(variances)
            wanted = 1 + int(np.sum(shares < self.share - rounding))
        else:
            wanted = self.components
        return np.arange(self.dim) < min(wanted, varying, self.dim - 1)

    def _counted_variances(self) -> Float[Array, "dim"]:
        kept, variances = self.kept[...], self.variances[...]
        dropped = jnp.sum(jnp.where(kept, 0.0, variances)) / jnp.maximum(jnp.sum(~kept), 1)
        return jnp.maximum(jnp.where(kept, variances, dropped), self.floor * jnp.mean(variances))


@jax.jit
def principal_axes(
    x: Float[Array, "n dim"], weight: Float[Array, "n"]
) -> tuple[Float[Array, "dim"], Float[Array, "dim dim"], Float[Array, "dim"]]:
    """Mean, directions as rows, and the variance along each, the greatest first; a pure function of the data.

    From the singular values of the centred rows, each times the root of its weight: the covariance, whose condition
    number is that of the rows squared, is never formed. Many rows are first made few by the R of a QR decomposition.
    Fewer rows than features span few directions; the others, of no variance, complete the basis.
    """
    centred, mean, weight = centre(x, weight)
    count, dim = x.shape
    rows = jnp.sqrt(weight)[:, None] * centred
    if count < dim:
        _, singular, spanned = jnp.linalg.svd(rows, full_matrices=False)
        basis, _ = jnp.linalg.qr(spanned.T, mode="complete")
        directions = jnp.concatenate([spanned, basis[:, count:].T])
        return mean, directions, jnp.pad(singular**2, (0, dim - count))
    _, singular, directions = jnp.linalg.svd(jnp.linalg.qr(rows, mode="r"))
    return mean, directions, singular**2


class PrincipalComponentsSpec(ModelSpec):
    """Hyperparameters of `PrincipalComponents`.

    >>> type(PrincipalComponentsSpec(components=1).build(3, rngs=nnx.Rngs(0))).__name__
    'PrincipalComponents'
    """

    fits_itself: ClassVar[bool] = True
    takes_context: ClassVar[bool] = False
    is_density: ClassVar[bool] = False

    kind: Literal["pca"] = "pca"
    variance: float = Field(
        default=VARIANCE, gt=0, le=1, description="share of the variance that the kept directions have at least"
    )
    components: int | None = Field(
        default=None,
        ge=0,
        le=1 << 20,
        description="number of directions that are kept, instead of a share of the variance",
    )
    score: ComponentScore = Field(
        default="reconstruction",
        description="what a score is: the mean squared error of the reconstruction, or the squared Mahalanobis "
        "distance under the density of probabilistic principal component analysis",
    )
    floor: float = Field(
        default=1e-6, gt=0, le=1, description="least variance of a direction, as a fraction of the mean variance"
    )

    @model_validator(mode="after")
    def _one_way_to_choose(self):
        if self.components is not None and self.variance != VARIANCE:
            raise ValueError(f"components = {self.components} leaves nothing to variance = {self.variance:g}: name one")
        return self

    def build(self, dim: int, *, rngs: nnx.Rngs) -> PrincipalComponents:
        """The model for rows of `dim` features, ready to be fitted; raises `InputError` for too many components."""
        return PrincipalComponents(dim, self.variance, self.components, score=self.score, floor=self.floor)

    def planned(self, dim):
        """Mean and directions, the variance along each, and which are kept."""
        yield PlannedArray("mean", (dim,))
        yield PlannedArray("directions", (dim, dim))
        yield PlannedArray("variances", (dim,))
        yield PlannedArray("kept", (dim,), "bool")
