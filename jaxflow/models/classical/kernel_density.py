"""A Gaussian kernel on each of the training rows."""

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int
from pydantic import Field

from jaxflow.models.classical.gaussian import refuse_values_not_finite, usable_weight
from jaxflow.models.model import Density, DirectlyFitted, ModelSpec
from jaxflow.models.normals import Normals
from jaxflow.models.row_padding import size_class
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.planned import PlannedArray
from jaxflow.networks.row_blocks import in_row_blocks

BANDWIDTHS = np.geomspace(0.01, 2.0, 24)  # that are tried, in mean standard deviations of the features
JUDGED_ROWS = 2000  # rows by whose likelihood the bandwidth is chosen


class KernelDensity(Density, DirectlyFitted):
    """The mean of normal densities with one width, one around each training row (Parzen 1962).

    log p(x) = log sum_i w_i exp(-|x - x_i|^2 / (2 h^2)) - dim/2 log(2 pi h^2)

    The width h is the one of 24 between 0.01 and 2 mean standard deviations of the features under which the training
    rows are most likely, each judged by the others (Duin 1976; leave-one-out likelihood). Where most rows have an exact
    copy among the others that is the least, and the density is then as good as a list of rows. Far from all rows the
    score grows as the squared distance to the nearest. Until the fit it is a standard normal density.

    Features should have about one scale. A fitted model holds rows of the training data.

    >>> KernelDensity(2, rows=4).log_prob(jnp.ones((5, 2))).shape
    (5,)

    Args:
        dim: number of features.
        rows: most rows that it holds; of more, as many are drawn.
        bandwidth: h in mean standard deviations of the features; None to choose it.

    Attributes:
        centres: the rows, `(rows, dim)`.
        weights: w, `(rows,)`; 0 for places that no row takes.
        width: h, in the units of the features.
    """

    def __init__(self, dim: int, rows: int = 10_000, bandwidth: float | None = None):
        self.dim = dim
        self.context_dim = 0
        self.rows = rows
        self.bandwidth = bandwidth
        dtype = jnp.result_type(float)
        self.centres = Buffer(jnp.zeros((rows, dim), dtype))
        self.weights = Buffer((jnp.arange(rows) == 0).astype(dtype))
        self.width = Buffer(jnp.ones((), dtype))

    def log_prob(self, x, context=None):
        """Log-density in nats; raises `InputError` if given a context, which it cannot use."""
        x, _ = self.aligned(x, context)
        fitted = self.centres[...], self.weights[...], self.width[...]
        rows = x.reshape(-1, self.dim)
        return in_row_blocks(_log_density, fitted, rows)[:, 0].reshape(x.shape[:-1])

    def sample(self, key, sample_shape=(), context=None):
        """Draws of shape `sample_shape + (dim,)`; raises `InputError` if given a context."""
        sample_shape, _ = self.asked(sample_shape, context)
        row_key, noise_key = jax.random.split(key)
        row = jax.random.categorical(row_key, jnp.log(self.weights[...]), shape=sample_shape)
        centres = self.centres[...]
        noise = jax.random.normal(noise_key, (*sample_shape, self.dim), centres.dtype)
        return centres[row] + self.width[...] * noise

    def as_normals(self):
        """The kernels on the rows that it holds."""
        weights, centres = (np.asarray(array[...], np.float64) for array in (self.weights, self.centres))
        held = weights > 0
        widths = np.broadcast_to(np.asarray(self.width[...], np.float64), centres[held].shape)
        return Normals(np.log(weights[held]), centres[held], widths)

    def fit_directly(self, x, weight=None, context=None, *, key):
        """Take the rows, and choose the width, in place, as `DirectlyFitted.fit_directly` says.

        Where there are many rows, the key draws which are kept, and which of them choose the width. The loss has one
        entry, that of rows judged by the others.
        """
        x, _ = self.aligned(x, context)
        weight = usable_weight(x, weight)
        refuse_values_not_finite(x, weight)
        # Arrays of as many rows as there happen to be are NumPy's: for each number JAX would compile anew.
        rng = np.random.default_rng(jax.random.key_data(key).tolist())
        rows = np.flatnonzero(np.asarray(weight))
        if len(rows) > self.rows:
            rows = np.sort(rng.choice(rows, self.rows, replace=False))
        centres, mass = jnp.asarray(self._placed(x, rows)), jnp.asarray(self._placed(weight, rows))
        judged = np.concatenate([rng.permutation(len(rows)), np.arange(len(rows), self.rows)])[:JUDGED_ROWS]
        share = mass / jnp.sum(mass)
        mean = jnp.sum(share[:, None] * centres, axis=0)
        deviation = jnp.sqrt(jnp.mean(jnp.sum(share[:, None] * (centres - mean) ** 2, axis=0)))
        deviation = jnp.where(deviation > 0, deviation, 1.0)
        tried = BANDWIDTHS if self.bandwidth is None else np.array([self.bandwidth])
        widths = jnp.asarray(tried, x.dtype) * deviation
        losses = jnp.zeros(len(widths), x.dtype)
        if len(rows) > 1:  # a row alone has no others to be judged by
            losses = _left_out(centres, mass, widths, jnp.asarray(judged))
        best = int(np.argmin(np.asarray(losses)))
        self.centres.set_value(centres)
        self.weights.set_value(share)
        self.width.set_value(widths[best])
        return losses[best : best + 1]

    def _placed(self, values: Any, rows: Int[np.ndarray, "kept"]) -> np.ndarray:
        """The values of these rows, and zeros for the places that no row takes."""
        values = np.asarray(values)
        placed = np.zeros((self.rows, *values.shape[1:]), values.dtype)
        placed[: len(rows)] = values[rows]
        return placed


