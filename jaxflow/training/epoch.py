"""One epoch as one compiled program."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxflow.training import flat
from jaxflow.training.adam import AdamState, adam_start, adam_step
from jaxflow.training.batch import Batch, Blocks, padded_blocks
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.sharding import rows_divided
from jaxflow.training.shuffle import random_order

VALID_ROWS = 4096  # rows scored at once on held-out data


class Knobs(NamedTuple):
    """Hyperparameters that are numbers of the program, not part of it: another value compiles nothing anew."""

    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    input_noise: Float[Array, ""]

    @classmethod
    def of(cls, spec: FitSpec) -> "Knobs":
        """Those of a spec."""
        dtype = jnp.result_type(float)
        return cls(*(jnp.asarray(getattr(spec, name), dtype) for name in cls._fields))


class FitState(NamedTuple):
    """All that changes while fitting.

    Attributes:
        params: all trained parameters, as `flat.flatten` has them.
        buffers: every other variable of the model.
        opt_state: the optimiser's state.
        best_params: the parameters at the lowest watched loss so far.
        best_buffers: the buffers that went with them.
        best_loss: that loss; +inf before the first epoch.
        key: the random key of the whole fit; each epoch folds its number into it.
        epoch: epochs done.
        stale: epochs since the watched loss was last lowered.
        stopped: whether patience has run out; a stopped state no longer changes.
        knobs: learning rate and the like; they stay as they are.
    """

    params: flat.Flat
    buffers: Any
    opt_state: AdamState
    best_params: flat.Flat
    best_buffers: Any
    best_loss: Float[Array, ""]
    key: PRNGKeyArray
    epoch: Int[Array, ""]
    stale: Int[Array, ""]
    stopped: Bool[Array, ""]
    knobs: Knobs


class Record(NamedTuple):
    """What an epoch reports."""

    train_loss: Float[Array, ""]
    valid_loss: Float[Array, ""]
    best_loss: Float[Array, ""]
    learning_rate: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    skipped_steps: Int[Array, ""]
    stopped: Bool[Array, ""]


class Plan(NamedTuple):
    """The static side of a fit: equal plans share one compiled program.

    Of the spec's `Knobs` only whether they are zero belongs to it, since what is switched off is left out.
    """

    graph: Any
    train_graph: Any
    layout: flat.Layout
    spec: FitSpec
    steps_per_epoch: int
    follows_data: bool
    mesh: Mesh | None = None

    def blocks(self, batch: Batch, rows: int) -> Blocks:
        """The batch cut into blocks, each of which is divided among the devices."""
        blocks = padded_blocks(batch, rows)
        return blocks if self.mesh is None else rows_divided(blocks, self.mesh)

    def model(self, params: Any, buffers: Any, *, training: bool = False):
        """The module with these parameters (a tree) and buffers; `training` switches on what acts in steps alone."""
        # Copied, or a module that changes a buffer would change the variables in `buffers` themselves.
        return nnx.merge(self.train_graph if training else self.graph, params, buffers, copy=True)

    def schedule(self):
        """Share of the learning rate as a function of the number of steps done."""
        total = self.spec.epochs * self.steps_per_epoch
        return optax.warmup_cosine_decay_schedule(
            init_value=1.0 if self.spec.warmup == 0 else 0.0,
            peak_value=1.0,
            warmup_steps=min(round(self.spec.warmup * total), total - 1),  # the last step is at the end of the decay
            decay_steps=total,
            end_value=self.spec.final_learning_rate,
        )

    def weight_decay(self, strength: Float[Array, ""]) -> tuple[Array | float, ...]:
        """Decay of each parameter: matrices decay; vectors (biases, shifts, scales) do not."""
        sizes = self.layout.sizes
        small = [index for index, size in enumerate(sizes) if size < flat.LARGE]
        large = [index for index, size in enumerate(sizes) if size >= flat.LARGE]
        if not self.spec.weight_decay:
            return (0.0,) * (1 + len(large))
        decays = [jnp.zeros(0), *(jnp.full(sizes[index], float(self.layout.is_matrix(index))) for index in small)]
        return (strength * jnp.concatenate(decays), *(strength * self.layout.is_matrix(index) for index in large))


def start(
    model: nnx.Module, spec: FitSpec, rows: int, key: PRNGKeyArray, mesh: Mesh | None = None
) -> tuple[Plan, FitState]:
    """The plan and the first state for fitting `model` to `rows` rows."""
    graph, train_graph, params, buffers = split(model)
    plan = make_plan(graph, train_graph, params, spec, rows, follows_data=follows_data(model), mesh=mesh)
    return plan, first_state(params, buffers, key, Knobs.of(spec), plan=plan)


def split(model: nnx.Module) -> tuple[Any, Any, Any, Any]:
    """The structure of a module outside and inside training steps, its parameters, and all its other variables."""
    model.train()
    train_graph = nnx.split(model, nnx.Param, ...)[0]
    model.eval()
    graph, params, buffers = nnx.split(model, nnx.Param, ...)
    return graph, train_graph, params, buffers


def follows_data(model: nnx.Module) -> bool:
    """Whether part of the model wants `initialize` again after every epoch."""
    return any(getattr(module, "follows_data", False) for _, module in nnx.iter_modules(model))


def make_plan(
    graph: Any,
    train_graph: Any,
    params: Any,
    spec: FitSpec,
    rows: int,
    *,
    follows_data: bool,
    mesh: Mesh | None = None,
) -> Plan:
    """The plan for parameters of these shapes and this many rows."""
    switches = {name: float(getattr(spec, name) > 0) for name in Knobs._fields}
    spec = spec.model_copy(update=switches)
    return Plan(graph, train_graph, flat.layout_of(params), spec, -(-rows // spec.batch_size), follows_data, mesh)


@partial(jax.jit, static_argnames="plan")
def first_state(params: Any, buffers: Any, key: PRNGKeyArray, knobs: Knobs, *, plan: Plan) -> FitState:
    """The state before the first step."""
    flattened = flat.flatten(params)
    return FitState(
        params=flattened,
        buffers=buffers,
        opt_state=adam_start(flattened),
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
    spec = plan.spec
    shuffle_key, steps_key, data_key = jax.random.split(jax.random.fold_in(state.key, state.epoch), 3)
    order = random_order(shuffle_key, train.x.shape[0])
    shuffled = jax.tree.map(lambda array: array[order], train)
    blocks = plan.blocks(shuffled, min(spec.batch_size, train.x.shape[0]))
    step_keys = jax.random.split(steps_key, plan.steps_per_epoch)
    steps = state.epoch * plan.steps_per_epoch + jnp.arange(plan.steps_per_epoch)
    rates = state.knobs.learning_rate * jnp.asarray(plan.schedule()(steps), state.best_loss.dtype)

    carry = (state.params, state.buffers, state.opt_state)
    carry, (losses, norms, skipped) = jax.lax.scan(
        partial(_step, plan=plan, weight_decay=plan.weight_decay(state.knobs.weight_decay), knobs=state.knobs),
        carry,
        (blocks, step_keys, rates),
    )
    params, buffers, opt_state = carry
    if plan.follows_data:
        model = plan.model(flat.unflatten(params, plan.layout), buffers)
        model.initialize(train.x, train.weight, train.context, key=data_key)
        buffers = nnx.split(model, nnx.Param, ...)[2]

    # A step's loss is the mean over its rows; the epoch's is the mean over all rows, skipped steps left out.
    counted = jnp.where(skipped, 0.0, jnp.sum(blocks.weight, axis=1))
    train_loss = jnp.sum(counted * jnp.where(skipped, 0.0, losses)) / jnp.sum(counted)
    gradient_norm = jnp.sum(jnp.where(skipped, 0.0, norms)) / jnp.sum(~skipped)
    valid_loss = jnp.full_like(train_loss, jnp.nan) if valid is None else _evaluate(params, buffers, valid, plan)

    watched = train_loss if valid is None else valid_loss
    better = watched < state.best_loss  # False for NaN, so good parameters are never replaced by bad ones
    stale = jnp.where(better, 0, state.stale + 1)
    best_loss = jnp.where(better, watched, state.best_loss)
    record = Record(
        train_loss=train_loss,
        valid_loss=valid_loss,
        best_loss=best_loss,
        learning_rate=rates[0],
        gradient_norm=gradient_norm,
        skipped_steps=jnp.sum(skipped),
        stopped=state.stopped if spec.patience is None else stale >= spec.patience,
    )
    state = FitState(
        params=params,
        buffers=buffers,
        opt_state=opt_state,
        best_params=_chosen(better, params, state.best_params),
        best_buffers=_chosen(better, buffers, state.best_buffers),
        best_loss=best_loss,
        key=state.key,
        epoch=state.epoch + 1,
        stale=stale,
        stopped=record.stopped,
        knobs=state.knobs,
    )
    return state, record


def _chosen(condition: Bool[Array, ""], first: Any, second: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), first, second)


def _step(carry, inputs, *, plan: Plan, weight_decay: tuple[Array | float, ...], knobs: Knobs):
    """One step of AdamW; one whose loss or gradient is not finite changes nothing."""
    params, buffers, opt_state = carry
    batch, key, learning_rate = inputs
    noise_key, model_key = jax.random.split(key)
    x = batch.x
    if plan.spec.input_noise:
        x += knobs.input_noise * jax.random.normal(noise_key, x.shape, x.dtype)

    def loss_of(tree):
        model = plan.model(tree, buffers, training=True)
        loss = model.loss(x, batch.weight, batch.context, nnx.Rngs(model_key))
        return loss, nnx.split(model, nnx.Param, ...)[2]

    tree = flat.unflatten(params, plan.layout)
    (loss, new_buffers), gradient = jax.value_and_grad(loss_of, has_aux=True)(tree)
    gradient = flat.flatten(gradient)
    # A dot product is vectorised on CPU, a sum of squares is not.
    norm = jnp.sqrt(sum(jnp.vdot(array, array) for array in gradient))
    good = jnp.isfinite(loss) & jnp.isfinite(norm)
    clip = jnp.asarray(jnp.inf if plan.spec.clip_norm is None else plan.spec.clip_norm, norm.dtype)
    params, opt_state = adam_step(
        params,
        gradient,
        opt_state,
        learning_rate=learning_rate,
        gradient_scale=jnp.minimum(1.0, clip / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny)),
        weight_decay=weight_decay,
        good=good,
    )
    # Masks and the like come back as the very arrays that went in; left alone, they need not be copied at every step.
    buffers = jax.tree.map(lambda new, old: old if new is old else jnp.where(good, new, old), new_buffers, buffers)
    return (params, buffers, opt_state), (loss, norm, ~good)


def _evaluate(params, buffers, valid: Batch, plan: Plan) -> Float[Array, ""]:
    """Mean loss over held-out rows, a block at a time."""
    model = plan.model(flat.unflatten(params, plan.layout), buffers)
    blocks = plan.blocks(valid, min(valid.x.shape[0], VALID_ROWS))
    losses = jax.lax.map(lambda block: model.loss(block.x, block.weight, block.context), blocks)
    weights = jnp.sum(blocks.weight, axis=1)
    return jnp.sum(weights * losses) / jnp.sum(weights)
