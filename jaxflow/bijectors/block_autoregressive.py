"""The block neural autoregressive layer."""

import math
from itertools import pairwise
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.bijectors.bijector import Bijector
from jaxflow.bijectors.root import solve_increasing
from jaxflow.networks.matmul_precision import product_precision
from jaxflow.networks.mlp import for_each_context, join_context
from jaxflow.networks.planned import Planned, PlannedArray, in_list


class BlockLinear(nnx.Module):
    """A linear layer with the same number of units for every feature, increasing within a feature.

    out[i] = in[i] @ exp(log_diagonal[i]) / inputs + sum over j < i of in[j] @ kernel[j, i] + bias[i]

    So unit blocks of feature i see those of features j <= i: the weights are block lower triangular with positive
    blocks on the diagonal (De Cao, Titov and Aziz 2019, section 3). The paper's normalisation of the weights is left
    out: dividing by the number of inputs already starts each unit at a mean of those it sees, whatever the width.

    Args:
        dim: number of features.
        inputs: units of each feature that come in.
        outputs: units of each feature that go out.
        spread: standard deviation of the initial biases.
        rngs: source of the initial weights.
    """

    def __init__(self, dim: int, inputs: int, outputs: int, *, spread: float, rngs: nnx.Rngs):
        dtype = jnp.result_type(float)
        self.dim, self.inputs, self.outputs = dim, inputs, outputs
        self.log_diagonal = nnx.Param(0.5 * jax.random.normal(rngs.params(), (dim, inputs, outputs), dtype))
        kernel = jax.random.normal(rngs.params(), (dim, inputs, dim, outputs), dtype)
        self.kernel = nnx.Param(kernel * (0.1 / math.sqrt(dim * inputs)))
        self.bias = nnx.Param(spread * jax.random.normal(rngs.params(), (dim, outputs), dtype))

    def log_weights(self) -> Float[Array, "dim inputs outputs"]:
        """Logarithms of the weights within a feature."""
        return self.log_diagonal[...] - math.log(self.inputs)

    def cross_weights(self) -> Float[Array, "dim inputs dim outputs"]:
        """Weights from one feature (first axis) to another (third axis); zero unless it comes before."""
        feature = jnp.arange(self.dim)
        before = feature[:, None] < feature[None, :]
        return jnp.where(before[:, None, :, None], self.kernel[...], 0)

    def cross(self, h: Float[Array, "*batch dim inputs"]) -> Float[Array, "*batch dim outputs"]:
        """Return what each feature's units receive from the features before it, with the bias added."""
        return _einsum("...ji,jiko->...ko", h, self.cross_weights()) + self.bias[...]


