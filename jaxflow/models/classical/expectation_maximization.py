"""Expectation-maximization for mixtures of Gaussians, as pure functions.

Dempster, Laird and Rubin 1977; Bishop 2006, "Pattern Recognition and Machine Learning", section 9.2.2.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int

from jaxflow.models.classical.gaussian import gaussian_log_prob, whitened_log_prob


class MixtureParameters(NamedTuple):
    """The parameters of a mixture.

    Attributes:
        log_weights: logarithm of the probability of each component; they sum to 1.
        means: their means.
        factors: the lower Cholesky factor of each covariance, `(components, dim, dim)`; for diagonal ones the standard
            deviations, `(components, dim)`.
    """

    log_weights: Float[Array, "components"]
    means: Float[Array, "components dim"]
    factors: Float[Array, "components ..."]


@jax.jit
def component_log_prob(
    x: Float[Array, "*batch dim"], parameters: MixtureParameters
) -> Float[Array, "*batch components"]:
    """log w_k + log N(x; mean_k, covariance_k), in nats, for each component k."""
    # One component after the other: memory grows with rows times features, not times components as well.
    joint = lax.map(lambda p: p.log_weights + gaussian_log_prob(x, p.means, p.factors), parameters)
    return jnp.moveaxis(joint, 0, -1)


@jax.jit
def mixture_log_prob(x: Float[Array, "*batch dim"], parameters: MixtureParameters) -> Float[Array, "*batch"]:
    """log sum_k w_k N(x; mean_k, covariance_k), in nats."""
    return logsumexp(component_log_prob(x, parameters), axis=-1)


@jax.jit
def em_step(
    x: Float[Array, "n dim"],
    weight: Float[Array, "n"],
    parameters: MixtureParameters,
    ridge: float | Float[Array, ""],
) -> tuple[MixtureParameters, Float[Array, ""]]:
    """One iteration of EM: the parameters after it, and the mean log-likelihood in nats before it.

    With `ridge` 0 the likelihood never falls from one step to the next.

    Args:
        x: rows.
        weight: how much each row counts; their mean should be 1.
        parameters: where to start.
        ridge: what is added to the diagonal of each covariance, in the unit of a variance.
    """
    joint = lax.map(lambda p: _joint_by_product(x, *p), parameters).T
    log_prob = logsumexp(joint, axis=-1)
    responsibility = weight[:, None] * jnp.exp(joint - log_prob[:, None])
    mean_log_likelihood = jnp.sum(weight * log_prob) / jnp.sum(weight)
    diagonal = parameters.factors.ndim == 2
    return maximization(x, responsibility, parameters.means, ridge, diagonal=diagonal), mean_log_likelihood


def _joint_by_product(
    x: Float[Array, "n dim"], log_weight: Float[Array, ""], mean: Float[Array, "dim"], factor: Float[Array, "..."]
) -> Float[Array, "n"]:
    """A component of `component_log_prob`, with the factor inverted: a product for all rows is faster than solving."""
    if factor.ndim == 1:
        return log_weight + gaussian_log_prob(x, mean, factor)
    inverse = solve_triangular(factor, jnp.eye(mean.shape[0], dtype=x.dtype), lower=True)
    z = jnp.matmul(x - mean, inverse.T, precision="highest")
    return log_weight + whitened_log_prob(z, jnp.diagonal(factor))


@partial(jax.jit, static_argnames="diagonal")
def maximization(
    x: Float[Array, "n dim"],
    responsibility: Float[Array, "n components"],
    previous_means: Float[Array, "components dim"],
    ridge: float | Float[Array, ""],
    *,
    diagonal: bool,
) -> MixtureParameters:
    """The most likely parameters, given how much of each row belongs to each component.

    A component without rows keeps its mean, and its weight becomes negligible.

    Args:
        x: rows.
        responsibility: weight of the row times the probability that it belongs to the component.
        previous_means: means of the components so far.
        ridge: what is added to the diagonal of each covariance.
        diagonal: whether the covariances are diagonal.
    """
    mass = jnp.sum(responsibility, axis=0) + 10 * jnp.finfo(x.dtype).eps

    def estimate(component):
        share, mass, previous = component
        share = share / mass
        # Measured from the previous mean, an empty component stays in place and an offset costs no digits.
        mean = previous + jnp.matmul(share, x - previous, precision="highest")
        centred = x - mean
        if diagonal:
            return mean, jnp.sqrt(jnp.matmul(share, centred * centred, precision="highest") + ridge)
        covariance = jnp.matmul((share[:, None] * centred).T, centred, precision="highest")
        return mean, jnp.linalg.cholesky(covariance + ridge * jnp.eye(x.shape[-1], dtype=x.dtype))

    means, factors = lax.map(estimate, (responsibility.T, mass, previous_means))
    return MixtureParameters(jnp.log(mass / jnp.sum(mass)), means, factors)


@partial(jax.jit, static_argnames="max_iterations")
def expectation_maximization(
    x: Float[Array, "n dim"],
    weight: Float[Array, "n"],
    start: MixtureParameters,
    ridge: float | Float[Array, ""],
    tolerance: float | Float[Array, ""],
    *,
    max_iterations: int,
) -> tuple[MixtureParameters, Int[Array, ""], Float[Array, "losses"]]:
    """EM steps until the mean log-likelihood of a row changes by less than `tolerance`.

    Args:
        x: rows.
        weight: how much each row counts; their mean should be 1.
        start: where to start.
        ridge: what is added to the diagonal of each covariance, in the unit of a variance.
        tolerance: in nats.
        max_iterations: most steps.

    Returns:
        The parameters, the number of steps, and the mean negative log-density before the first step and after
        each, `(max_iterations + 1,)`, NaN where no step was made.
    """

    def unfinished(state) -> Bool[Array, ""]:
        iteration, _, _, change, _ = state
        # NaN compares false, so that a run that broke down ends here.
        return (iteration < max_iterations) & (change >= tolerance)

    def advance(state):
        iteration, parameters, previous, _, losses = state
        parameters, current = em_step(x, weight, parameters, ridge)
        return iteration + 1, parameters, current, jnp.abs(current - previous), losses.at[iteration].set(-current)

    infinity = jnp.asarray(jnp.inf, x.dtype)
    losses = jnp.full(max_iterations + 1, jnp.nan, x.dtype)
    state = (jnp.zeros((), int), start, -infinity, infinity, losses)
    iterations, parameters, _, _, losses = lax.while_loop(unfinished, advance, state)
    loss = -jnp.sum(weight * mixture_log_prob(x, parameters)) / jnp.sum(weight)
    return parameters, iterations, losses.at[iterations].set(loss)