class KernelDensitySpec(ModelSpec):
    """Hyperparameters of `KernelDensity`.

    >>> type(KernelDensitySpec(rows=100).build(3, rngs=nnx.Rngs(0))).__name__
    'KernelDensity'
    """

    fits_itself: ClassVar[bool] = True
    takes_context: ClassVar[bool] = False

    kind: Literal["kernel_density"] = "kernel_density"
    rows: int = Field(default=10_000, ge=1, le=1 << 24, description="most training rows that are kept")
    bandwidth: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="standard deviation of the kernels, in mean standard deviations of the features (default: "
        "chosen by the likelihood of rows under the others)",
    )

    def for_rows(self, count: int) -> "KernelDensitySpec":
        """Return this spec with no more places than the `size_class` of the number of rows."""
        return self.model_copy(update={"rows": min(self.rows, size_class(count))})

    def build(self, dim: int, *, rngs: nnx.Rngs) -> KernelDensity:
        """A density over `dim` features, ready to be fitted."""
        return KernelDensity(dim, self.rows, self.bandwidth)

    def planned(self, dim):
        """Rows, weights and the width."""
        yield PlannedArray("centres", (self.rows, dim))
        yield PlannedArray("weights", (self.rows,))
        yield PlannedArray("width", ())


def _log_density(fitted: Any, rows: Float[Array, "n dim"]) -> Float[Array, "n 1"]:
    centres, weights, width = fitted
    exponents = jnp.log(weights) - _squared_distances(rows, centres) / (2 * width**2)
    constant = rows.shape[-1] * (jnp.log(width) + 0.5 * jnp.log(2 * jnp.pi))
    return jax.nn.logsumexp(exponents, axis=1)[:, None] - constant


def _squared_distances(rows: Float[Array, "n dim"], centres: Float[Array, "m dim"]) -> Float[Array, "n m"]:
    """|row - centre|^2; by differences, since the products of far rows would leave nothing of near distances."""

    def one(column, total):
        return total + (rows[:, column, None] - centres[None, :, column]) ** 2

    start = jnp.zeros((rows.shape[0], centres.shape[0]), rows.dtype)
    return jax.lax.fori_loop(0, rows.shape[1], one, start)


@jax.jit
def _left_out(
    centres: Float[Array, "m dim"], mass: Float[Array, "m"], widths: Float[Array, "k"], judged: Int[Array, "j"]
) -> Float[Array, "k"]:
    """The mean negative log-density of the judged centres, each under all others, for each width."""
    log_mass = jnp.log(mass)
    total = jnp.sum(mass)
    weight = mass[judged] / jnp.sum(mass[judged])
    constants = centres.shape[1] * (jnp.log(widths) + 0.5 * jnp.log(2 * jnp.pi))

    def one(row):
        squared = jnp.sum((centres - centres[row]) ** 2, axis=1)
        others = jnp.where(jnp.arange(len(centres)) == row, -jnp.inf, log_mass)
        exponents = others - squared / (2 * widths[:, None] ** 2)
        return jax.nn.logsumexp(exponents, axis=1) - jnp.log(total - mass[row]) - constants

    # Among the judged may be places that no row takes.
    left_out = jax.lax.map(one, judged, batch_size=16)
    return -jnp.sum(jnp.where(weight[:, None] > 0, weight[:, None] * left_out, 0), axis=0)