class BlockAutoregressive(Bijector):
    """One network whose weights make it autoregressive and increasing (De Cao, Titov and Aziz 2019, B-NAF).

    inverse: z[i] = a[i] x[i] + (1 - a[i]) f_i(x[<=i], context)        log_det: sum over i of log dz[i]/dx[i]

    f is a network of `layers` hidden layers of tanh units, `hidden_factor` of them for each feature, in which f_i
    increases in x[i] and sees only the features up to i and the context. Its slope df_i/dx[i] is the product of the
    positive diagonal blocks and the slopes of tanh, multiplied up in log space. The gate a, trained per feature, lies
    in (min_gate, 1 - min_gate): f alone is bounded, the part a x makes the map reach the whole real line.

    The inverse, which the density needs, is one pass of the network. The forward visits the features in order and
    solves one scalar equation for each. |tanh| < 1 bounds f_i by B_i = sum of |weights into f_i| + |bias_i| of the
    last layer, whatever x and the context, so the solution of z[i] = a x + (1 - a) f_i is bracketed by

        (z[i] - (1 - a) B_i) / a  <=  x[i]  <=  (z[i] + (1 - a) B_i) / a.

    The layer starts near the identity but not at it: no weights of f with a positive diagonal make it exactly that.
    The gate starts at about 0.95 and the weights between features start small.

    >>> layer = BlockAutoregressive(2, 3, 2, rngs=nnx.Rngs(0))
    >>> layer.inverse(jnp.ones((5, 2))).shape
    (5, 2)

    Args:
        dim: number of features.
        hidden_factor: hidden units of each feature in each hidden layer.
        layers: number of hidden layers.
        context_dim: number of context features; the first hidden layer of every feature sees all of them.
        min_gate: how near the gate may come to 0 and to 1; also the least slope of the map.
        rngs: source of the initial weights.

    Raises:
        ValueError: if `dim`, `hidden_factor` or `layers` is below 1, or `min_gate` is not between 0 and 0.5.
    """

    option_ranges: ClassVar = {"hidden_factor": (1, 1024), "layers": (1, 100)}

    def __init__(
        self,
        dim: int,
        hidden_factor: int = 8,
        layers: int = 2,
        *,
        context_dim: int = 0,
        min_gate: float = 1e-3,
        rngs: nnx.Rngs,
    ):
        for name, value in {"dim": dim, "hidden_factor": hidden_factor, "layers": layers}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 < min_gate < 0.5:
            raise ValueError(f"min_gate must lie between 0 and 0.5, got {min_gate}")
        dtype = jnp.result_type(float)
        self.dim = dim
        self.context_dim = context_dim
        self.min_gate = min_gate
        self.gate = nnx.Param(jnp.full(dim, 3.0, dtype))
        widths = [1] + [hidden_factor] * layers
        hidden = [
            BlockLinear(dim, inputs, hidden_factor, spread=1.0 if inputs == 1 else 0.1, rngs=rngs)
            for inputs in widths[:-1]
        ]
        self.layers = nnx.List([*hidden, BlockLinear(dim, hidden_factor, 1, spread=0.0, rngs=rngs)])
        outputs = dim * hidden_factor
        self.from_context = (
            nnx.Linear(context_dim, outputs, use_bias=False, param_dtype=dtype, rngs=rngs) if context_dim else None
        )

    @staticmethod
    def planned(dim: int, hidden_factor: int = 8, layers: int = 2, *, context_dim: int = 0) -> Planned:
        """The arrays of a layer of these sizes, by default those of the constructor."""

        def block(inputs: int, outputs: int) -> Planned:
            yield PlannedArray("log_diagonal", (dim, inputs, outputs))
            yield PlannedArray("kernel", (dim, inputs, dim, outputs))
            yield PlannedArray("bias", (dim, outputs))

        yield PlannedArray("gate", (dim,))
        yield from in_list("layers", (block(*sizes) for sizes in pairwise([1, *[hidden_factor] * layers, 1])))
        if context_dim:
            yield PlannedArray("from_context.kernel", (context_dim, dim * hidden_factor))

    def forward_and_log_det(self, z, context=None):
        """Visit the features in order, solving for each."""
        z = for_each_context(z, context)
        gate = self._gate()
        reach = (1 - gate) * self._bound()
        log_weights = tuple(layer.log_weights() for layer in self.layers)
        cross_weights = tuple(jnp.moveaxis(layer.cross_weights(), 2, 0) for layer in self.layers)
        biases = tuple(layer.bias[...] for layer in self.layers)

        def visit(known, feature):
            index, target, shift, gate, reach, log_weights, cross_weights, biases = feature
            # What comes from the features already found is the same for every candidate, so it is computed once.
            offsets = [
                _einsum("...ji,jio->...o", units, weights) + bias
                for units, weights, bias in zip(known, cross_weights, biases, strict=True)
            ]
            parameters = (gate, (offsets[0] + shift, *offsets[1:]), log_weights)
            low, high = (target - reach) / gate, (target + reach) / gate
            x = solve_increasing(_value_and_slope, target, parameters, low, high)
            _, log_slope, units = _through(x, *parameters)
            known = tuple(old.at[..., index, :].set(new) for old, new in zip(known, units, strict=True))
            return known, (x, -log_slope)

        start = tuple(jnp.zeros((*z.shape, layer.inputs), z.dtype) for layer in self.layers)
        shift = jnp.moveaxis(self._shift(z, context), -2, 0)
        features = (jnp.arange(self.dim), jnp.moveaxis(z, -1, 0), shift, gate, reach)
        _, (x, terms) = jax.lax.scan(visit, start, (*features, log_weights, cross_weights, biases))
        return jnp.moveaxis(x, 0, -1), jnp.sum(terms, axis=0)

    def inverse_and_log_det(self, x, context=None):
        """One pass of the network."""
        z, slopes = self.inverse_and_log_slopes(x, context)
        return z, jnp.sum(slopes, axis=-1)

    def inverse_and_log_slopes(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch dim"]]:
        """z and log dz[i]/dx[i] of each feature, whose sum is the log-determinant."""
        x = for_each_context(x, context)
        h, log_slope = x[..., None], jnp.zeros_like(x)[..., None]
        shift = self._shift(x, context)
        for layer in self.layers[:-1]:
            h, log_slope = _hidden(h, log_slope, layer.cross(h) + shift, layer.log_weights())
            shift = 0.0
        last = self.layers[-1]
        return _gated(x, h, log_slope, self._gate(), last.cross(h), last.log_weights())

    def _gate(self) -> Float[Array, "dim"]:
        return self.min_gate + (1 - 2 * self.min_gate) * jax.nn.sigmoid(self.gate[...])

    def _bound(self) -> Float[Array, "dim"]:
        """More than |f| can be; one more, so that rounding cannot push the root out of the bracket."""
        last = self.layers[-1]
        within = jnp.sum(jnp.exp(last.log_weights()), axis=(1, 2))
        across = jnp.sum(jnp.abs(last.cross_weights()), axis=(0, 1, 3))
        return 1 + within + across + jnp.abs(last.bias[..., 0])

    def _shift(self, x, context) -> Float[Array, "*batch dim hidden"]:
        """Return what the first hidden layer receives from the context."""
        shape = (*x.shape, self.layers[0].outputs)
        joined = join_context(x, context, self.context_dim)
        if self.from_context is None:
            return jnp.zeros(shape, x.dtype)
        return self.from_context(joined[..., self.dim :]).reshape(shape)


def _value_and_slope(x, parameters):
    """One feature's z and dz/dx, as `solve_increasing` wants them."""
    z, log_slope, _ = _through(x, *parameters)
    return z, jnp.exp(log_slope)


def _through(x, gate, offsets, log_weights):
    """One feature's z, log dz/dx and the inputs of its layers, given what each layer receives from elsewhere."""
    h, log_slope = x[..., None], jnp.zeros_like(x)[..., None]
    units = [h]
    for offset, weights in zip(offsets[:-1], log_weights[:-1], strict=True):
        h, log_slope = _hidden(h, log_slope, offset, weights)
        units.append(h)
    return *_gated(x, h, log_slope, gate, offsets[-1], log_weights[-1]), units


def _hidden(h, log_slope, offset, log_weights):
    """A hidden layer within each feature: its units and the logarithms of their derivatives by the feature."""
    raw = _einsum("...i,...io->...o", h, jnp.exp(log_weights)) + offset
    # log(1 - tanh^2), of which nothing overflows or cancels far out.
    log_tanh_slope = 2 * (math.log(2) - jnp.logaddexp(raw, -raw))
    return jnp.tanh(raw), _log_product(log_slope, log_weights) + log_tanh_slope


def _gated(x, h, log_slope, gate, offset, log_weights):
    """The last layer and the gate: z and log dz/dx."""
    f = _einsum("...i,...io->...o", h, jnp.exp(log_weights)) + offset
    log_slope = _log_product(log_slope, log_weights)[..., 0] + jnp.log1p(-gate)
    return gate * x + (1 - gate) * f[..., 0], jnp.logaddexp(jnp.log(gate), log_slope)


def _log_product(log_vector, log_matrix):
    """log(exp(log_vector) @ exp(log_matrix)), stable: a log-sum-exp over the inputs of each output."""
    return jax.nn.logsumexp(log_vector[..., :, None] + log_matrix, axis=-2)


def _einsum(subscripts: str, x: Array, weights: Array) -> Array:
    return jnp.einsum(subscripts, x, weights, precision=product_precision())
