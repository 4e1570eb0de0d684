"""A smooth monotone map without pieces: the identity plus a sum of sigmoids."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxflow.bijectors.root import solve_increasing
from jaxflow.bijectors.transformers import Transformer, soft_clamp

MAX_LOG_SLOPE = 3.0  # each term multiplies the slope by at most exp(3) and divides it by at most that
MAX_LOG_WIDTH = 3.0


class SigmoidSum(Transformer):
    """The identity plus a weighted sum of sigmoids; infinitely smooth, with linear tails of slope 1.

    forward: x = z + sum over j of 4 s_j a_j (sigmoid(u_j) - 1/2),  u_j = (z - m_j) / s_j
    log_det: log(1 + sum over j of 4 a_j sigmoid(u_j) sigmoid(-u_j)),  a_j > -1/K, so the slope is positive

    After the mixtures of logistic distribution functions of Ho et al. 2019 (Flow++, section 3.2) and the sigmoidal flow
    of Huang et al. 2018 (equation 8), arranged so that zero parameters (K each for a, m and s) give the identity while
    the terms already differ in m. The inverse is found by Newton's method in a bracket, |x - z| < 2 sum s_j |a_j|, to
    the last digits; its derivatives are implicit.

    >>> bend = SigmoidSum(terms=2)
    >>> bend.forward_and_log_det(jnp.array(1.0), jnp.zeros(bend.num_parameters))[0]
    Array(1., dtype=float32)

    Args:
        terms: number K of sigmoids.
        spread: the centres m_j start evenly spread over [-spread, spread].
    """

    def __init__(self, terms: int = 8, spread: float = 3.0):
        if terms < 1:
            raise ValueError(f"terms must be at least 1, got {terms}")
        if spread <= 0:
            raise ValueError(f"spread must be positive, got {spread}")
        self.num_parameters = 3 * terms
        self.terms = terms
        self.spread = spread

    def forward_and_log_det(self, z, parameters):
        """Add the sigmoids."""
        x, slope = _value_and_slope(z, self._terms(parameters))
        return x, jnp.log(slope)

    def inverse_and_log_det(self, x, parameters):
        """Solve for z."""
        terms = self._terms(parameters)
        amplitude, _, width = terms
        reach = 2 * jnp.sum(width * jnp.abs(amplitude), axis=-1)
        z = solve_increasing(_value_and_slope, x, terms, x - reach, x + reach)
        return z, -jnp.log(_value_and_slope(z, terms)[1])

    def _terms(self, parameters: Float[Array, "*shape parameters"]):
        raw_amplitude, raw_centre, raw_width = jnp.split(parameters, 3, axis=-1)
        amplitude = jnp.expm1(soft_clamp(raw_amplitude, MAX_LOG_SLOPE)) / self.terms
        centres = self.spread * ((2 * jnp.arange(self.terms) + 1) / self.terms - 1)
        width = (2 * self.spread / self.terms) * jnp.exp(soft_clamp(raw_width, MAX_LOG_WIDTH))
        return amplitude, centres.astype(parameters.dtype) + raw_centre, width


def _value_and_slope(z: Float[Array, "*shape"], terms) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    amplitude, centre, width = terms
    u = (z[..., None] - centre) / width
    # tanh(u / 2) / 2 is sigmoid(u) - 1/2 without the cancellation.
    value = z + jnp.sum(2 * width * amplitude * jnp.tanh(u / 2), axis=-1)
    slope = 1 + jnp.sum(4 * amplitude * jax.nn.sigmoid(u) * jax.nn.sigmoid(-u), axis=-1)
    return value, slope
