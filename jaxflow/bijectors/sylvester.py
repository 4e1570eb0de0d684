"""The Sylvester layer."""

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.bijectors.bijector import Bijector
from jaxflow.bijectors.linear import reflect
from jaxflow.bijectors.residual_parameters import ResidualParameters, damping
from jaxflow.bijectors.root import solve_increasing
from jaxflow.networks.mlp import for_each_context


class Sylvester(Bijector):
    """Add a network with one hidden layer; the determinant is that of a matrix of the size of the hidden layer.

    forward: x = z + Q R h,  h = tanh(S Q^T z + b)        log_det: sum over i of log(1 + R[i,i] S[i,i] (1 - h[i]^2))

    Van den Berg et al. 2018, section 3. Q is the first `rank` columns of a product of `rank` reflections, R and S are
    upper triangular, and R[i,i] is made smaller where R[i,i] S[i,i] would otherwise reach -1. The inverse finds Q^T z
    from its last entry to its first, each the root of an increasing function. R is zero at first, so the layer is the
    identity; S is the identity and Q random, so R has a gradient.

    >>> Sylvester(3, 2, rngs=nnx.Rngs(0)).forward(jnp.ones((5, 3))).shape
    (5, 3)

    Args:
        dim: number of features.
        rank: number of hidden units, 1 to `dim`.
        conditioner: a network with `num_parameters(dim, rank)` outputs, called as `conditioner(context)`, which are
            added to (vectors of the reflections, R, S, b); None for the same map in every row.
        context_dim: number of context features, 0 exactly when there is no conditioner.
        rngs: source of the vectors of the reflections.

    Raises:
        ValueError: if `rank` is not in 1 to `dim`, or one of `conditioner` and `context_dim` is given without the
            other.
    """

    option_ranges: ClassVar = {"rank": (1, 1024)}

    def __init__(
        self,
        dim: int,
        rank: int,
        *,
        conditioner: Callable[..., Array] | None = None,
        context_dim: int = 0,
        rngs: nnx.Rngs,
    ):
        if not 1 <= rank <= dim:
            raise ValueError(f"rank must be between 1 and the number of features, {dim}, got {rank}")
        self.dim = dim
        self.rank = rank
        vectors = jax.random.normal(rngs.params(), (rank * dim,))
        identity = jnp.eye(rank)[np.triu_indices(rank)]
        start = jnp.concatenate([vectors, jnp.zeros_like(identity), identity, jnp.zeros(rank)])
        self.parameters = ResidualParameters(start, conditioner, context_dim)

    @staticmethod
    def num_parameters(dim: int, rank: int) -> int:
        """How many outputs a conditioner must have."""
        return rank * dim + rank * (rank + 1) + rank

    def forward_and_log_det(self, z, context=None):
        """Add what the hidden units give."""
        z = for_each_context(z, context)
        vectors, outer, inner, b = self._parts(context)
        y = reflect(z, vectors)[..., : self.rank]
        h = jnp.tanh(_times(inner, y) + b)
        return z + self._lifted(_times(outer, h), vectors), _log_det(outer, inner, h)

    def inverse_and_log_det(self, x, context=None):
        """Find the hidden units, and subtract what they give."""
        x = for_each_context(x, context)
        vectors, outer, inner, b = self._parts(context)
        h = _hidden_units(reflect(x, vectors)[..., : self.rank], outer, inner, b)
        return x - self._lifted(_times(outer, h), vectors), -_log_det(outer, inner, h)

    def _lifted(self, y: Float[Array, "*batch rank"], vectors: Array) -> Float[Array, "*batch dim"]:
        """Q y."""
        padding = [(0, 0)] * (y.ndim - 1) + [(0, self.dim - self.rank)]
        return reflect(jnp.pad(y, padding), vectors, reverse=True)

    def _parts(self, context) -> tuple[Array, Array, Array, Array]:
        triangle = self.rank * (self.rank + 1) // 2
        ends = np.cumsum([self.rank * self.dim, triangle, triangle]).tolist()
        vectors, outer, inner, b = jnp.split(self.parameters(context), ends, axis=-1)
        outer, inner = _upper(outer, self.rank), _upper(inner, self.rank)
        factor = damping(_diagonal(outer) * _diagonal(inner))
        outer = jnp.where(np.eye(self.rank, dtype=bool), outer * factor[..., None], outer)
        return vectors.reshape(*vectors.shape[:-1], self.rank, self.dim), outer, inner, b


def _hidden_units(y: Float[Array, "*batch rank"], outer: Array, inner: Array, b: Array) -> Float[Array, "*batch rank"]:
    """h = tanh(S t + b) at the t that solves t + R h = y."""

    def visit(state, i):
        # What is not found yet is zero, and the triangular rows do not look at what stands before them.
        t, h = state
        r, s = outer[..., i, i], inner[..., i, i]
        shift = b[..., i] + jnp.sum(inner[..., i, :] * t, axis=-1)
        target = y[..., i] - jnp.sum(outer[..., i, :] * h, axis=-1)
        # tanh is at most 1 in size; the 1 more leaves room for rounding.
        reach = jnp.abs(r) + 1
        found = solve_increasing(_shifted, target, (r, s, shift), target - reach, target + reach)
        return (t.at[..., i].set(found), h.at[..., i].set(jnp.tanh(s * found + shift))), None

    start = (jnp.zeros_like(y), jnp.zeros_like(y))
    return jax.lax.scan(visit, start, jnp.arange(y.shape[-1]), reverse=True)[0][1]


def _shifted(t, parameters):
    r, s, shift = parameters
    h = jnp.tanh(s * t + shift)
    return t + r * h, 1 + r * s * (1 - h**2)


def _log_det(outer: Array, inner: Array, h: Float[Array, "*batch rank"]) -> Float[Array, "*batch"]:
    return jnp.sum(jnp.log1p(_diagonal(outer) * _diagonal(inner) * (1 - h**2)), axis=-1)


def _times(matrix: Array, vectors: Float[Array, "*batch rank"]) -> Float[Array, "*batch rank"]:
    return jnp.sum(matrix * vectors[..., None, :], axis=-1)


def _upper(entries: Float[Array, "*batch count"], rank: int) -> Float[Array, "*batch rank rank"]:
    rows, columns = np.triu_indices(rank)
    matrix = jnp.zeros((*entries.shape[:-1], rank, rank), entries.dtype)
    return matrix.at[..., rows, columns].set(entries)


def _diagonal(matrix: Float[Array, "*batch rank rank"]) -> Float[Array, "*batch rank"]:
    return jnp.diagonal(matrix, axis1=-2, axis2=-1)
