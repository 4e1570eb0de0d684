"""The one door through which every model is fitted."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray

from jaxflow.config.compiled_programs import make_room_for_programs
from jaxflow.errors import InputError, shown
from jaxflow.models.combined.committee import Committee
from jaxflow.models.combined.ensemble import Ensemble
from jaxflow.models.model import DirectlyFitted, Model
from jaxflow.networks.matmul_precision import exact_products
from jaxflow.training.devices.mesh import at_home, check_mesh, on_all
from jaxflow.training.engine import epoch as epochs
from jaxflow.training.engine import flat_parameters as flat
from jaxflow.training.engine.batch import Batch, as_batch
from jaxflow.training.engine.loop import run_epochs
from jaxflow.training.engine.plan import Loss
from jaxflow.training.engine.precision import check_precision
from jaxflow.training.feeding.rows_in_memory import RowsInMemory
from jaxflow.training.feeding.sources import Source
from jaxflow.training.feeding.streamed_rows import Stream
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.many.committee import fit_committee
from jaxflow.training.many.ensemble import fit_members
from jaxflow.training.many.side_by_side import current_meeting
from jaxflow.training.monitoring.callbacks import Callback, Callbacks
from jaxflow.training.monitoring.checkpoints import Checkpoints, CheckpointWriter, fit_identity
from jaxflow.training.monitoring.history import History, Row
from jaxflow.training.monitoring.progress import FitProgress

INITIAL_ROWS = 4096  # rows from which layers such as ActNorm take their first values

# Of the spec, what an optimiser of the caller's own decides by itself.
OPTIMIZER_FIELDS = ("learning_rate", "warmup", "final_learning_rate", "weight_decay", "clip_norm")

AnyModel = TypeVar("AnyModel", bound=Model)


class FitResult(NamedTuple):
    """Result of `fit`.

    >>> result = fit(Gaussian(1), jnp.array([[1.0], [3.0]]), key=jax.random.key(0))
    >>> type(result).__name__, result.model.mean[...]
    ('FitResult', Array([2.], dtype=float32))

    Attributes:
        model: a new model with the best parameters; the one given to `fit` is left as it was.
        history: one row an epoch; of an ensemble, means over the members that have not stopped, and in
            `history.members` that of each member.
    """

    model: Any
    history: History


def fit(
    model: Model,
    train: Any,
    valid: Any = None,
    spec: FitSpec | None = None,
    *,
    key: PRNGKeyArray,
    progress: bool = False,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    watchers: Sequence[Callback] = (),
    optimizer: optax.GradientTransformation | None = None,
    loss: Loss | None = None,
) -> FitResult:
    """Fit a model to data.

    Each epoch is one compiled program: shuffling, all steps, the held-out loss, the choice of the best parameters.
    Programs are compiled once per model structure, spec and shape, so a second call of the same shapes compiles
    nothing. Models that fit themselves (`DirectlyFitted`: Gaussians, mixtures, principal components) go through the
    same door; for these `spec` has no meaning and must be left out.

    Args:
        model: what to fit; not changed.
        train: rows (n, dim), a pair (rows, context), or a `Batch` with weights and context. Of an ensemble also
            (members, n, dim), rows of each member's own. Or a `Source` of rows that need not fit into memory; its
            columns after the first `dim` are the context.
        valid: held-out rows in memory, of the same form. Their loss decides which parameters are best and when to stop;
            without them the training loss does.
        spec: epochs, batch size, learning rate and the rest.
        key: the random key; the same key gives the same result.
        progress: show a progress bar on standard error.
        mesh: devices to work on, from `make_mesh`; by default the first alone. The result is that of one device but
            for rounding, and lies on the first device.
        checkpoints: where the state of the fit is saved now and then, and whether to go on from there. A fit that goes
            on gives the very result of one that was never interrupted.
        watchers: are told of every epoch while the fit lasts, such as `LiveFile`, `TensorBoard` and `Profiler`.
        optimizer: takes the steps in place of the built-in AdamW: any gradient transformation of optax. It has a
            learning rate, decay and clipping of its own, so `spec` may not set these.
        loss: is lowered in place of the model's own loss: a function `loss(model, batch, rngs)` of the model, a
            `Batch` whose weights it must heed (rows of weight 0 only fill a batch up), and random streams, which are
            None on held-out rows. The held-out loss is this one too. A function made anew for each call compiles anew.

    Returns:
        The fitted model and the history.

    Raises:
        InputError: if a shape does not fit, a value is not finite, `spec`, `mesh`, `checkpoints` or `watchers` are
            given to a model that fits itself, a source does not suit the model, `spec.precision` is not that of the
            process, the mesh does not suit the model, the checkpoints are of another fit, or `optimizer` or `loss`
            is none, or cannot be had together with the rest.
        NonFiniteLoss: if a step's loss or gradient was not finite, unless `spec.bad_steps` is "skip". It names epoch,
            step and rows, and its `result` is what would have been returned, with the best parameters so far.
        FloatingPointError: if no step, or no epoch, had a finite loss.
        Preempted: if SIGTERM came while fitting with checkpoints, once the state is saved.
    """
    if spec is not None and not isinstance(model, DirectlyFitted):
        check_precision(spec, model)
    for name, value in (("train", train), ("valid", valid)):
        if isinstance(value, FitSpec):
            raise InputError(f"{name} is a FitSpec, expected rows: fit(model, train, valid, spec, key=key)")
    if optimizer is not None or loss is not None:
        _require_own(model, spec, checkpoints, optimizer, loss)
    expected = {"dim": model.dim, "context_dim": model.context_dim}
    if isinstance(model, Ensemble):
        expected["members"] = model.members
    batch = None if isinstance(train, Source) else as_batch(train, "train", **expected)
    if isinstance(valid, Source):
        raise InputError("valid is a source, expected rows in memory")
    held_out = None if valid is None else as_batch(valid, "valid", **expected)
    if current_meeting() is None:  # others may be in the middle of theirs
        shapes = [None if rows is None else jax.tree.map(np.shape, rows) for rows in (batch, held_out)]
        make_room_for_programs(nnx.graphdef(model), str(shapes), repr(spec))
    model = nnx.clone(model)
    init_key, fit_key = jax.random.split(key)
    if isinstance(model, DirectlyFitted):
        if spec is not None:
            raise InputError(f"{type(model).__name__} fits itself and takes no FitSpec")
        if mesh is not None:
            raise InputError(f"{type(model).__name__} fits itself, on one device, and takes no mesh")
        if checkpoints is not None:
            raise InputError(f"{type(model).__name__} fits itself, at once, and takes no checkpoints")
        if watchers:
            raise InputError(f"{type(model).__name__} fits itself, at once, and takes no watchers")
        if batch is None:
            raise InputError(f"{type(model).__name__} fits itself, to rows in memory, and takes no source")
        return _fit_directly(model, batch, held_out, fit_key)
    if isinstance(model, Committee):
        if batch is None:
            raise InputError("a committee is fitted to rows in memory and takes no source")
        how = {"checkpoints": checkpoints, "progress": progress, "mesh": mesh, "watchers": watchers}
        model, history, error = fit_committee(model, batch, held_out, spec, key=fit_key, fit=fit, **how)
        if error is not None:
            error.result = FitResult(model, history)
            raise error
        return FitResult(model, history)
    spec = FitSpec() if spec is None else spec
    spec = spec.for_rows(train.rows if batch is None else batch.x.shape[-2])
    if mesh is not None:
        check_mesh(mesh, model)

    watcher = Callbacks([*([FitProgress(spec.epochs)] if progress else []), *watchers])
    writer = None
    rows = Stream(train, model, spec) if batch is None else RowsInMemory(batch)
    if checkpoints is not None:
        identity = fit_identity(spec, model, rows.identity(), held_out, key)
        writer = CheckpointWriter(checkpoints, identity)
    rows.prepare(model)
    if isinstance(model, Ensemble):
        assert batch is not None
        model, history, error = fit_members(
            model,
            batch,
            held_out,
            spec,
            initial_rows=INITIAL_ROWS,
            key=fit_key,
            watcher=watcher,
            mesh=mesh,
            writer=writer,
        )
        if held_out is not None:
            model.calibrate(held_out.x, held_out.context)
        if error is not None:
            error.result = FitResult(model, history)
            raise error
        return FitResult(model, history)
    graph, state = nnx.split(model)
    model = nnx.merge(graph, _initialize(state, rows.first_rows(INITIAL_ROWS), init_key, graph=graph))
    nnx.reseed(model, policy="match_shape", dropout=jax.random.fold_in(init_key, 1))
    plan, fit_state = epochs.start(
        model, spec, rows.rows, fit_key, mesh, in_parts=rows.parts is not None, optimizer=optimizer, loss=loss
    )
    rows.place(mesh)
    held_out = held_out if mesh is None else on_all(held_out, mesh)
    alone = progress or watchers or mesh is not None or checkpoints is not None
    meeting = None if alone else current_meeting()
    if meeting is not None and batch is not None:
        fit_state, history = meeting.run(fit_state, batch, held_out, plan)
    else:
        fit_state, (history,) = run_epochs(
            fit_state,
            lambda state, rest: rows.advance(state, held_out, plan, rest),
            epochs=spec.epochs,
            parts=rows.parts,
            validated=held_out is not None,
            steps_per_epoch=plan.steps_per_epoch,
            watcher=watcher,
            writer=writer,
            place=lambda state: state if mesh is None else on_all(state, mesh),
        )

    taken = len(history.rows) * plan.steps_per_epoch - sum(history.column("skipped_steps"))
    result = None
    if np.isfinite(fit_state.best_loss) and taken:
        best = fit_state.best_params, fit_state.best_buffers
        params, buffers = best if mesh is None else at_home(best)
        result = FitResult(plan.model(flat.unflatten(params, plan.layout), buffers), history)
    if fit_state.trained.bad_step >= 0:
        error = rows.explained(fit_state, plan)
        error.result = result
        raise error
    if result is None:
        raise FloatingPointError(
            f"the loss was not finite in any of {len(history.rows)} epochs; try a learning rate below "
            f"{spec.learning_rate:g} or data on a smaller scale"
        )
    return result


def _require_own(model: Model, spec: FitSpec | None, checkpoints: Any, optimizer: Any, loss: Any) -> None:
    """Check that a fit can have an optimiser or a loss of the caller's own."""
    name = "loss" if optimizer is None else "optimizer"
    if not isinstance(optimizer, optax.GradientTransformation | None):
        raise InputError(
            f"optimizer = {shown(optimizer)}: expected a gradient transformation of optax, as optax.adam(1e-3)"
        )
    if loss is not None and not callable(loss):
        raise InputError(f"loss = {shown(loss)}: expected a function of model, batch and rngs")
    if isinstance(model, DirectlyFitted | Ensemble | Committee):
        raise InputError(f"{type(model).__name__} takes no {name}: it is for models fitted alone, by gradient steps")
    if checkpoints is not None:
        raise InputError(f"a fit with its own {name} takes no checkpoints, which could not tell it from another")
    if spec is not None and optimizer is not None:
        taken = [field for field in OPTIMIZER_FIELDS if field in spec.model_fields_set]
        if taken:
            raise InputError(
                f"{taken[0]} of the FitSpec does not act beside an optimizer, which has its own: leave it out"
            )
    if spec is not None and loss is not None and spec.trim:
        raise InputError(
            "trim of the FitSpec ranks rows by the model's own loss, and the fit has another: leave it out"
        )


