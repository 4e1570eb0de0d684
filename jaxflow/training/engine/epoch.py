"""One epoch as one compiled program."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxflow.networks.matmul_precision import exact_products
from jaxflow.training.engine import flat_parameters as flat
from jaxflow.training.engine.batch import Batch
from jaxflow.training.engine.plan import Loss, Plan, TracedHyperparameters, follows_data, make_plan, split
from jaxflow.training.engine.shuffle import random_order
from jaxflow.training.engine.step import Totals, Trained, first_trained, no_totals, run_steps
from jaxflow.training.engine.trim import trimmed, trimmed_loss
from jaxflow.training.fit_spec import FitSpec

VALID_ROWS = 4096  # rows scored at once on held-out data


class Part(NamedTuple):
    """How far an epoch of several parts has come.

    Attributes:
        totals: the sums over its steps.
        done: number of parts done.
    """

    totals: Totals
    done: Int[Array, ""]


class FitState(NamedTuple):
    """All that changes while fitting.

    Attributes:
        trained: parameters, optimiser and whatever else steps change.
        best_params: the parameters at the lowest watched loss so far.
        best_buffers: the model's other variables that went with them.
        best_loss: that loss; +inf before the first epoch.
        key: the random key of the whole fit; each epoch folds its number into it.
        epoch: epochs done.
        stale: epochs since the watched loss was last lowered.
        stopped: whether patience has run out, or a loss was not finite; a stopped state no longer changes.
        knobs: learning rate and the like; they stay as they are.
        part: how far the epoch has come, where it is made in several parts; None where it is one program.
    """

    trained: Trained
    best_params: flat.Flat
    best_buffers: Any
    best_loss: Float[Array, ""]
    key: PRNGKeyArray
    epoch: Int[Array, ""]
    stale: Int[Array, ""]
    stopped: Bool[Array, ""]
    knobs: TracedHyperparameters
    part: Part | None = None


class Record(NamedTuple):
    """Figures that an epoch reports."""

    train_loss: Float[Array, ""]
    valid_loss: Float[Array, ""]
    best_loss: Float[Array, ""]
    learning_rate: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    skipped_steps: Int[Array, ""]
    stopped: Bool[Array, ""]


class EpochKeys(NamedTuple):
    """The random keys of one epoch."""

    shuffle: PRNGKeyArray
    steps: PRNGKeyArray
    data: PRNGKeyArray

    @classmethod
    def of(cls, key: PRNGKeyArray, epoch: Int[Array, ""]) -> "EpochKeys":
        """Return the keys of the epoch after `epoch` others, in a fit with `key`."""
        shuffle, steps, data = jax.random.split(jax.random.fold_in(key, epoch), 3)
        return cls(shuffle, steps, data)


def start(
    model: nnx.Module,
    spec: FitSpec,
    rows: int,
    key: PRNGKeyArray,
    mesh: Mesh | None = None,
    *,
    in_parts: bool = False,
    optimizer: optax.GradientTransformation | None = None,
    loss: Loss | None = None,
) -> tuple[Plan, FitState]:
    """The plan and the first state for fitting `model` to `rows` rows, in one program an epoch or in several."""
    graph, train_graph, params, buffers = split(model)
    plan = make_plan(
        graph,
        train_graph,
        params,
        spec,
        rows,
        follows_data=follows_data(model),
        mesh=mesh,
        optimizer=optimizer,
        loss=loss,
    )
    state = first_state(params, buffers, key, TracedHyperparameters.of(spec), plan=plan)
    if in_parts:
        state = state._replace(part=Part(no_totals(state.best_loss.dtype), jnp.zeros_like(state.epoch)))
    return plan, state


@partial(jax.jit, static_argnames="plan")
def first_state(params: Any, buffers: Any, key: PRNGKeyArray, knobs: TracedHyperparameters, *, plan: Plan) -> FitState:
    """The state before the first step."""
    flattened = flat.flatten(params)
    return FitState(
        trained=first_trained(flattened, buffers, plan),
        best_params=flattened,
        best_buffers=buffers,
        best_loss=jnp.asarray(jnp.inf, flattened[0].dtype),
        key=key,
        epoch=jnp.asarray(0),
        stale=jnp.asarray(0),
        stopped=jnp.asarray(False),
        knobs=knobs,
    )


@partial(jax.jit, static_argnames="plan", donate_argnames="state")
def run_epoch(state: FitState, train: Batch, valid: Batch | None, *, plan: Plan) -> tuple[FitState, Record]:
    """Advance by one pass over the training data, then look at the held-out data; see `advance`."""
    return advance(state, train, valid, plan)


def advance(state: FitState, train: Batch, valid: Batch | None, plan: Plan) -> tuple[FitState, Record]:
    """An epoch as a pure function.

    Shuffling, all steps, validation, the choice of the best parameters and the decision to stop happen in one program:
    nothing crosses from the device to the host. A state that has stopped is returned as it is.
    """
    unknown = jnp.full_like(state.best_loss, jnp.nan)
    idle = Record(unknown, unknown, unknown, unknown, unknown, jnp.asarray(0), jnp.asarray(True))
    return jax.lax.cond(
        state.stopped, lambda state: (state, idle), lambda state: _run_epoch(state, train, valid, plan), state
    )


def _run_epoch(state: FitState, train: Batch, valid: Batch | None, plan: Plan) -> tuple[FitState, Record]:
    keys = EpochKeys.of(state.key, state.epoch)
    order = random_order(keys.shuffle, train.x.shape[0])
    if plan.spec.trim:
        train = trimmed(state.trained, train, state.knobs.trim, order, plan)
    blocks = plan.blocks(jax.tree.map(lambda array: array[order], train))
    trained, totals = run_steps(state.trained, blocks, keys.steps, state.knobs, plan, epoch=state.epoch)
    if plan.follows_data:
        model = plan.model(flat.unflatten(trained.judged, plan.layout), trained.buffers)
        model.initialize(train.x, train.weight, train.context, key=keys.data)
        trained = trained._replace(buffers=nnx.split(model, nnx.Param, ...)[2])
    return finish(state, trained, totals, valid, plan)


def finish(
    state: FitState, trained: Trained, totals: Totals, valid: Batch | None, plan: Plan
) -> tuple[FitState, Record]:
    """Finish an epoch after its steps: validation, the best parameters, the decision to stop.

    Args:
        state: that before the epoch; its `trained` is not looked at.
        trained: what the steps made of it.
        totals: sums over the steps.
        valid: the held-out rows.
        plan: the plan of the fit.
    """
    train_loss = totals.loss / totals.weight
    unknown = jnp.full_like(train_loss, jnp.nan)
    with exact_products():
        held_out = unknown if valid is None else _evaluate(trained, valid, state.knobs, plan)
    watched = train_loss if valid is None else held_out
    better = watched < state.best_loss  # False for NaN, so good parameters are never replaced by bad ones
    stale = jnp.where(better, 0, state.stale + 1)
    best_loss = jnp.where(better, watched, state.best_loss)
    impatient = jnp.asarray(False) if plan.spec.patience is None else stale >= plan.spec.patience
    record = Record(
        train_loss=train_loss,
        valid_loss=held_out,
        best_loss=best_loss,
        learning_rate=unknown
        if plan.optimizer
        else plan.learning_rates(state.knobs, state.epoch * plan.steps_per_epoch),
        gradient_norm=totals.norm / totals.taken,
        skipped_steps=totals.skipped,
        stopped=impatient | (trained.bad_step >= 0),
    )
    state = FitState(
        trained=trained,
        best_params=_chosen(better, trained.judged, state.best_params),
        best_buffers=_chosen(better, trained.buffers, state.best_buffers),
        best_loss=best_loss,
        key=state.key,
        epoch=state.epoch + 1,
        stale=stale,
        stopped=record.stopped,
        knobs=state.knobs,
        part=None if state.part is None else jax.tree.map(jnp.zeros_like, state.part),
    )
    return state, record


def _chosen(condition: Bool[Array, ""], first: Any, second: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), first, second)


def _evaluate(trained: Trained, valid: Batch, knobs: TracedHyperparameters, plan: Plan) -> Float[Array, ""]:
    """Mean loss over held-out rows, a block at a time; over those left by trimming, if the fit trims."""
    if plan.spec.trim:
        return trimmed_loss(trained, valid, knobs.trim, plan)
    model = plan.model(flat.unflatten(trained.judged, plan.layout), trained.buffers)
    blocks = plan.blocks(valid, VALID_ROWS)
    losses = jax.lax.map(lambda block: plan.loss_of(model, block.x, block.weight, block.context), blocks)
    weights = jnp.sum(blocks.weight, axis=1)
    return jnp.sum(weights * losses) / jnp.sum(weights)
