"""Densities of different kinds, each with its own view of the rows, as one model."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxflow.bijectors import RankGaussian
from jaxflow.models.combined.surprise import QUANTILES, SHAPE, negative_log_tail, score_tail
from jaxflow.models.model import Density, WayOfFitting, weighted_mean
from jaxflow.models.one_program import one_program
from jaxflow.networks.buffer import Buffer

View: TypeAlias = Literal["as_given", "rank_gaussian", "arcsinh"]


class Committee(Density):
    """Several densities that judge together; each sees the features as they are, by arcsinh or normal by their ranks.

    What a density finds improbable depends on the coordinates that it is one in (Le Lan and Dinh 2021), and one that
    generalises smoothly overlooks what one that remembers the training rows sees. So members of several kinds in
    several coordinates are asked. A member's surprise at a row is

    s_m(x) = -log P(member's score of a normal row >= its score of x)

    over held-out normal rows, in the member's own coordinates and with a heavy tail beyond the last tenth of them
    (`score_tail`), so that scores of different kinds compare. Those of members with one voice are averaged by their
    weights, which takes chance out of fits that depend on it. A voice weighs as much as its members together, and the
    score is the power mean over the voices,

    score(x) = (sum_v w_v s_v(x)^power / sum_v w_v)^(1/power)

    the mean for power 1; the higher the power, the more the most surprised decides. It depends on the row and the fit
    alone. The density is the mean of the members' densities of the features as given, by their weights.

    `fit` fits the members one after the other and takes the held-out rows for `calibrate`. All members are to have one
    yardstick: with rows of each member's own, what chance makes of few rows would part them.

    >>> Committee(("as_given", "arcsinh"), [Gaussian(2), Gaussian(2)]).score(jnp.ones((5, 2))).shape
    (5,)

    Args:
        views: the coordinates of each member.
        members: the densities, of one dimension and without a context.
        voices: the voice of each member, a number from 0 on; by default each has one of its own.
        weights: how much each member counts; by default all alike.
        power: how much the most surprised counts.
        tail_shape: of the distribution of scores beyond the last tenth (`negative_log_tail`); 0 for an exponential one.

    Raises:
        ValueError: if there is no member, not one view, voice and weight for each, a voice between has no member, a
            weight is not positive, `power` is below 1, or `tail_shape` is not from 0 to below 1.
    """

    way_of_fitting: ClassVar[WayOfFitting] = "members_in_turn"
    scores_in_nats = False

    def __init__(
        self,
        views: Sequence[View],
        members: Sequence[Density],
        *,
        voices: Sequence[int] = (),
        weights: Sequence[float] = (),
        power: float = 4.0,
        tail_shape: float = SHAPE,
    ):
        if not members or len(views) != len(members):
            raise ValueError(f"expected one view for each of one member at least, got {len(views)} and {len(members)}")
        voices = tuple(voices) or tuple(range(len(members)))
        if len(voices) != len(members) or set(voices) != set(range(len(set(voices)))):
            raise ValueError(f"expected one voice for each of {len(members)} members, from 0 on, got {list(voices)}")
        weights = tuple(weights) or (1.0,) * len(members)
        if len(weights) != len(members) or not all(0 < weight < np.inf for weight in weights):
            raise ValueError(f"expected one positive weight for each of {len(members)} members, got {list(weights)}")
        if not power >= 1:
            raise ValueError(f"power must be at least 1, got {power}")
        if not 0 <= tail_shape < 1:
            raise ValueError(f"tail_shape must be from 0 to below 1, got {tail_shape}")
        self.dim = members[0].dim
        self.context_dim = 0
        self.views = tuple(views)
        self.voices = voices
        self.weights = weights
        self.power = power
        self.tail_shape = tail_shape
        self.members = nnx.List(members)
        self.ranks = RankGaussian(self.dim)
        dtype = jnp.result_type(float)
        self.quantiles = Buffer(jnp.tile(jnp.linspace(0.0, 1.0, QUANTILES, dtype=dtype), (len(members), 1)))
        self.excess = Buffer(jnp.ones(len(members), dtype))

    def prepare(self, x):
        """Take the ranks among the training rows."""
        self.ranks.fit(x)

    def seen(self, x: Float[Array, "*batch dim"]) -> list[Float[Array, "*batch dim"]]:
        """The rows in the coordinates of each member."""
        coordinates = {view: self._coordinates(view, x)[0] for view in dict.fromkeys(self.views)}
        return [coordinates[view] for view in self.views]

    def _coordinates(self, view: View, x: Float[Array, "*batch dim"]) -> tuple[Array, Array]:
        """The rows in these coordinates, and the log-determinant of the map to them, (*batch,)."""
        if view == "rank_gaussian":
            return self.ranks.inverse_and_log_det(x)
        if view == "arcsinh":
            return jnp.arcsinh(x), -jnp.sum(jnp.log(jnp.hypot(1.0, x)), axis=-1)
        return x, jnp.zeros(x.shape[:-1], x.dtype)

    def calibrate(
        self, x: Float[Array | np.ndarray, "n dim"], weight: Float[Array | np.ndarray, "n"] | None = None
    ) -> None:
        """Take the scores of normal rows that no member has learned from as the yardstick, in place.

        Rows of weight zero do not count; of the other weights nothing is made.
        """
        graph, state = nnx.split(self)
        counted = None if weight is None else jnp.asarray(weight) > 0
        self.quantiles[...], self.excess[...] = _yardsticks(state, jnp.asarray(x), counted, graph=graph)

    def surprises(self, x: Float[Array, "*batch dim"]) -> Float[Array, "members *batch"]:
        """How rare each member finds each row, in nats."""
        scores = [member.score(z) for member, z in zip(self.members, self.seen(x), strict=True)]
        known = zip(scores, self.quantiles[...], self.excess[...], strict=True)
        return jnp.stack([negative_log_tail(*one, shape=self.tail_shape) for one in known])

    @one_program
    def score(self, x, context=None):
        """The power mean of the surprises; raises `InputError` if given a context."""
        x, _ = self.aligned(x, context)
        return combined(self.surprises(x), self.voices, self.weights, self.power)

    @one_program
    def log_prob(self, x, context=None):
        """Log of the weighted mean of the members' densities, in nats; raises `InputError` if given a context."""
        x, _ = self.aligned(x, context)
        coordinates = {view: self._coordinates(view, x) for view in dict.fromkeys(self.views)}
        values = [
            member.log_prob(coordinates[view][0]) + coordinates[view][1]
            for member, view in zip(self.members, self.views, strict=True)
        ]
        log_shares = np.log(np.array(self.weights) / sum(self.weights))
        return jax.nn.logsumexp(jnp.stack([v + s for v, s in zip(values, log_shares.tolist(), strict=True)]), axis=0)

    def loss(self, x, weight=None, context=None, rngs=None):
        """Weighted mean of the negative log of the mean density, in nats."""
        return weighted_mean(-self.log_prob(x, context), weight)

    @one_program
    def sample(self, key, sample_shape=(), context=None):
        """Draws of shape `sample_shape + (dim,)`, each from a member drawn for it by their weights."""
        sample_shape, _ = self.asked(sample_shape, context)
        choice_key, key = jax.random.split(key)
        draws = []
        for number, (member, view) in enumerate(zip(self.members, self.views, strict=True)):
            z = member.sample(jax.random.fold_in(key, number), sample_shape)
            draws.append(self.ranks.forward(z) if view == "rank_gaussian" else jnp.sinh(z) if view == "arcsinh" else z)
        shares = jnp.log(jnp.asarray(self.weights))
        choice = jax.random.categorical(choice_key, shares, shape=sample_shape)
        return jnp.take_along_axis(jnp.stack(draws), choice[None, ..., None], axis=0)[0]


def combined(
    surprises: Float[Array, "members *batch"], voices: Sequence[int], weights: Sequence[float], power: float
) -> Float[Array, "*batch"]:
    """The score of a `Committee` whose members are so surprised, (*batch,)."""
    totals, sums = [0.0] * (max(voices) + 1), [jnp.zeros(surprises.shape[1:], surprises.dtype)] * (max(voices) + 1)
    for voice, weight, surprise in zip(voices, weights, surprises, strict=True):
        totals[voice] += weight
        sums[voice] = sums[voice] + weight * surprise
    heard = jnp.stack([one / total for one, total in zip(sums, totals, strict=True)])
    # Divided by the greatest first: its power would overflow.
    greatest = jnp.max(heard, axis=0)
    safe = jnp.where((greatest > 0) & jnp.isfinite(greatest), greatest, 1.0)
    powers = (heard / safe) ** power
    mean = sum(total * one for total, one in zip(totals, powers, strict=True)) / sum(totals)
    return jnp.where(jnp.isfinite(greatest), safe * mean ** (1 / power), greatest)


@partial(jax.jit, static_argnames="graph")
def _yardsticks(
    state: Any, x: Float[Array, "n dim"], counted: Bool[Array, "n"] | None, *, graph: Any
) -> tuple[Float[Array, "members quantiles"], Float[Array, "members"]]:
    """Of each member the tail of its scores of these rows."""
    committee = nnx.merge(graph, state)
    scores = [member.score(z) for member, z in zip(committee.members, committee.seen(x), strict=True)]
    found = [score_tail(one, counted) for one in scores]
    return jnp.stack([quantiles for quantiles, _ in found]), jnp.stack([excess for _, excess in found])
