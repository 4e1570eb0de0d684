"""The one door through which every model is fitted."""

from collections.abc import Sequence
from typing import Any

import optax
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from jaxflow.models.model import Model, WayOfFitting
from jaxflow.old_names import with_old_keywords
from jaxflow.training.engine.plan import Loss
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.many.committee import members_in_turn
from jaxflow.training.many.ensemble import members_together
from jaxflow.training.monitoring.callbacks import Callback
from jaxflow.training.monitoring.checkpoints import Checkpoints
from jaxflow.training.ways.at_once import at_once
from jaxflow.training.ways.epochs import Fitting, fit_alone
from jaxflow.training.ways.gradient_steps import by_gradient_steps
from jaxflow.training.ways.request import FitRequest, FitResult


@with_old_keywords(watchers="callbacks")
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
    callbacks: Sequence[Callback] = (),
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
        callbacks: are told of every epoch while the fit lasts, such as `LiveFile`, `TensorBoard` and `Profiler`.
        optimizer: takes the steps in place of the built-in AdamW: any gradient transformation of optax. It has a
            learning rate, decay and clipping of its own, so `spec` may not set these.
        loss: is lowered in place of the model's own loss: a function `loss(model, batch, rngs)` of the model, a
            `Batch` whose weights it must heed (rows of weight 0 only fill a batch up), and random streams, which are
            None on held-out rows. The held-out loss is this one too. A function made anew for each call compiles anew.

    Returns:
        The fitted model and the history.

    Raises:
        InputError: if a shape does not fit, a value is not finite, `spec`, `mesh`, `checkpoints` or `callbacks` are
            given to a model that fits itself, a source does not suit the model, `spec.precision` is not that of the
            process, the mesh does not suit the model, the checkpoints are of another fit, or `optimizer` or `loss`
            is none, or cannot be had together with the rest.
        NonFiniteLoss: if a step's loss or gradient was not finite, unless `spec.bad_steps` is "skip". It names epoch,
            step and rows, and its `result` is what would have been returned, with the best parameters so far.
        FloatingPointError: if no step, or no epoch, had a finite loss.
        Preempted: if SIGTERM came while fitting with checkpoints, once the state is saved.
    """
    return fit_alone(
        fitting(
            FitRequest(
                model,
                train,
                valid,
                spec,
                key,
                progress=progress,
                mesh=mesh,
                checkpoints=checkpoints,
                callbacks=callbacks,
                optimizer=optimizer,
                loss=loss,
            )
        )
    )


def fitting(request: FitRequest) -> Fitting[FitResult]:
    """Fit a model in the way of its kind; a generator, which waits for epochs of gradient steps.

    Raises:
        InputError, NonFiniteLoss, FloatingPointError: as `fit`, when it goes on.
    """
    way: WayOfFitting = request.model.way_of_fitting
    match way:
        case "itself":
            return at_once(request)
        case "members_together":
            return members_together(request)
        case "members_in_turn":
            return (yield from members_in_turn(request, fitting))
        case "gradient_steps":
            return (yield from by_gradient_steps(request))
