"""Several densities of one kind as one model."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxflow.errors import InputError
from jaxflow.models.combined.surprise import QUANTILES, negative_log_tail, score_tail
from jaxflow.models.model import Density, DirectlyFitted, Model, WayOfFitting, weighted_mean
from jaxflow.models.one_program import one_program
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.stacking import stacked

Combination: TypeAlias = Literal["mean_log_prob", "log_mean_prob", "tail"]


class Ensemble(Density):
    """Equal densities that differ in their numbers: seeds, permutations, bootstrap weights, noise.

    The density is the mean of the members', log p(x) = log(1/M sum_m p_m(x)). The score, by which rows are judged, is
    what `combination` says:

    - "log_mean_prob": -log p(x), led by the member that finds the row most likely;
    - "mean_log_prob": -1/M sum_m log p_m(x), to which each member contributes alike;
    - "tail": -1/M sum_m log P_m(score of a normal row >= score of x), so that members on other scales count alike.
      P_m is the share of held-out normal rows, `calibrate`; beyond the last tenth of them their scores are taken to
      fall off as a generalised Pareto distribution (`score_tail`), so that the order of extreme rows is kept.

    >>> ensemble = Ensemble(lambda rngs: NICE(layers=1, hidden=(4,)).build(2, rngs=rngs), 2, rngs=nnx.Rngs(0))
    >>> ensemble.log_prob(jnp.ones((5, 2))).shape
    (5,)

    Args:
        make: builds one member; called once, under vmap.
        members: number of members.
        combination: how scores are combined.
        bootstrap: whether `fit` weighs the rows of each member by how often they are drawn with replacement.
        learning_rates: for `fit`, of each member; empty for that of the `FitSpec`.
        weight_decays: likewise.
        input_noises: likewise, of the noise on the rows.
        rngs: source of the members' keys.

    Attributes:
        member: the members as one module, whose arrays have a first axis that counts them.
        kept: whether each member counts; one that diverged does not.

    Raises:
        ValueError: if `members` is below 1, or there is not one learning rate, decay or noise for each.
        InputError: if the members fit themselves.
    """

    way_of_fitting: ClassVar[WayOfFitting] = "members_together"

    def __init__(
        self,
        make: Callable[[nnx.Rngs], Density],
        members: int,
        *,
        combination: Combination = "mean_log_prob",
        bootstrap: bool = False,
        learning_rates: Sequence[float] = (),
        weight_decays: Sequence[float] = (),
        input_noises: Sequence[float] = (),
        rngs: nnx.Rngs,
    ):
        if members < 1:
            raise ValueError(f"members must be at least 1, got {members}")
        own = {"learning_rates": learning_rates, "weight_decays": weight_decays, "input_noises": input_noises}
        for name, values in own.items():
            if len(values) not in (0, members):
                raise ValueError(f"{name} must have one value for each of {members} members or none, got {len(values)}")
        self.member = stacked(make, members, rngs.params())
        if isinstance(self.member, DirectlyFitted):
            raise InputError(f"an ensemble is fitted by gradient steps, but {type(self.member).__name__} fits itself")
        self.dim = self.member.dim
        self.context_dim = self.member.context_dim
        self.members = members
        self.combination = combination
        self.scores_in_nats = combination != "tail"
        self.bootstrap = bootstrap
        self.learning_rates = tuple(learning_rates)
        self.weight_decays = tuple(weight_decays)
        self.input_noises = tuple(input_noises)
        self.kept = Buffer(jnp.ones(members, bool))
        dtype = jnp.result_type(float)
        self.quantiles = Buffer(jnp.tile(jnp.linspace(0.0, 1.0, QUANTILES, dtype=dtype), (members, 1)))
        self.excess = Buffer(jnp.ones(members, dtype))

    def each(self, function: Callable[..., Array], *own: Any) -> Float[Array, "members *shape"]:
        """`function(member, *own)` of every member, where the first axis of what is its `own` counts members."""
        graph, state = nnx.split(self.member)
        return jax.vmap(lambda state, *own: function(nnx.merge(graph, state), *own))(state, *own)

    def take(self, index: int) -> Density:
        """One member as a model by itself.

        Raises:
            IndexError: if there is no such member.
        """
        if not 0 <= index < self.members:
            raise IndexError(f"member must be between 0 and {self.members - 1}, got {index}")
        graph, state = nnx.split(self.member)
        return nnx.merge(graph, jax.tree.map(lambda array: array[index], state))

    def replace_members(self, member: Any, kept: Bool[np.ndarray, "members"]) -> None:
        """Take other numbers for the members, of which those that are not `kept` no longer count, in place.

        Raises:
            ValueError: if none is kept.
        """
        if not np.any(kept):
            raise ValueError("at least one member must be kept")
        self.member = member
        self.kept[...] = jnp.asarray(kept)

    def calibrate(
        self,
        x: Float[Array | np.ndarray, "*members n dim"],
        context: Float[Array | np.ndarray, "*members n context_dim"] | None = None,
    ) -> None:
        """Take the scores of normal rows that no member has learned from as the yardstick of "tail", in place."""
        graph, state = nnx.split(self.member)
        self.quantiles[...], self.excess[...] = _yardstick(state, x, context, graph=graph)

    @one_program
    def log_prob(self, x, context=None):
        """Log of the mean of the members' densities, in nats; -inf off the support of all."""
        x, context = self.aligned(x, context)
        values = self.each(lambda member: member.log_prob(x, context))
        total = jax.nn.logsumexp(jnp.where(self._kept_as(values), values, -jnp.inf), axis=0)
        return total - jnp.log(jnp.sum(self.kept[...]).astype(values.dtype))

    @one_program
    def score(self, x, context=None):
        """How anomalous each row is, as `combination` says; in nats."""
        x, context = self.aligned(x, context)
        if self.combination == "log_mean_prob":
            return -self.log_prob(x, context)
        scores = self.each(lambda member: member.score(x, context))
        if self.combination == "tail":
            scores = jax.vmap(negative_log_tail)(scores, self.quantiles[...], self.excess[...])
        return jnp.sum(jnp.where(self._kept_as(scores), scores, 0), axis=0) / jnp.sum(self.kept[...])

    def loss(self, x, weight=None, context=None, rngs=None):
        """Weighted mean of the score."""
        return weighted_mean(self.score(x, context), weight)

    @one_program
    def sample(
        self,
        key: PRNGKeyArray,
        sample_shape: Any = (),
        context: Float[Array, "*batch context_dim"] | None = None,
    ):
        """Draws of shape `sample_shape + context.shape[:-1] + (dim,)`, each from a member drawn for it."""
        sample_shape, context = self.asked(sample_shape, context)
        choice_key, key = jax.random.split(key)
        keys = jax.random.split(key, self.members)
        graph, state = nnx.split(self.member)
        draws = jax.vmap(lambda state, key: nnx.merge(graph, state).sample(key, sample_shape, context))(state, keys)
        weights = jnp.where(self.kept[...], 0.0, -jnp.inf)
        choice = jax.random.categorical(choice_key, weights, shape=draws.shape[1:-1])
        return jnp.take_along_axis(draws, choice[None, ..., None], axis=0)[0]

    def prepare(self, x):
        """Let every member look at the training rows, (n, dim) for all or (members, n, dim) with rows for each."""
        if type(self.member).prepare is Model.prepare:
            return
        prepared = []
        for index in range(self.members):
            member = self.take(index)
            member.prepare(x[index] if x.ndim == 3 else x)
            prepared.append(nnx.state(member))
        nnx.update(self.member, jax.tree.map(lambda *arrays: jnp.stack(arrays), *prepared))

    def _kept_as(self, values: Float[Array, "members *batch"]) -> Bool[Array, "members *ones"]:
        """Which members count, to be broadcast over their values."""
        return self.kept[...].reshape(-1, *[1] * (values.ndim - 1))


@partial(jax.jit, static_argnames="graph")
def _yardstick(
    state: Any,
    x: Float[Array, "*members n dim"],
    context: Float[Array, "*members n context_dim"] | None,
    *,
    graph: Any,
) -> tuple[Float[Array, "members quantiles"], Float[Array, "members"]]:
    """Of each member the tail of its scores of these rows."""

    def one(state, x, context):
        return score_tail(nnx.merge(graph, state).score(x, context))

    own = 0 if x.ndim == 3 else None
    return jax.vmap(one, in_axes=(0, own, own))(state, x, context)