@partial(jax.jit, static_argnames="graph")
def _initialize(state: Any, rows: Batch, key: PRNGKeyArray, *, graph: Any) -> Any:
    model = nnx.merge(graph, state)
    model.initialize(rows.x, rows.weight, rows.context, key=key)
    return nnx.split(model)[1]


@partial(jax.jit, static_argnames="graph")
def _held_out_loss(state: Any, rows: Batch, *, graph: Any) -> Float[Array, ""]:
    with exact_products():
        return nnx.merge(graph, state).loss(rows.x, rows.weight, rows.context)


def _fit_directly(model: Any, train: Batch, valid: Batch | None, key: PRNGKeyArray) -> FitResult:
    started = time.perf_counter()
    losses = np.asarray(model.fit_directly(train.x, train.weight, train.context, key=key))
    valid_loss = None
    if valid is not None:
        graph, state = nnx.split(model)
        valid_loss = float(_held_out_loss(state, valid, graph=graph))
    seconds = time.perf_counter() - started
    last = len(losses) - 1
    rows: list[Row] = [
        {
            "epoch": number + 1,
            "train_loss": float(loss),
            # The held-out loss is known for the final parameters only.
            "valid_loss": valid_loss if number == last else None,
            "best_loss": float(np.min(losses[: number + 1])),
            "learning_rate": None,
            "gradient_norm": None,
            "skipped_steps": 0,
            "seconds": seconds,
            "steps_per_second": None,
            "device_memory": None,
        }
        for number, loss in enumerate(losses)
    ]
    return FitResult(model, History(rows))
