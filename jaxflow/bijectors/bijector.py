"""The contract of an invertible layer, and the two layers made of other layers."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.networks.mlp import for_each_context

Direction = Literal["forward", "inverse"]

# `initialize` may be given a whole training set; the networks inside see this many rows of it at a time.
INITIALIZED_AT_ONCE = 8192


class Bijector(nnx.Module):
    """An invertible map between latent z and data x.

    `forward` maps z to x and `inverse` maps x to z. A subclass writes `forward_and_log_det` and
    `inverse_and_log_det`; each returns the mapped array, shape `(..., dim)`, and the logarithm of the absolute
    determinant of its own Jacobian, shape `(...,)`, so the two log-determinants of one point cancel. Leading axes are
    batch, and those of rows and context broadcast: one row under many contexts becomes as many rows. `forward` and
    `inverse` come free: under jit the unused log-determinant costs nothing.

    Outside its domain a map returns finite values and the infinite log-determinant that makes the density there zero:
    -inf from `inverse_and_log_det`, +inf from `forward_and_log_det`.

    >>> class Double(Bijector):
    ...     def forward_and_log_det(self, z, context=None):
    ...         return 2 * z, jnp.full(z.shape[:-1], z.shape[-1] * jnp.log(2.0))
    ...     def inverse_and_log_det(self, x, context=None):
    ...         return x / 2, jnp.full(x.shape[:-1], -x.shape[-1] * jnp.log(2.0))
    >>> Double().forward(jnp.ones(3))
    Array([2., 2., 2.], dtype=float32)

    Attributes:
        follows_data: whether the layer wants `initialize` again after every epoch, with the whole training set.
        option_ranges: the least and the greatest value of arguments, where a description of a flow names the class.
    """

    follows_data: ClassVar[bool] = False
    option_ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    @abstractmethod
    def forward_and_log_det(
        self, z: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch"]]:
        """x = f(z | context) and log |det dx/dz|."""

    @abstractmethod
    def inverse_and_log_det(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch"]]:
        """z = f^-1(x | context) and log |det dz/dx|."""

    def forward(
        self, z: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim"]:
        """x = f(z | context)."""
        return self.forward_and_log_det(z, context)[0]

    def inverse(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim"]:
        """z = f^-1(x | context)."""
        return self.inverse_and_log_det(x, context)[0]

    def initialize(
        self,
        values: Float[Array, "n dim"],
        context: Float[Array, "n context_dim"] | None = None,
        weight: Float[Array, "n"] | None = None,
        *,
        direction: Direction = "inverse",
    ) -> Float[Array, "n dim"]:
        """Set what depends on data, in place, and return the values mapped in `direction`.

        Most layers have nothing to set. Layers that hold other layers pass the values through them one after the
        other, each seeing what the ones before it made of the data. May be called again: a layer that starts from data
        keeps its first values, one that follows them takes the new.
        """
        apply = self.inverse if direction == "inverse" else self.forward
        if values.shape[0] <= INITIALIZED_AT_ONCE:
            return apply(values, context)
        return jax.lax.map(lambda row: apply(*row), (values, context), batch_size=INITIALIZED_AT_ONCE)


class Chain(Bijector):
    """Layers one after the other, in the order written.

    forward: x = layers[-1](... layers[1](layers[0](z)))        log_det: the sum of the layers' log-determinants

    `forward` applies the first layer first and the last layer last; `inverse` undoes them from the last to the first.
    So the last layer is the one nearest to the data. (distrax and TFP chain the other way round.)

    >>> Chain([Scale(2.0), Loc(1.0)]).forward(jnp.ones(2))
    Array([3., 3.], dtype=float32)
    """

    def __init__(self, layers: Sequence[Bijector]):
        self.layers = nnx.List(layers)

    def forward_and_log_det(self, z, context=None):
        """Apply the layers from the first to the last."""
        z = for_each_context(z, context)
        total = jnp.zeros(z.shape[:-1], z.dtype)
        for layer in self.layers:
            z, log_det = layer.forward_and_log_det(z, context)
            total += log_det
        return z, total

    def inverse_and_log_det(self, x, context=None):
        """Undo the layers from the last to the first."""
        x = for_each_context(x, context)
        total = jnp.zeros(x.shape[:-1], x.dtype)
        for layer in reversed(self.layers):
            x, log_det = layer.inverse_and_log_det(x, context)
            total += log_det
        return x, total

    def initialize(self, values, context=None, weight=None, *, direction: Direction = "inverse"):
        """Initialise each layer with what the layers before it, in `direction`, make of the values."""
        for layer in self.layers if direction == "forward" else reversed(self.layers):
            values = layer.initialize(values, context, weight, direction=direction)
        return values


class Inverse(Bijector):
    """A layer the other way round: its forward is the layer's inverse, and its inverse the layer's forward.

    forward: x = f^-1(z)        log_det: log |det df^-1/dz|

    An inverse autoregressive flow is a masked autoregressive one turned round (Kingma et al. 2016; Papamakarios et al.
    2017, section 3.3).

    >>> Inverse(Scale(2.0)).forward(jnp.ones(2))
    Array([0.5, 0.5], dtype=float32)
    """

    def __init__(self, bijector: Bijector):
        self.bijector = bijector

    def forward_and_log_det(self, z, context=None):
        """Apply the inverse of the layer."""
        x, log_det = self.bijector.inverse_and_log_det(z, context)
        return x, _outside(log_det, jnp.inf)

    def inverse_and_log_det(self, x, context=None):
        """Apply the forward of the layer."""
        z, log_det = self.bijector.forward_and_log_det(x, context)
        return z, _outside(log_det, -jnp.inf)

    def initialize(self, values, context=None, weight=None, *, direction: Direction = "inverse"):
        """Initialise the layer with the values going the other way."""
        turned = "forward" if direction == "inverse" else "inverse"
        return self.bijector.initialize(values, context, weight, direction=turned)


def _outside(log_det: Float[Array, "*batch"], mark: float) -> Float[Array, "*batch"]:
    """Keep "density zero" meaning the same when a layer changes sides: an infinite log-det changes its sign."""
    return jnp.where(jnp.isinf(log_det), jnp.asarray(mark, log_det.dtype), log_det)
