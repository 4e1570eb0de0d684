"""The fit of one model by gradient steps."""

from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import PRNGKeyArray

from jaxflow.errors import InputError
from jaxflow.models.model import Model
from jaxflow.training.devices.mesh import at_home, check_mesh, on_all
from jaxflow.training.engine import epoch as epochs
from jaxflow.training.engine import flat_parameters as flat
from jaxflow.training.engine.batch import Batch
from jaxflow.training.engine.precision import check_precision
from jaxflow.training.feeding.rows_in_memory import RowsInMemory
from jaxflow.training.feeding.sources import Source
from jaxflow.training.feeding.streamed_rows import Stream
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.ways.epochs import Epochs, Fitting
from jaxflow.training.ways.request import FitRequest, FitResult

INITIAL_ROWS = 4096  # rows from which layers such as ActNorm take their first values

# Of the spec, what an optimiser of the caller's own decides by itself.
OPTIMIZER_FIELDS = ("learning_rate", "warmup", "final_learning_rate", "weight_decay", "clip_norm")


def by_gradient_steps(request: FitRequest) -> Fitting[FitResult]:
    """Fit a model to rows in memory or from a source, on one device or several.

    Raises:
        InputError: if what is asked for does not suit.
        NonFiniteLoss: if a step's loss or gradient was not finite, with the best parameters so far as its `result`.
        FloatingPointError: if no step, or no epoch, had a finite loss.
    """
    if request.spec is not None:
        check_precision(request.spec, request.model)
    _check_own(request)
    model, train, valid = request.begun()
    init_key, fit_key = jax.random.split(request.key)
    spec = FitSpec() if request.spec is None else request.spec
    spec = spec.for_rows(train.rows if isinstance(train, Source) else train.x.shape[-2])
    mesh = request.mesh
    if mesh is not None:
        check_mesh(mesh, model)

    callbacks = request.all_callbacks(spec.epochs)
    rows = Stream(train, model, spec) if isinstance(train, Source) else RowsInMemory(train)
    writer = request.checkpoint_writer(spec, model, rows.identity(), valid)
    rows.prepare(model)
    model = _initialized(model, rows.first_rows(INITIAL_ROWS), init_key)
    plan, state = epochs.start(
        model,
        spec,
        rows.rows,
        fit_key,
        mesh,
        in_parts=rows.parts is not None,
        optimizer=request.optimizer,
        loss=request.loss,
    )
    rows.place(mesh)
    valid = valid if mesh is None else on_all(valid, mesh)
    state, history = yield Epochs(state, rows, valid, plan, callbacks, writer)

    taken = len(history.rows) * plan.steps_per_epoch - sum(history.column("skipped_steps"))
    result = None
    if np.isfinite(state.best_loss) and taken:
        best = state.best_params, state.best_buffers
        params, buffers = best if mesh is None else at_home(best)
        result = FitResult(plan.model(flat.unflatten(params, plan.layout), buffers), history)
    if state.trained.bad_step >= 0:
        error = rows.explained(state, plan)
        error.result = result
        raise error
    if result is None:
        raise FloatingPointError(
            f"the loss was not finite in any of {len(history.rows)} epochs; try a learning rate below "
            f"{spec.learning_rate:g} or data on a smaller scale"
        )
    return result


def _check_own(request: FitRequest) -> None:
    """Check that the fit can have the optimiser and the loss of the caller's own that it is given."""
    request.require_usable()
    optimizer, loss, spec = request.optimizer, request.loss, request.spec
    if optimizer is None and loss is None:
        return
    if request.checkpoints is not None:
        name = "loss" if optimizer is None else "optimizer"
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


def _initialized(model: Model, rows: Batch, key: PRNGKeyArray) -> Model:
    """The model with the first values that its layers take from these rows."""
    graph, state = nnx.split(model)
    model = nnx.merge(graph, _initialize(state, rows, key, graph=graph))
    nnx.reseed(model, policy="match_shape", dropout=jax.random.fold_in(key, 1))
    return model


@partial(jax.jit, static_argnames="graph")
def _initialize(state: Any, rows: Batch, key: PRNGKeyArray, *, graph: Any) -> Any:
    model = nnx.merge(graph, state)
    model.initialize(rows.x, rows.weight, rows.context, key=key)
    return nnx.split(model)[1]
