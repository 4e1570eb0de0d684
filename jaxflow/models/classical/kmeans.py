"""k-means, to start a mixture from."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray


@partial(jax.jit, static_argnames=("clusters", "iterations"))
def kmeans(
    key: PRNGKeyArray,
    x: Float[Array, "n dim"],
    weight: Float[Array, "n"],
    clusters: int,
    iterations: int = 10,
) -> Float[Array, "clusters dim"]:
    """Centres from a k-means++ start and a few Lloyd iterations.

    A centre that loses all its rows stays where it is. A few iterations are enough for a start: what comes after
    moves the centres anyway.

    Args:
        key: random key.
        x: rows.
        weight: how much each row counts; non-negative, not all zero.
        clusters: number of centres.
        iterations: number of Lloyd iterations.
    """

    def lloyd(_, centres):
        member = jax.nn.one_hot(nearest_centre(x, centres), clusters, dtype=x.dtype) * weight[:, None]
        mass = jnp.sum(member, axis=0)[:, None]
        moved = jnp.matmul(member.T, x, precision="highest") / jnp.where(mass > 0, mass, 1.0)
        return jnp.where(mass > 0, moved, centres)

    return lax.fori_loop(0, iterations, lloyd, plus_plus_centres(key, x, weight, clusters))


@partial(jax.jit, static_argnames="clusters")
def plus_plus_centres(
    key: PRNGKeyArray, x: Float[Array, "n dim"], weight: Float[Array, "n"], clusters: int
) -> Float[Array, "clusters dim"]:
    """Rows that lie apart: each is drawn with probability proportional to weight times D^2.

    D is the distance to the nearest centre already drawn; the first is drawn in proportion to the weight alone
    (Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding", section 2.2). Once every
    distinct row is a centre, further ones repeat rows.
    """
    log_weight = jnp.log(weight)

    def draw(squared_distance, key):
        # All distances are infinite at first and zero once every distinct row is taken.
        useful = jnp.isfinite(squared_distance) & jnp.any((squared_distance > 0) & (weight > 0))
        row = jax.random.categorical(key, log_weight + jnp.where(useful, jnp.log(squared_distance), 0.0))
        return jnp.minimum(squared_distance, jnp.sum((x - x[row]) ** 2, axis=-1)), x[row]

    start = jnp.full(x.shape[0], jnp.inf, x.dtype)
    return lax.scan(draw, start, jax.random.split(key, clusters))[1]


def nearest_centre(x: Float[Array, "n dim"], centres: Float[Array, "clusters dim"]) -> Int[Array, "n"]:
    """Index of the centre nearest to each row, in Euclidean distance."""
    # One centre after the other: (n, clusters) numbers at a time, never (n, clusters, dim).
    squared = lax.map(lambda centre: jnp.sum((x - centre) ** 2, axis=-1), centres)
    return jnp.argmin(squared, axis=0)
