"""Members of an ensemble, trained together in one compiled program."""

import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key, PRNGKeyArray

from jaxflow.errors import InputError, NonFiniteLoss
from jaxflow.models.combined.ensemble import Ensemble
from jaxflow.training.devices.mesh import MEMBER, at_home, by_member, check_mesh, on_all
from jaxflow.training.engine import epoch as epochs
from jaxflow.training.engine import flat_parameters as flat
from jaxflow.training.engine.bad_steps import explained
from jaxflow.training.engine.batch import Batch, spread_rows
from jaxflow.training.engine.loop import run_epochs
from jaxflow.training.engine.plan import Plan, TracedHyperparameters, follows_data, make_plan, split
from jaxflow.training.engine.precision import check_precision
from jaxflow.training.engine.records import mean_history
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.many.members import advance_members, member_axes, take_turns
from jaxflow.training.monitoring.callbacks import Callback
from jaxflow.training.monitoring.checkpoints import CheckpointWriter
from jaxflow.training.monitoring.history import History
from jaxflow.training.ways.gradient_steps import INITIAL_ROWS
from jaxflow.training.ways.request import FitRequest, FitResult


def members_together(request: FitRequest) -> FitResult:
    """Fit every member on its own, all in one program: each has its own best parameters and its own early end.

    Of the rows there may be (members, n, dim), for each member its own.

    Returns:
        The ensemble with the best parameters of each member; a history of means over the members, whose `members` has
        that of each up to the epoch in which it stopped.

    Raises:
        InputError: if what is asked for does not suit, such as scores combined by tails without held-out rows.
        NonFiniteLoss: that of the first, if the losses of all members that were usable ended up not finite. As long as
            there is a better one, such a member is left out with a warning.
        FloatingPointError: if no member had a finite loss in any epoch.
    """
    if request.spec is not None:
        check_precision(request.spec, request.model)
    request.refuse_own()
    refusal = "an ensemble is fitted to rows in memory, not to a source"
    model, train, valid = request.begun_in_memory(refusal, members=request.model.members)
    _, key = jax.random.split(request.key)
    spec = FitSpec() if request.spec is None else request.spec
    spec = spec.for_rows(train.x.shape[-2])
    if request.mesh is not None:
        check_mesh(request.mesh, model)
    callbacks = request.all_callbacks(spec.epochs)
    writer = request.checkpoint_writer(spec, model, train, valid)
    model.prepare(train.x)
    model, history, error = _fitted(model, train, valid, spec, key, callbacks, request.mesh, writer)
    if valid is not None:
        model.calibrate(valid.x, valid.context)
    if error is not None:
        error.result = FitResult(model, history)
        raise error
    return FitResult(model, history)


def _fitted(
    model: Ensemble,
    train: Batch,
    valid: Batch | None,
    spec: FitSpec,
    key: PRNGKeyArray,
    callbacks: Callback,
    mesh: Mesh | None,
    writer: CheckpointWriter | None,
) -> tuple[Ensemble, History, NonFiniteLoss | None]:
    """The ensemble after the fits of its members, their histories, and the error that ended all that were usable."""
    if model.combination == "tail" and valid is None:
        raise InputError("combination = tail needs held-out rows, and there are none")
    init_key, fit_key, bootstrap_key = jax.random.split(key, 3)
    members = model.members
    if model.bootstrap:
        train = train._replace(weight=_bootstrap(bootstrap_key, train, members))
    axes = member_axes(train), None if valid is None else member_axes(valid)

    graph, state = nnx.split(model.member)
    first = _first_rows(train, axes[0], INITIAL_ROWS)
    state = _initialize(state, first, jax.random.split(init_key, members), graph=graph, axes=axes[0])
    member = nnx.merge(graph, state)
    nnx.reseed(member, policy="match_shape", dropout=jax.random.fold_in(init_key, 1))
    graph, train_graph, params, buffers = split(member)
    knobs = _knobs(model, spec)
    # What is switched on for one member is part of the program of all.
    greatest = {"weight_decay": knobs.weight_decay, "input_noise": knobs.input_noise}
    spec = spec.model_copy(update={name: float(jnp.max(values)) for name, values in greatest.items()})
    one = jax.tree.map(lambda array: array[0], params)
    rows = train.x.shape[-2]
    plan = make_plan(graph, train_graph, one, spec, rows, follows_data=follows_data(member), mesh=mesh)
    states = _first_states(params, buffers, jax.random.split(fit_key, members), knobs, plan=plan)
    together = not take_turns() or (mesh is not None and mesh.shape[MEMBER] > 1)
    if mesh is not None:
        train, valid = _placed(train, axes[0], mesh), _placed(valid, axes[1], mesh)
    states, histories = run_epochs(
        states,
        lambda states, _: advance_members(states, train, valid, plan=plan, axes=axes, in_turn=not together),
        epochs=spec.epochs,
        validated=valid is not None,
        steps_per_epoch=plan.steps_per_epoch,
        callback=callbacks,
        writer=writer,
        place=lambda states: states if mesh is None else by_member(states, mesh),
    )

    taken = [len(history.rows) * plan.steps_per_epoch - sum(history.column("skipped_steps")) for history in histories]
    usable = np.isfinite(states.best_loss) & (np.array(taken) > 0)
    bad_steps = np.asarray(states.trained.bad_step)
    # With bad steps skipped, a member from which nothing but bad steps came in the end has diverged all the same.
    ended = [history.rows[-1]["skipped_steps"] == plan.steps_per_epoch for history in histories]
    kept, error = usable & (bad_steps < 0) & ~np.array(ended), None
    if not kept.any():
        if (bad_steps >= 0).any():
            index = int(np.argmax(bad_steps >= 0))
            error = explained(jax.tree.map(lambda array: array[index], states), _rows_of(train, axes[0], index), plan)
            error.subject = f"no member is left of {members}: {error.subject} of member {index}"
        kept = usable
    if not kept.any():
        raise error or FloatingPointError(
            f"the loss of all {members} members was not finite in any epoch; try a lower learning rate or data on a "
            "smaller scale"
        )
    if not kept.all():
        lost = ", ".join(
            f"member {index} ({_fate(histories[index], int(bad_steps[index]), bool(usable[index]))})"
            for index in np.flatnonzero(~kept)
        )
        warnings.warn(f"left out of the ensemble, as their loss was not finite: {lost}", stacklevel=7)
    best = _as_trees(states.best_params, plan=plan), states.best_buffers
    params, buffers = best if mesh is None else at_home(best)
    model.replace_members(plan.model(params, buffers), kept)
    return model, mean_history(histories), error


