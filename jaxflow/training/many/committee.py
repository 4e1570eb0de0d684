"""The members of a committee, fitted one after the other."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from jaxflow.errors import InputError, NonFiniteLoss
from jaxflow.models.combined.committee import Committee
from jaxflow.models.trimming import without_worst
from jaxflow.training.engine.batch import Batch, filled_up
from jaxflow.training.engine.precision import check_precision
from jaxflow.training.engine.records import mean_history
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.ways.epochs import Fitting
from jaxflow.training.ways.request import FitRequest, FitResult

# Few steps, since its flows are small and need not find every detail: kernels remember the rows.
COMMITTEE_FIT = FitSpec(epochs=1000, steps=600, learning_rate=2e-3, input_noise=0.1, patience=None)


def members_in_turn(request: FitRequest, fitting: Callable[[FitRequest], Fitting[FitResult]]) -> Fitting[FitResult]:
    """Fit every member to the rows as it sees them, and calibrate the committee with the held-out rows.

    Members that fit themselves then learn once more, from all rows: what the held-out ones were needed for is done, and
    where there are few each counts. Their yardsticks stay those of the first fit, since a member's scores of rows that
    it has learned from are too low. Flows keep to the training rows, as the held-out ones chose their parameters.

    Where the fit trims (`FitSpec.trim`), members fitted by gradient steps do in every epoch. Then the rows that
    surprise these most, that share of the training rows and of the held-out ones, are left out of what the other
    members learn from and of the yardsticks. These others cannot judge: to a kernel on an anomaly it is nothing new.

    Rows of weight zero are added up to a `size_class`, so that data sets of one class share all compiled programs.

    Args:
        request: what is asked of the whole. Its spec is that of the fits by gradient steps, `COMMITTEE_FIT` by default;
            the checkpoints of each member lie in a directory with its number.
        fitting: the fit of a member.

    Returns:
        The committee, and a history of means over the members fitted by gradient steps, or over all members where there
        is none such.

    Raises:
        InputError: if what is asked for does not suit, there are no held-out rows, or the fit trims and no member is
            fitted by gradient steps.
        NonFiniteLoss: the first that ended a member's fit early, whose best parameters serve all the same.
    """
    if request.spec is not None:
        check_precision(request.spec, request.model)
    request.refuse_own()
    model, train, valid = request.begun_in_memory("a committee is fitted to rows in memory and takes no source")
    _, key = jax.random.split(request.key)
    if valid is None:
        raise InputError("a committee needs held-out rows to compare its members by, and there are none")
    spec = COMMITTEE_FIT if request.spec is None else request.spec
    judges = tuple(n for n, member in enumerate(model.members) if member.way_of_fitting != "itself")
    if spec.trim and not judges:
        raise InputError(
            f"trim = {spec.trim:g}: rows are left out of a committee by members fitted by gradient steps, such as "
            "flows, and this one has none"
        )
    model.prepare(train.x)
    given = (train, valid)
    train, valid = filled_up(train), filled_up(valid)
    graph, state = nnx.split(model)
    seen, seen_held_out = _seen(state, train.x, graph=graph), _seen(state, valid.x, graph=graph)
    histories, direct, error = [], [], None
    for number, member in enumerate(model.members):
        rows, held_out = train._replace(x=seen[number]), valid._replace(x=seen_held_out[number])
        member_key = jax.random.fold_in(key, number)
        if member.way_of_fitting == "itself":
            model.members[number], history = yield from fitting(FitRequest(member, rows, held_out, None, member_key))
            direct.append(history)
            continue
        own = None
        if request.checkpoints is not None:
            directory = request.checkpoints.directory / str(number)
            own = request.checkpoints.model_copy(update={"directory": directory})
        asked = request._replace(model=member, train=rows, valid=held_out, spec=spec, key=member_key, checkpoints=own)
        try:
            result = yield from fitting(asked)
        except NonFiniteLoss as stopped:
            if stopped.result is None:
                raise
            result, error = stopped.result, error or stopped
        model.members[number] = result.model
        histories.append(result.history)
    model.calibrate(valid.x, valid.weight)
    if spec.trim:
        train, valid = (_without_worst(model, rows, judges, spec.trim) for rows in (train, valid))
        yield from _learn_themselves(model, train, key, fitting)
        model.calibrate(valid.x, valid.weight)
    yield from _learn_themselves(model, filled_up(_joined(given, (train, valid))), key, fitting)
    result = FitResult(model, mean_history(histories or direct))
    if error is not None:
        error.result = result
        raise error
    return result


def _learn_themselves(
    model: Committee, rows: Batch, key: PRNGKeyArray, fitting: Callable[[FitRequest], Fitting[FitResult]]
) -> Fitting[None]:
    """Fit those members to these rows that fit themselves, in place."""
    graph, state = nnx.split(model)
    seen = _seen(state, rows.x, graph=graph)
    for number, (member, z) in enumerate(zip(model.members, seen, strict=True)):
        if member.way_of_fitting == "itself":
            asked = FitRequest(member, rows._replace(x=z), None, None, jax.random.fold_in(key, number))
            model.members[number] = (yield from fitting(asked)).model


def _without_worst(model: Committee, rows: Batch, judges: tuple[int, ...], share: float) -> Batch:
    """The rows with weight zero for those that surprise these members most, `share` of all weight."""
    graph, state = nnx.split(model)
    surprise = _mean_surprise(state, jnp.asarray(rows.x), graph=graph, judges=judges)
    return rows._replace(weight=without_worst(surprise, jnp.asarray(rows.weight), share))


def _joined(given: tuple[Batch, Batch], weighed: tuple[Batch, Batch]) -> Batch:
    """The rows of both, as they were given, with the weights that they have by now; a committee has no context."""
    x = np.concatenate([np.asarray(rows.x) for rows in given])
    weights = [np.asarray(now.weight)[: len(rows.x)] for rows, now in zip(given, weighed, strict=True)]
    return Batch(jnp.asarray(x), jnp.asarray(np.concatenate(weights)))


@partial(jax.jit, static_argnames="graph")
def _seen(state: Any, x: Float[Array, "n dim"], *, graph: Any) -> list[Float[Array, "n dim"]]:
    return nnx.merge(graph, state).seen(x)


@partial(jax.jit, static_argnames=("graph", "judges"))
def _mean_surprise(state: Any, x: Float[Array, "n dim"], *, graph: Any, judges: tuple[int, ...]) -> Float[Array, "n"]:
    """Of these members, by their weights."""
    model = nnx.merge(graph, state)
    surprises = model.surprises(x)
    # One by one, so that what the others would say is not computed.
    heard = jnp.stack([model.weights[number] * surprises[number] for number in judges])
    return jnp.sum(heard, axis=0) / sum(model.weights[number] for number in judges)
