"""The density of some features given all others, in closed form, of Gaussians and mixtures of them.

With the precision P = covariance^-1 and r = P (x - mean), for a block B of features (Bishop 2006, "Pattern Recognition
and Machine Learning", equations 2.96 and 2.97; the residual x_B - E[x_B | rest] is P_BB^-1 r_B):

-log p(x_B | rest) = 1/2 r_B^T P_BB^-1 r_B - 1/2 log det P_BB + |B|/2 log 2 pi
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jaxflow.models.classical.expectation_maximization import MixtureParameters, component_log_prob
from jaxflow.models.classical.gaussian import Gaussian
from jaxflow.models.classical.gaussian_mixture import GaussianMixture
from jaxflow.models.model import Model


def conditional_terms(
    model: Model, x: Float[Array, "*batch dim"], blocks: Sequence[Sequence[int]]
) -> Float[Array, "*batch blocks"]:
    """-log p(x_B | rest) of each block in nats, "rest" being all features outside of it.

    Args:
        model: the density, a `Gaussian` or a `GaussianMixture`.
        x: rows.
        blocks: the features of each block; together each feature once.
    """
    if isinstance(model, GaussianMixture):
        return _mixture_terms(x, model.parameters(), blocks)
    assert isinstance(model, Gaussian)
    return _gaussian_terms(x, model.mean[...], model.factor[...], blocks)


def summed_by_block(
    terms: Float[Array, "*batch dim"], blocks: Sequence[Sequence[int]]
) -> Float[Array, "*batch blocks"]:
    """The sum of the terms of each block's features."""
    block_of = np.empty(terms.shape[-1], int)
    for index, block in enumerate(blocks):
        block_of[list(block)] = index
    return jnp.zeros((*terms.shape[:-1], len(blocks)), terms.dtype).at[..., block_of].add(terms)


def _gaussian_terms(x: Array, mean: Array, factor: Array, blocks: Sequence[Sequence[int]]) -> Array:
    if factor.ndim == 1:
        z = (x - mean) / factor
        alone = 0.5 * z * z + jnp.log(factor) + 0.5 * math.log(2 * math.pi)
        return summed_by_block(alone, blocks)
    # P = W^T W with W = L^-1: P itself, whose condition number is that of W squared, is formed of no more than a block.
    dim = x.shape[-1]
    whitening = solve_triangular(factor, jnp.eye(dim, dtype=factor.dtype), lower=True)
    z = jnp.matmul(x - mean, whitening.T, precision="highest")
    residual = jnp.matmul(z, whitening, precision="highest")
    norm = jnp.linalg.norm(whitening, axis=0)
    alone = 0.5 * (residual / norm) ** 2 - jnp.log(norm) + 0.5 * math.log(2 * math.pi)
    terms = summed_by_block(alone, blocks)
    for index, block in enumerate(blocks):
        if len(block) > 1:
            terms = terms.at[..., index].set(_block_term(residual, whitening, block))
    return terms


def _block_term(residual: Array, whitening: Array, block: Sequence[int]) -> Array:
    columns = jnp.array(block)
    upper = jnp.linalg.qr(whitening[:, columns], mode="r")  # upper^T upper = P_BB
    right = residual[..., columns].reshape(-1, len(block)).T
    squares = jnp.sum(solve_triangular(upper, right, trans="T") ** 2, axis=0).reshape(residual.shape[:-1])
    log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(upper))))
    return 0.5 * squares - log_det + 0.5 * len(block) * math.log(2 * math.pi)


def _mixture_terms(x: Array, parameters: MixtureParameters, blocks: Sequence[Sequence[int]]) -> Array:
    """log p(rest) - log p(x): what is left of a component without a block is p_k(x) / p_k(x_B | rest)."""
    joint = component_log_prob(x, parameters)
    terms = jax.lax.map(lambda p: _gaussian_terms(x, p.means, p.factors, blocks), parameters)
    rest = jax.nn.logsumexp(jnp.moveaxis(joint, -1, 0)[..., None] + terms, axis=0)
    return rest - jax.nn.logsumexp(joint, axis=-1)[..., None]
