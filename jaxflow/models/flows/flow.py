"""The normalizing flow: a base distribution seen through a bijector."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxflow.bijectors.bijector import Bijector
from jaxflow.models.flows.base_distributions import Base
from jaxflow.models.model import Density
from jaxflow.models.one_program import one_program

if TYPE_CHECKING:
    import distrax


class Flow(Density):
    """Density of x = f(z), z from the base distribution.

    log p(x | c) = log p_base(f^-1(x | c)) + log |det df^-1/dx|        (Rezende and Mohamed 2015, equation 5)

    Called by itself a method runs as one program, compiled once for each shape; inside `jax.jit`, `vmap` or `grad` it
    becomes part of yours.

    >>> flow = Flow(StandardNormal(2), Scale(2.0))
    >>> flow.log_prob(jnp.zeros((3, 2))).round(3)
    Array([-3.2240002, -3.2240002, -3.2240002], dtype=float32)
    >>> flow.sample(jax.random.key(0), 5).shape
    (5, 2)

    Args:
        base: the distribution of z.
        bijector: the map f.
        context_dim: number of context features; 0 for none.
        embedding: a network that turns the context into the features that base and bijector are given; by default they
            are given the context itself.
    """

    def __init__(
        self,
        base: Base,
        bijector: Bijector,
        *,
        context_dim: int = 0,
        embedding: Callable[[Array], Array] | None = None,
    ):
        self.dim = base.dim
        self.context_dim = context_dim
        self.base = base
        self.bijector = bijector
        self.embedding = embedding

    @one_program
    def log_prob(self, x, context=None):
        """Log-density in nats, shape `x.shape[:-1]`; -inf off the support, which no infinite value lies in.

        Raises:
            InputError: if rows or context have another number of features than the flow.
        """
        x, context, infinite = usable_rows(self, x, context)
        z, log_det = self.bijector.inverse_and_log_det(x, context)
        return jnp.where(infinite, -jnp.inf, self.base.distribution(context).log_prob(drawn_in(z)) + log_det)

    def __call__(self, x: Any, context: Any = None) -> Float[Array, "*batch"]:
        """Return `log_prob(x, context)`."""
        return self.log_prob(x, context)

    @one_program
    def sample(self, key, sample_shape=(), context=None):
        """Draws of shape `sample_shape + context.shape[:-1] + (dim,)`."""
        return self.sample_and_log_prob(key, sample_shape, context)[0]

    @one_program
    def sample_and_log_prob(
        self,
        key: PRNGKeyArray,
        sample_shape: Any = (),
        context: Float[Array, "*batch context_dim"] | None = None,
    ) -> tuple[Float[Array, "*sample dim"], Float[Array, "*sample"]]:
        """Draws as from `sample` and their log-densities, at the price of the draws alone."""
        sample_shape, context = self.asked(sample_shape, context)
        context = self.embedded(context)
        rows = () if context is None else context.shape[:-1]
        if context is not None:
            context = jnp.broadcast_to(context, (*sample_shape, *context.shape))
        base = self.base.distribution(context)
        z = base.sample(seed=key, sample_shape=(*sample_shape, *rows))
        x, log_det = self.bijector.forward_and_log_det(z, context)
        return x, jnp.asarray(base.log_prob(z)) - log_det

    def initialize(self, x, weight=None, context=None, *, key):
        """Initialise the layers that start from data, such as `ActNorm`."""
        self.bijector.initialize(x, self.embedded(context), weight)

    def to_distrax(self, context: Float[Array, "*batch context_dim"] | None = None) -> "distrax.Transformed":
        """Return this distribution for code that speaks distrax, with the context, if any, fixed."""
        import distrax  # as in the base distributions

        from jaxflow.models.flows.as_distrax import AsDistrax

        context = self.embedded(self._checked(context))
        return distrax.Transformed(self.base.distribution(context), AsDistrax(self.bijector, context))

    def embedded(self, context: Array | None) -> Array | None:
        """Return the features that base and bijector are given for a context."""
        return context if self.embedding is None or context is None else self.embedding(context)


def usable_rows(
    flow: Flow, x: Any, context: Any = None
) -> tuple[Float[Array, "*batch dim"], Array | None, Bool[Array, "*batch"]]:
    """Rows and context as the layers of a flow take them, and which rows are infinite, with zeros in their place.

    Raises:
        InputError: if rows or context have another number of features than the flow.
    """
    x, context = flow.aligned(x, context)
    x = _precise(flow, x)
    infinite = jnp.any(jnp.isinf(x), axis=-1)
    return jnp.where(infinite[..., None], 0.0, x), flow.embedded(context), infinite


def _precise(flow: Flow, x: Array) -> Array:
    """Rows as numbers of at least the precision of the parameters."""
    # One parameter stands for all; a flow without any computes in the default precision.
    kinds = [leaf.dtype for leaf in jax.tree.leaves(nnx.state(flow.bijector, nnx.Param))[:1]]
    if not jnp.issubdtype(x.dtype, jnp.floating) or jnp.finfo(x.dtype).bits < 32:
        kinds.append(jnp.result_type(float))
    return x.astype(jnp.result_type(x, *kinds))


def drawn_in(z: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Return latent rows of which no square overflows, in the order of how far out they are.

    z f(r) / r,   r = max_i |z_i|,   f(r) = r up to L,  L (1 + log(r / L) / 16) beyond,   L = sqrt(largest / dim) / 8

    A deep flow may throw a row so far out that the float type holds z and not its log-density: about 1e18 in float32,
    which a stack of 13 affine layers reaches from a thousand standard deviations. Its log-density would be -inf, like
    that of all such rows. Drawn in, it is a finite number that stands for one beyond the type. Rows up to L are
    returned as they are, to the last bit.
    """
    largest = float(jnp.finfo(z.dtype).max)
    limit = math.sqrt(largest / max(z.shape[-1], 1)) / 8
    farthest = jnp.max(jnp.abs(z), axis=-1, keepdims=True, initial=0.0)
    excess = jnp.log(jnp.clip(farthest / limit, 1.0, largest / limit)) / 16
    factor = jnp.where(farthest > limit, (1 + excess) * (limit / jnp.maximum(farthest, limit)), 1.0)
    # The derivative of the factor would overflow; without it the slope is finite and points the same way.
    return z * jax.lax.stop_gradient(factor)