def _fate(history: History, bad_step: int, usable: bool) -> str:
    if bad_step >= 0:
        return f"epoch {len(history.rows)}, step {bad_step + 1}"
    return f"every step of epoch {len(history.rows)}" if usable else "every epoch"


def _rows_of(batch: Batch, axes: Batch, index: int) -> Batch:
    """The rows of one member."""
    parts: Any = zip(batch, axes, strict=True)
    return Batch(*(array[index] if axis == 0 else array for array, axis in parts))


def _placed(batch: Any, axes: Batch | None, mesh: Mesh) -> Any:
    """Rows of each member's own on its device, the rows of all on every one."""
    if axes is None:
        return None
    pairs = zip(batch, axes, strict=True)
    return Batch(*(by_member(array, mesh) if axis == 0 else on_all(array, mesh) for array, axis in pairs))


def _bootstrap(key: PRNGKeyArray, train: Batch, members: int) -> Float[Array, "members n"]:
    """How often each row is drawn in n draws with replacement, times its weight (Efron 1979)."""
    n = train.x.shape[-2]

    def counts(key: PRNGKeyArray) -> Array:
        return jnp.bincount(jax.random.randint(key, (n,), 0, n), length=n)

    drawn = jax.vmap(counts)(jax.random.split(key, members)).astype(train.x.dtype)
    return drawn if train.weight is None else drawn * train.weight


def _first_rows(train: Batch, axes: Batch, count: int) -> Batch:
    chosen = spread_rows(train, count)

    def first(array: Any, axis: int | None) -> Any:
        return None if array is None else array[chosen] if axis is None else array[:, chosen]

    parts: Any = zip(train, axes, strict=True)
    return Batch(*(first(array, axis) for array, axis in parts))


def _knobs(model: Ensemble, spec: FitSpec) -> TracedHyperparameters:
    own = {
        "learning_rate": model.learning_rates,
        "weight_decay": model.weight_decays,
        "input_noise": model.input_noises,
    }
    dtype = jnp.result_type(float)
    return TracedHyperparameters(
        *(
            jnp.asarray(own.get(name) or (getattr(spec, name),) * model.members, dtype)
            for name in TracedHyperparameters._fields
        )
    )


@partial(jax.jit, static_argnames=("graph", "axes"))
def _initialize(state: Any, rows: Batch, keys: Key[Array, "members"], *, graph: Any, axes: Batch) -> Any:
    def one(state, rows, key):
        model = nnx.merge(graph, state)
        model.initialize(rows.x, rows.weight, rows.context, key=key)
        return nnx.split(model)[1]

    return jax.vmap(one, in_axes=(0, axes, 0))(state, rows, keys)


@partial(jax.jit, static_argnames="plan")
def _first_states(params, buffers, keys, knobs, *, plan: Plan) -> epochs.FitState:
    return jax.vmap(partial(epochs.first_state, plan=plan))(params, buffers, keys, knobs)


@partial(jax.jit, static_argnames="plan")
def _as_trees(params: flat.Flat, *, plan: Plan) -> Any:
    return jax.vmap(partial(flat.unflatten, layout=plan.layout))(params)
