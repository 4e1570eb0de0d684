"""Features made normal one by one, by their ranks among given rows."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import ndtri

from jaxflow.bijectors.bijector import Bijector
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.planned import Planned, PlannedArray

KNOTS = 128  # of a feature, by default


class RankGaussian(Bijector):
    """Each feature as the normal quantile of its rank among the rows it was fitted to, linear between knots.

    inverse: z = the broken line through the knots (x_k, z_k)        log_det of the inverse: sum(log slope)

    The rank-based inverse normal transform (van der Waerden 1952), made continuous and strictly increasing. The knots
    are values of the rows, spread evenly over z, so that the tails have as many as the middle; a value that many rows
    share has the middle of their ranks. Beyond the outermost knots z goes on with slope 1: as many units from the
    farthest training row as the feature is. Until `fit` it is the identity. At a knot the log-determinant is that of
    the piece above.

    >>> layer = RankGaussian(1, 16)
    >>> layer.fit(jnp.arange(9.0)[:, None])
    >>> layer.inverse(jnp.array([4.0])).round(3)
    Array([0.], dtype=float32)

    Args:
        dim: number of features.
        knots: most knots of a feature.

    Attributes:
        x_knots: ascending in each row, `(dim, knots)`.
        z_knots: likewise.

    Raises:
        ValueError: if there are fewer than two knots.
    """

    def __init__(self, dim: int, knots: int = KNOTS):
        if knots < 2:
            raise ValueError(f"knots must be at least 2, got {knots}")
        self.dim = dim
        line = jnp.tile(jnp.linspace(-1.0, 1.0, knots), (dim, 1))
        self.x_knots = Buffer(line)
        self.z_knots = Buffer(line)

    @staticmethod
    def planned(dim: int, knots: int = KNOTS) -> Planned:
        """The arrays of a layer of so many features."""
        for name in ("x_knots", "z_knots"):
            yield PlannedArray(name, (dim, knots))

    def fit(self, x: Float[Array | np.ndarray, "n dim"]) -> None:
        """Place the knots by the ranks of these rows, in place; a feature that is constant is only shifted to 0."""
        count = self.x_knots[...].shape[-1]
        columns = [_knots(column, count) for column in np.asarray(x, np.float64).T]
        dtype = self.x_knots[...].dtype
        self.x_knots[...] = jnp.asarray(np.stack([x_knots for x_knots, _ in columns]), dtype)
        self.z_knots[...] = jnp.asarray(np.stack([z_knots for _, z_knots in columns]), dtype)

    def forward_and_log_det(self, z, context=None):
        """From normal quantiles to values."""
        return _along(z, self.z_knots[...], self.x_knots[...])

    def inverse_and_log_det(self, x, context=None):
        """From values to normal quantiles."""
        return _along(x, self.x_knots[...], self.z_knots[...])


def _along(
    values: Float[Array, "*batch dim"], start: Float[Array, "dim knots"], end: Float[Array, "dim knots"]
) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch"]]:
    """The broken lines from `start` to `end`, of slope 1 outside, and the sum of the log-slopes."""

    def one(value, start, end):
        place = jnp.searchsorted(start, value, side="right")
        piece = jnp.clip(place - 1, 0, len(start) - 2)
        inside = (place > 0) & (place < len(start))
        slope = jnp.where(inside, (end[piece + 1] - end[piece]) / (start[piece + 1] - start[piece]), 1.0)
        # Beyond the last knot the line begins there, not at the knot before it.
        origin = jnp.where(place == len(start), len(start) - 1, piece)
        return end[origin] + slope * (value - start[origin]), jnp.log(slope)

    flat = values.reshape(-1, values.shape[-1])
    out, log_slopes = jax.vmap(jax.vmap(one), (0, None, None))(flat, start, end)
    return out.reshape(values.shape), jnp.sum(log_slopes, axis=-1).reshape(values.shape[:-1])


def _knots(column: Float[np.ndarray, "n"], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The knots of one feature; where it has fewer values than knots, the last ones lie on the line beyond them."""
    values, counts = np.unique(column.astype(np.float32).astype(np.float64), return_counts=True)
    scores = ndtri((np.cumsum(counts) - 0.5 * counts) / counts.sum())
    if len(values) > count:
        wanted = np.linspace(scores[0], scores[-1], count)
        places = np.unique(np.abs(scores[:, None] - wanted).argmin(axis=0))
        values, scores = values[places], scores[places]
    # Steps that float32 can tell apart at this distance from 0.
    step = max(1.0, 1e-3 * abs(values[-1]))
    more = step * np.arange(1, count - len(values) + 1)
    return np.concatenate([values, values[-1] + more]), np.concatenate([scores, scores[-1] + more])
