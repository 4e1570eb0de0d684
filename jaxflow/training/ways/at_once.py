"""The fit of a model that computes it by itself."""

import time
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.errors import InputError
from jaxflow.networks.matmul_precision import exact_products
from jaxflow.training.engine.batch import Batch
from jaxflow.training.monitoring.history import History, Row
from jaxflow.training.ways.request import FitRequest, FitResult


def at_once(request: FitRequest) -> FitResult:
    """Let a model compute its fit.

    Raises:
        InputError: if what is asked for is of gradient steps, or the rows are not as the model wants them.
    """
    itself = f"{type(request.model).__name__} fits itself"
    request.refuse_own()
    if request.spec is not None:
        raise InputError(f"{itself} and takes no FitSpec")
    if request.mesh is not None:
        raise InputError(f"{itself}, on one device, and takes no mesh")
    if request.checkpoints is not None:
        raise InputError(f"{itself}, at once, and takes no checkpoints")
    if request.callbacks:
        raise InputError(f"{itself}, at once, and takes no callbacks")
    model, train, valid = request.begun_in_memory(f"{itself}, to rows in memory, and takes no source")
    _, key = jax.random.split(request.key)

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


@partial(jax.jit, static_argnames="graph")
def _held_out_loss(state: Any, rows: Batch, *, graph: Any) -> Float[Array, ""]:
    with exact_products():
        return nnx.merge(graph, state).loss(rows.x, rows.weight, rows.context)
