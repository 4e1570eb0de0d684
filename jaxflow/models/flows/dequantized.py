"""Likelihoods of rows with columns on a grid: counts, ratings, 0/1 flags."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxflow.bijectors import Affine, Chain, Inverse, MaskedAutoregressive, Sigmoid
from jaxflow.data.columns.grid import Grid, find_grid
from jaxflow.errors import InputError
from jaxflow.models.model import Density, weighted_mean
from jaxflow.models.one_program import one_program
from jaxflow.networks import MaskedMLP
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.mlp import join_context
from jaxflow.networks.planned import Planned, PlannedArray, in_list, within

Noise: TypeAlias = Literal["none", "uniform", "variational"]
HIDDEN = (32, 32)  # widths of the networks of q, by default


class Dequantized(Density):
    """A density fitted to rows with columns on a grid, through noise that fills the gaps of the grid.

    P(x) = integral over u in [0, 1)^k of p(x + step * (u - 1/2)) * product(step)

    A column whose values are origin + step * integer has a probability for each value, not a density: a density grows
    without bound there, and so would the likelihood. The probability is bounded from below by

    log P(x) >= E_q(u | x)[w],    w = log p(x + step * (u - 1/2)) + sum(log step) - log q(u | x)

    with q uniform (Theis et al. 2016, section 3.1) or, tighter, a learned flow on the unit cube that looks at x (Ho et
    al. 2019, equation 5), here inverse autoregressive and uniform at first. Training raises the bound with one draw of
    u for each row at each step.

    `log_prob` is log(mean(exp(w))) over `draws` of u, which on average lies between the bound and log P(x) and nears
    the latter as draws grow (Burda et al. 2016, theorem 1). They are the same for every row and every call, so a row's
    score depends on the row and the fit alone; they are spread evenly over each column. Log-probabilities are in nats:
    of probabilities for columns on a grid, whatever their scale, and of densities for the others.

    A value between those of the grid is judged as if it stood in the middle of a cell of its own.

    The grid is found by `prepare` in the training rows, which `fit` calls; until then there is none.

    >>> counts = Dequantized(Gaussian(1), rngs=nnx.Rngs(0))
    >>> counts.prepare(np.arange(10.0)[:, None])
    >>> counts.log_prob(jnp.array([[3.0]])).shape
    (1,)

    Args:
        density: the density of rows without gaps, p.
        noise: for all columns alike, or for each: "none", "uniform" or "variational". Where all are treated alike,
            columns that lie on no grid are left as they are.
        draws: number of u that a row is scored with.
        hidden: widths of the hidden layers of the two masked networks of q.
        rngs: source of the initial weights and of the draws.

    Attributes:
        step: distance of the values of each column; 0 for a column that gets no noise.
        origin: the smallest training value of each column.

    Raises:
        ValueError: if `noise` is all "none" or has not one entry a column, or `draws` is below 1.
    """

    def __init__(
        self,
        density: Density,
        noise: Noise | Sequence[Noise] = "uniform",
        *,
        draws: int = 16,
        hidden: Sequence[int] = HIDDEN,
        rngs: nnx.Rngs,
    ):
        dim = density.dim
        self.all_alike = isinstance(noise, str)
        kinds: tuple[Any, ...] = (noise,) * dim if isinstance(noise, str) else tuple(noise)
        if len(kinds) != dim:
            raise ValueError(f"noise must be one kind, or one for each of {dim} columns, got {len(kinds)}")
        if set(kinds) == {"none"}:
            raise ValueError("noise is none for all columns: use the density as it is")
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        self.dim = dim
        self.context_dim = density.context_dim
        self.density = density
        self.noise = kinds
        self.learned = tuple(column for column, kind in enumerate(kinds) if kind == "variational")
        dtype = jnp.result_type(float)
        self.step = Buffer(jnp.zeros(dim, dtype))
        self.origin = Buffer(jnp.zeros(dim, dtype))
        # In each column every one of `draws` equal pieces of [0, 1) is hit once, and in its middle.
        pieces = (jnp.arange(draws, dtype=dtype) + 0.5) / draws
        keys = jax.random.split(rngs.params(), dim)
        self.draws = Buffer(jax.vmap(jax.random.permutation, (0, None), 1)(keys, pieces))
        self.shape = self._make_shape(hidden, rngs) if self.learned else None

    @staticmethod
    def planned(
        density: Planned, dim: int, draws: int, learned: int, *, context_dim: int = 0, hidden: Sequence[int] = HIDDEN
    ) -> Planned:
        """The arrays around those of a density of `dim` columns, of which so many get learned noise."""
        yield from within("density", density)
        for name, shape in (("step", (dim,)), ("origin", (dim,)), ("draws", (draws, dim))):
            yield PlannedArray(name, shape)
        if learned:
            networks = (MaskedMLP.planned(learned, 2, hidden, context_dim=dim + context_dim) for _ in range(2))
            layers = (within("bijector.conditioner", network) for network in networks)
            yield from within("shape", in_list("layers", layers))

    def _make_shape(self, hidden: Sequence[int], rngs: nnx.Rngs) -> Chain:
        """The flow that shapes uniform noise; the identity on the unit cube, up to rounding, at first."""
        count = len(self.learned)

        def layer(order) -> Inverse:
            context_dim = self.dim + self.context_dim
            network = MaskedMLP(count, 2, hidden, order=order, context_dim=context_dim, activation="silu", rngs=rngs)
            return Inverse(MaskedAutoregressive(Affine(), network))

        return Chain([layer(np.arange(count)), layer(np.arange(count)[::-1]), Sigmoid()])

    def prepare(self, x):
        """Find the grid of every column that is to get noise; one keeps the grid that it has if that holds all of `x`.

        Some of the rows in which a grid was found may have too few of its values to find it again.

        Raises:
            InputError: if a column for which noise was asked by name lies on no grid, or none of all columns does.
        """
        rows = np.asarray(x, np.float64)
        steps, origins = np.zeros(self.dim), rows.min(axis=0)
        known_steps, known_origins = (np.asarray(array[...], np.float64) for array in (self.step, self.origin))
        for column, kind in enumerate(self.noise):
            if kind == "none":
                continue
            known = Grid(known_origins[column], known_steps[column])
            grid = known if known.step and known.holds(rows[:, column]) else find_grid(rows[:, column])
            if grid is not None:
                steps[column], origins[column] = grid.step, grid.origin
            elif not self.all_alike:
                raise InputError(f"dequantize = {kind} for column {column}, but its values lie on no regular grid")
        if not steps.any():
            raise InputError(f"dequantize = {self.noise[0]}, but no column has its values on a regular grid")
        self.step[...] = jnp.asarray(steps, self.step.dtype)
        self.origin[...] = jnp.asarray(origins, self.origin.dtype)

    @property
    def prepared(self):
        """Whether there is a grid."""
        return bool(np.asarray(self.step[...]).any())

    def initialize(self, x, weight=None, context=None, *, key):
        """Initialise the density with rows that have their noise."""
        noise_key, key = jax.random.split(key)
        u = jax.random.uniform(noise_key, x.shape, x.dtype)
        self.density.initialize(self._filled(x, self._shaped(u, x, context)[0]), weight, context, key=key)

    @one_program
    def log_prob(self, x, context=None):
        """Log-probability in nats, a little below on average; columns on no grid count with their density."""
        terms = self._terms(*self.aligned(x, context))
        return jax.nn.logsumexp(terms, axis=0) - jnp.log(jnp.asarray(len(terms), terms.dtype))

    @one_program
    def lower_bound(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch"]:
        """The bound E[w] of each row in nats, over the same draws as `log_prob`, which it never exceeds."""
        return jnp.mean(self._terms(*self.aligned(x, context)), axis=0)

    def terms_in_order(
        self, terms: Callable[[Array], Array], x: Float[Array, "*batch dim"], order: Int[Array, "dim"]
    ) -> Float[Array, "*batch dim"]:
        """-log P(x_i | x_<i) of each column, "before" being in the `order` in which the columns are visited.

        P(x_<=i) is the mean over the draws of uniform noise of the density of the columns up to i, as `log_prob` is of
        all of them; so where the `terms` of rows without gaps sum to -log p, these sum to -`log_prob`.
        """
        own = jax.lax.map(lambda u: terms(self._filled(x, jnp.broadcast_to(u, x.shape))), self.draws[...])
        known = jax.nn.logsumexp(jnp.cumsum(-own[..., order], axis=-1), axis=0) - jnp.log(
            jnp.asarray(len(own), x.dtype)
        )
        before = jnp.concatenate([jnp.zeros_like(known[..., :1]), known[..., :-1]], axis=-1)
        in_order = jnp.where(jnp.isneginf(known), jnp.inf, before - known)
        return in_order[..., jnp.argsort(order)] - jnp.log(jnp.where(self._on_grid, self.step[...], 1))

    def loss(self, x, weight=None, context=None, rngs=None):
        """Weighted mean of the negative bound, over one draw a row; without `rngs`, of the negative `log_prob`."""
        if rngs is None:
            return super().loss(x, weight, context)
        x, context = self.aligned(x, context)
        u = jax.random.uniform(rngs(), x.shape, x.dtype)
        return weighted_mean(-self._term(u, x, context), weight)

    @one_program
    def sample(
        self,
        key: PRNGKeyArray,
        sample_shape: Any = (),
        context: Float[Array, "*batch context_dim"] | None = None,
    ):
        """Draws of shape `sample_shape + context.shape[:-1] + (dim,)`, with columns back on their grid."""
        y = self.density.sample(key, sample_shape, context)
        step = jnp.where(self._on_grid, self.step[...], 1)
        return jnp.where(self._on_grid, self.origin[...] + step * jnp.round((y - self.origin[...]) / step), y)

    @property
    def _on_grid(self):
        return self.step[...] > 0

    def _terms(self, x, context) -> Float[Array, "draws *batch"]:
        # One draw after the other, since all at once would take `draws` times the memory.
        return jax.lax.map(lambda u: self._term(jnp.broadcast_to(u, x.shape), x, context), self.draws[...])

    def _term(self, u, x, context) -> Float[Array, "*batch"]:
        """w of each row for uniform noise u."""
        u, log_q = self._shaped(u, x, context)
        volume = jnp.sum(jnp.log(jnp.where(self._on_grid, self.step[...], 1)))
        return self.density.log_prob(self._filled(x, u), context) + volume - log_q

    def _filled(self, x, u):
        return x + self.step[...] * (u - 0.5)

    def _shaped(self, u, x, context):
        """The noise that q makes of uniform noise, and log q of it."""
        if self.shape is None:
            return u, jnp.zeros(u.shape[:-1], u.dtype)
        columns = np.array(self.learned)
        # The logit of uniform noise is logistic, with the log-density log(u) + log(1 - u).
        uniform = jnp.clip(u[..., columns], jnp.finfo(u.dtype).tiny, 1 - jnp.finfo(u.dtype).epsneg)
        log_odds = jnp.log(uniform) - jnp.log1p(-uniform)
        shaped, log_det = self.shape.forward_and_log_det(log_odds, join_context(x, context, self.context_dim))
        log_q = jnp.sum(jnp.log(uniform) + jnp.log1p(-uniform), axis=-1) - log_det
        return u.at[..., columns].set(shaped), log_q
