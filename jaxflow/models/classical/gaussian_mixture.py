"""A mixture of Gaussians, fitted by expectation-maximization."""

from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from pydantic import Field

from jaxflow.errors import InputError
from jaxflow.models.classical.expectation_maximization import (
    MixtureParameters,
    expectation_maximization,
    maximization,
    mixture_log_prob,
)
from jaxflow.models.classical.gaussian import refuse_values_not_finite, times_factor, usable_weight
from jaxflow.models.classical.kmeans import kmeans, nearest_centre
from jaxflow.models.model import MOST_COMPONENTS, Density, DirectlyFitted, ModelSpec
from jaxflow.models.normals import Normals
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.planned import PlannedArray

MixtureCovariance = Literal["full", "diagonal"]


class GaussianMixture(Density, DirectlyFitted):
    """A weighted sum of Gaussian densities.

    log p(x) = log sum_k exp(log w_k + log N(x; mean_k, covariance_k))

    Before the fit all components are standard normal. The fit is by expectation-maximization (Dempster, Laird and
    Rubin 1977; Bishop 2006, section 9.2.2) from a k-means start, as in scikit-learn, and finds a local optimum of the
    likelihood. The features should be of about the same scale: k-means and the regularization take them alike.

    >>> GaussianMixture(2, 3).log_prob(jnp.ones((5, 2))).shape
    (5,)

    Attributes:
        log_weights: `(components,)`.
        means: `(components, dim)`.
        factors: as in `MixtureParameters`.

    Args:
        dim: number of features.
        components: number of Gaussians.
        covariance: form of each covariance, "full" or "diagonal".
        regularization: this fraction of the mean variance of the features, over all training rows, is added to the
            diagonal of every covariance, so that no component can collapse onto a few rows. On standardised data it is
            scikit-learn's `reg_covar`.
        max_iterations: most iterations of EM.
        tolerance: EM stops once the mean log-likelihood of a row changes by less, in nats.
        starts: number of k-means starts, of which the one with the best training likelihood after EM is kept; they
            run side by side, so memory grows with it.
    """

    def __init__(
        self,
        dim: int,
        components: int = 8,
        covariance: MixtureCovariance = "full",
        regularization: float = 1e-2,
        max_iterations: int = 200,
        tolerance: float = 1e-4,
        starts: int = 1,
    ):
        self.dim = dim
        self.context_dim = 0
        self.components = components
        self.covariance = covariance
        self.regularization = regularization
        self.max_iterations = max_iterations
        self.tolerance = tolerance
        self.starts = starts
        factor = jnp.ones(dim) if covariance == "diagonal" else jnp.eye(dim)
        self.log_weights = Buffer(jnp.full(components, -jnp.log(components)))
        self.means = Buffer(jnp.zeros((components, dim)))
        self.factors = Buffer(jnp.tile(factor, (components,) + (1,) * factor.ndim))

    def parameters(self) -> MixtureParameters:
        """The parameters as plain arrays, as the functions of `expectation_maximization` take them."""
        return MixtureParameters(self.log_weights[...], self.means[...], self.factors[...])

    def log_prob(self, x, context=None):
        """Log-density in nats, `(*batch,)`; raises `InputError` if given a context, which it cannot use."""
        x, _ = self.aligned(x, context)
        return mixture_log_prob(x, self.parameters())

    @property
    def term_methods(self):
        """Exact conditional densities by default."""
        return ("conditional", "replacement")

    def sample(self, key, sample_shape=(), context=None):
        """Draws of shape `sample_shape + (dim,)`; raises `InputError` if given a context."""
        sample_shape, _ = self.asked(sample_shape, context)
        return sample_mixture(key, self.parameters(), sample_shape)

    def as_normals(self):
        """The components."""
        return Normals(*(np.asarray(array, np.float64) for array in self.parameters()))

    def fit_directly(self, x, weight=None, context=None, *, key):
        """Run k-means and EM, and set the parameters in place, as `DirectlyFitted.fit_directly` says.

        The key draws the starting centres. The loss has `max_iterations` entries if EM did not converge.

        Raises:
            InputError: besides, if there are fewer rows than components, or a covariance became singular.
        """
        x, _ = self.aligned(x, context)
        weight = usable_weight(x, weight)
        rows = int(np.count_nonzero(np.asarray(weight)))
        if rows < self.components:
            raise InputError(
                f"components = {self.components}: expected at most the number of training rows, which is {rows}"
            )
        runs = fit_mixture(
            key,
            x,
            weight,
            self.regularization,
            self.tolerance,
            components=self.components,
            covariance=self.covariance,
            max_iterations=self.max_iterations,
            starts=self.starts,
        )
        parameters, iterations, losses = _best_run(*jax.tree.map(np.asarray, runs))
        losses = losses[1 : iterations + 1]
        if not np.isfinite(losses).all():
            refuse_values_not_finite(x, weight)
            raise InputError(
                f"a component of the mixture collapsed onto too few distinct rows: raise regularization, which is "
                f"{self.regularization:g}, or lower components, which is {self.components}"
            )
        # Not assignments to [...]: the fit has the precision of the data, which need not be the one of the start.
        self.log_weights.set_value(jnp.asarray(parameters.log_weights))
        self.means.set_value(jnp.asarray(parameters.means))
        self.factors.set_value(jnp.asarray(parameters.factors))
        return jnp.asarray(losses)


