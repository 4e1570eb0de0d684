"""Fits carried out together, of which the epochs of those alike are made as one program."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxflow.training.engine.loop import run_epochs
from jaxflow.training.feeding.rows_in_memory import RowsInMemory
from jaxflow.training.many.members import advance_members, member_axes, take_turns
from jaxflow.training.monitoring.callbacks import Callbacks
from jaxflow.training.ways.epochs import Epochs, Fitting, Trained

T = TypeVar("T")


def carry_out_alike(fittings: Sequence[Fitting[T]]) -> list[T | Exception]:
    """Carry out several fits; return the result of each, or in its place the error that ended it.

    Each goes on up to the epochs that it waits for. When all do, or have ended, the epochs are made, those of equal
    structure, plan and shapes as one program; then each goes on with what became of its own.
    """
    ended: dict[int, T | Exception] = {}
    waiting: dict[int, Epochs] = {}

    def go_on(number: int, resume: Callable[[], Epochs]) -> None:
        try:
            waiting[number] = resume()
        except StopIteration as stop:
            ended[number] = stop.value
        except Exception as error:
            ended[number] = error

    for number, fitting in enumerate(fittings):
        go_on(number, partial(next, fitting))
    while waiting:
        numbers, asked = list(waiting), list(waiting.values())
        waiting.clear()
        for number, made in zip(numbers, _made(asked), strict=True):
            resume = fittings[number].throw if isinstance(made, Exception) else fittings[number].send
            go_on(number, partial(resume, made))
    return [ended[number] for number in range(len(fittings))]


def _made(asked: Sequence[Epochs]) -> list[Trained | Exception]:
    """The outcome of each, or the error of it and those like it."""
    groups: dict[Hashable, list[int]] = {}
    for number, epochs in enumerate(asked):
        kind = epochs.kind()
        groups.setdefault(number if kind is None else kind, []).append(number)
    made: dict[int, Trained | Exception] = {}
    for numbers in groups.values():
        try:
            outcomes = _made_as_one([asked[number] for number in numbers])
        except Exception as error:
            outcomes = [error] * len(numbers)
        made |= zip(numbers, outcomes, strict=True)
    return [made[number] for number in range(len(asked))]


def _made_as_one(alike: Sequence[Epochs]) -> list[Trained]:
    first = alike[0]
    if len(alike) == 1:
        return [first.make()]
    batches = [epochs.rows.batch for epochs in alike if isinstance(epochs.rows, RowsInMemory)]
    states, train, valid = _stacked([(one.state, rows, one.valid) for one, rows in zip(alike, batches, strict=True)])
    axes = member_axes(train), None if valid is None else member_axes(valid)
    states, histories = run_epochs(
        states,
        lambda states, _: advance_members(states, train, valid, plan=first.plan, axes=axes, in_turn=take_turns()),
        epochs=first.plan.spec.epochs,
        validated=valid is not None,
        steps_per_epoch=first.plan.steps_per_epoch,
        callback=Callbacks([]),
    )
    return [(_taken(states, jnp.asarray(index)), history) for index, history in enumerate(histories)]


@jax.jit
def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *trees)


@jax.jit
def _taken(trees: Any, index: Int[Array, ""]) -> Any:
    return jax.tree.map(lambda array: array[index], trees)
