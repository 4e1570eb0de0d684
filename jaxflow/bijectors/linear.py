"""Linear maps with determinants that cost nothing: LU factors, reflections, rotations."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jaxflow.bijectors.bijector import Bijector
from jaxflow.networks.planned import Planned, PlannedArray

# Below this squared length a vector has no direction: dividing by the square would overflow in float32.
SHORTEST = 1e-16


class LULinear(Bijector):
    """Any invertible matrix that needs no row exchanges, as its two triangular factors, and a bias.

    forward: x = L U z + bias        log_det: sum(log_diagonal)

    L is lower triangular with ones on its diagonal, U upper triangular with exp(log_diagonal) on it (Oliva et al. 2018;
    Kingma and Dhariwal 2018, section 3.2). The inverse solves the two triangular systems. The identity at
    first.

    >>> LULinear(2).forward(jnp.array([1.0, 2.0]))
    Array([1., 2.], dtype=float32)

    Args:
        dim: number of features.
        rngs: not used, nothing being random at first; taken so that linear layers are made alike.
    """

    def __init__(self, dim: int, *, rngs: nnx.Rngs | None = None):
        del rngs
        self.dim = dim
        self.lower = nnx.Param(jnp.zeros(dim * (dim - 1) // 2))
        self.upper = nnx.Param(jnp.zeros(dim * (dim - 1) // 2))
        self.log_diagonal = nnx.Param(jnp.zeros(dim))
        self.bias = nnx.Param(jnp.zeros(dim))

    @staticmethod
    def planned(dim: int) -> Planned:
        """The arrays of a layer of so many features."""
        for triangle in ("lower", "upper"):
            yield PlannedArray(triangle, (dim * (dim - 1) // 2,))
        for vector in ("log_diagonal", "bias"):
            yield PlannedArray(vector, (dim,))

    def forward_and_log_det(self, z, context=None):
        """Multiply by U, then by L, and add the bias."""
        lower, upper = self._factors()
        x = _multiply(_multiply(z, upper), lower) + self.bias[...]
        return x, jnp.broadcast_to(jnp.sum(self.log_diagonal[...]), z.shape[:-1])

    def inverse_and_log_det(self, x, context=None):
        """Subtract the bias and solve for L, then for U."""
        lower, upper = self._factors()
        columns = (x - self.bias[...]).reshape(-1, self.dim).T
        columns = solve_triangular(lower, columns, lower=True, unit_diagonal=True)
        columns = solve_triangular(upper, columns, lower=False)
        return columns.T.reshape(x.shape), jnp.broadcast_to(-jnp.sum(self.log_diagonal[...]), x.shape[:-1])

    def _factors(self) -> tuple[Float[Array, "dim dim"], Float[Array, "dim dim"]]:
        lower = jnp.eye(self.dim) + strictly_lower(self.lower[...], self.dim)
        upper = jnp.diag(jnp.exp(self.log_diagonal[...])) + strictly_lower(self.upper[...], self.dim).T
        return lower.astype(self.lower.dtype), upper


class Householder(Bijector):
    """An orthogonal matrix as a product of reflections, each at the hyperplane normal to a trained vector.

    forward: x = H_k ... H_1 z,  H = I - 2 v v^T / |v|^2        log_det: 0

    Tomczak and Welling 2016. The inverse is the reflections in reverse order; a product of an even number
    is a rotation, and `dim` of them reach every rotation when `dim` is even, `dim - 1` when it is odd. The identity at
    first: the vectors come in equal pairs, which cancel. Each pair starts along an axis drawn at random, where the two
    cancel without rounding.

    >>> Householder(3, 2, rngs=nnx.Rngs(0)).forward(jnp.ones(3)).round(3)
    Array([1., 1., 1.], dtype=float32)

    Args:
        dim: number of features.
        reflections: how many; an even number.
        rngs: source of the axes.

    Raises:
        ValueError: if `reflections` is odd or less than 2.
    """

    def __init__(self, dim: int, reflections: int, *, rngs: nnx.Rngs):
        if reflections < 2 or reflections % 2:
            raise ValueError(f"reflections must be an even number, 2 or more, got {reflections}")
        axes = jax.random.permutation(rngs.params(), dim)[jnp.arange(reflections // 2) % dim]
        self.vectors = nnx.Param(jnp.repeat(jnp.eye(dim)[axes], 2, axis=0))

    def forward_and_log_det(self, z, context=None):
        """Reflect at one hyperplane after the other."""
        return reflect(z, self.vectors[...]), jnp.zeros(z.shape[:-1], z.dtype)

    def inverse_and_log_det(self, x, context=None):
        """Reflect in reverse order."""
        return reflect(x, self.vectors[...], reverse=True), jnp.zeros(x.shape[:-1], x.dtype)


class Rotation(Bijector):
    """A rotation, the Cayley transform of a skew-symmetric matrix.

    forward: x = Q z,  Q = (I + A)^-1 (I - A),  A^T = -A        log_det: 0

    The entries of A below its diagonal are the parameters, as many as a rotation has degrees of freedom; zeros give
    the identity. Every rotation is reached but those that turn some plane by exactly half a turn, which are limits
    (Helfrich et al. 2018). The inverse is the transpose of Q.

    >>> Rotation(2).forward(jnp.array([1.0, 2.0]))
    Array([1., 2.], dtype=float32)

    Args:
        dim: number of features.
    """

    def __init__(self, dim: int):
        self.dim = dim
        self.lower = nnx.Param(jnp.zeros(dim * (dim - 1) // 2))

    def forward_and_log_det(self, z, context=None):
        """Multiply by Q."""
        return _multiply(z, self._matrix()), jnp.zeros(z.shape[:-1], z.dtype)

    def inverse_and_log_det(self, x, context=None):
        """Multiply by the transpose of Q."""
        return _multiply(x, self._matrix().T), jnp.zeros(x.shape[:-1], x.dtype)

    def _matrix(self) -> Float[Array, "dim dim"]:
        lower = strictly_lower(self.lower[...], self.dim)
        skew = lower - lower.T
        one = jnp.eye(self.dim, dtype=skew.dtype)
        return jnp.linalg.solve(one + skew, one - skew)


def strictly_lower(entries: Float[Array, "*batch count"], dim: int) -> Float[Array, "*batch dim dim"]:
    """The matrix with these entries, row by row, below its diagonal and zeros elsewhere."""
    rows, columns = np.tril_indices(dim, -1)
    matrix = jnp.zeros((*entries.shape[:-1], dim, dim), entries.dtype)
    return matrix.at[..., rows, columns].set(entries)


def reflect(
    values: Float[Array, "*batch dim"], vectors: Float[Array, "*#batch count dim"], *, reverse: bool = False
) -> Float[Array, "*batch dim"]:
    """Reflect at the hyperplanes normal to the vectors, from the first to the last or in `reverse`.

    A vector too short to have a direction reflects nothing.
    """
    squared = jnp.sum(vectors**2, axis=-1, keepdims=True)
    long = squared > SHORTEST
    normals = jnp.where(long, vectors, 0.0)
    doubled = 2 * normals / jnp.where(long, squared, 1.0)

    def step(values, pair):
        normal, twice = pair
        return values - twice * jnp.sum(normal * values, axis=-1, keepdims=True), None

    values = values.astype(jnp.result_type(values, vectors))
    pairs = jnp.moveaxis(normals, -2, 0), jnp.moveaxis(doubled, -2, 0)
    return jax.lax.scan(step, values, pairs, reverse=reverse)[0]


def _multiply(rows: Float[Array, "*batch dim"], matrix: Float[Array, "dim dim"]) -> Float[Array, "*batch dim"]:
    # An accelerator's default precision would keep 10 bits of the products, and the inverse would not undo them.
    return jnp.matmul(rows, matrix.T, precision=jax.lax.Precision.HIGHEST)
