"""A random order of rows, cheaply."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

SMALL = 1 << 16


def random_order(key: PRNGKeyArray, n: int) -> Int[Array, "n"]:
    """The numbers 0 .. n-1 in random order.

    Each number gets random bits and the bits are sorted. Up to 65,536 rows, bits and number share one 32-bit word, the
    bits on top: sorting one array is four times as fast on CPU as carrying a second one along, and
    `jax.random.permutation` does that twice. Numbers with equal bits (16 or more of them are random) stay in ascending
    order, which a shuffle between epochs does not notice; where every permutation must be equally likely, use
    `jax.random.permutation`.
    """
    bits = jax.random.bits(key, (n,), jnp.uint32)
    if n > SMALL:
        return jnp.argsort(bits)
    width = max(n - 1, 1).bit_length()
    words = (bits >> width << width) | jnp.arange(n, dtype=jnp.uint32)
    return (jnp.sort(words) & ((1 << width) - 1)).astype(jnp.int32)