class GaussianMixtureSpec(ModelSpec):
    """Hyperparameters of `GaussianMixture`.

    >>> type(GaussianMixtureSpec(components=2).build(3, rngs=nnx.Rngs(0))).__name__
    'GaussianMixture'
    """

    fits_itself: ClassVar[bool] = True
    takes_context: ClassVar[bool] = False

    kind: Literal["gaussian_mixture"] = "gaussian_mixture"
    components: int = Field(default=8, ge=1, le=MOST_COMPONENTS, description="number of Gaussians")
    rows_each: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="least training rows for each Gaussian, on average; where there are fewer rows, there are fewer "
        "Gaussians (default: as many Gaussians as `components` says)",
    )
    covariance: MixtureCovariance = Field(default="full", description="form of each covariance matrix")
    regularization: float = Field(
        default=1e-2, ge=0, le=1, description="fraction of the mean variance that is added to each diagonal; 0 = none"
    )
    max_iterations: int = Field(
        default=200, ge=1, le=100_000, description="most iterations of expectation-maximization"
    )
    tolerance: float = Field(
        default=1e-4, ge=0, le=1e6, description="stop once the mean log-likelihood changes by less than this, in nats"
    )
    starts: int = Field(default=1, ge=1, le=1024, description="number of k-means starts, of which the best is kept")

    def for_rows(self, count: int) -> "GaussianMixtureSpec":
        """Return this spec with as many Gaussians as `count` rows are enough for, one at least."""
        if self.rows_each is None:
            return self
        return self.model_copy(update={"components": min(self.components, max(1, count // self.rows_each))})

    def build(self, dim: int, *, rngs: nnx.Rngs) -> GaussianMixture:
        """A mixture of standard normals over `dim` features, ready to be fitted."""
        return GaussianMixture(dim, **self.model_dump(exclude={"kind", "rows_each"}))

    def planned(self, dim):
        """Weights, means and factors."""
        yield PlannedArray("log_weights", (self.components,))
        yield PlannedArray("means", (self.components, dim))
        factor = (dim,) if self.covariance == "diagonal" else (dim, dim)
        yield PlannedArray("factors", (self.components, *factor))


@partial(jax.jit, static_argnames="sample_shape")
def sample_mixture(
    key: PRNGKeyArray, parameters: MixtureParameters, sample_shape: tuple[int, ...]
) -> Float[Array, "*sample dim"]:
    """Draws of shape `sample_shape + (dim,)`."""
    log_weights, means, factors = parameters
    components, dim = means.shape
    component_key, noise_key = jax.random.split(key)
    component = jax.random.categorical(component_key, log_weights, shape=sample_shape)
    noise = jax.random.normal(noise_key, (*sample_shape, dim), means.dtype)

    def place(k, draws):
        return jnp.where((component == k)[..., None], means[k] + times_factor(noise, factors[k]), draws)

    # Component by component: to look up the factor of each draw would take a matrix for each draw.
    return lax.fori_loop(0, components, place, noise)


@partial(jax.jit, static_argnames=("components", "covariance", "max_iterations", "starts"))
def fit_mixture(
    key: PRNGKeyArray,
    x: Float[Array, "n dim"],
    weight: Float[Array, "n"],
    regularization: float | Float[Array, ""],
    tolerance: float | Float[Array, ""],
    *,
    components: int,
    covariance: MixtureCovariance,
    max_iterations: int,
    starts: int,
) -> tuple[MixtureParameters, Int[Array, "starts"], Float[Array, "starts losses"]]:
    """`starts` runs of k-means and EM; a pure function, compiled once for each shape and static argument.

    Returns:
        For each run the parameters, each array with a leading axis `starts`; the number of iterations; and the losses
        before the first iteration and after each, `(starts, max_iterations + 1)`, NaN where no iteration was made.
    """
    # A row of weight 0 may hold anything, and 0 * inf would be NaN.
    x = jnp.where(weight[:, None] > 0, x, 0.0)
    weight = weight / jnp.mean(weight)
    share = weight / jnp.sum(weight)
    mean = jnp.matmul(share, x, precision="highest")
    ridge = regularization * jnp.mean(jnp.matmul(share, (x - mean) ** 2, precision="highest"))

    def run(key: PRNGKeyArray):
        centres = kmeans(key, x, weight, components)
        member = jax.nn.one_hot(nearest_centre(x, centres), components, dtype=x.dtype) * weight[:, None]
        start = maximization(x, member, centres, ridge, diagonal=covariance == "diagonal")
        return expectation_maximization(x, weight, start, ridge, tolerance, max_iterations=max_iterations)

    keys = jax.random.split(key, starts)
    if starts == 1:  # products with a batch axis, even of length one, are slower on CPUs
        return jax.tree.map(lambda array: array[None], run(keys[0]))
    return jax.vmap(run)(keys)


def _best_run(parameters, iterations, losses):
    last = losses[np.arange(len(losses)), iterations]
    best = np.argmin(np.where(np.isfinite(last), last, np.inf))
    return jax.tree.map(lambda array: array[best], (parameters, iterations, losses))
