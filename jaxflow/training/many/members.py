"""An epoch of several fits alike as one program."""

from functools import partial
from typing import Any

import jax

from jaxflow.training.devices.mesh import MEMBER
from jaxflow.training.engine import epoch as epochs
from jaxflow.training.engine.batch import Batch
from jaxflow.training.engine.plan import Plan


def take_turns() -> bool:
    """Whether members take turns within an epoch: a CPU has no use for many small products at once."""
    return jax.default_backend() == "cpu"


def member_axes(batch: Batch) -> Batch:
    """For each part of a batch, 0 where its first axis counts members."""
    own: Any = 0 if batch.x.ndim == 3 else None
    weight: Any = 0 if batch.weight is not None and batch.weight.ndim == 2 else None
    return Batch(own, weight, None if batch.context is None else own)


@partial(jax.jit, static_argnames=("plan", "axes", "in_turn"), donate_argnames="states")
def advance_members(
    states: epochs.FitState,
    train: Batch,
    valid: Batch | None,
    *,
    plan: Plan,
    axes: tuple[Batch, Batch | None],
    in_turn: bool,
) -> tuple[epochs.FitState, epochs.Record]:
    """An epoch of every member; one that has stopped stays as it is."""
    if not in_turn:
        name = None if plan.mesh is None else MEMBER
        advance = jax.vmap(partial(epochs.advance, plan=plan), in_axes=(0, *axes), spmd_axis_name=name)
        return advance(states, train, valid)
    own, shared = zip(*(_parted(batch, axis) for batch, axis in ((train, axes[0]), (valid, axes[1]))), strict=True)

    def advance_one(inputs):
        state, mine = inputs
        trained, held_out = (_together(*parts) for parts in zip(mine, shared, strict=True))
        assert trained is not None
        return epochs.advance(state, trained, held_out, plan)

    return jax.lax.map(advance_one, (states, own))


def _parted(batch: Batch | None, axes: Batch | None) -> tuple[tuple, tuple]:
    """The parts of a batch that are each member's own, and those that all share; None in the other's place."""
    if batch is None or axes is None:
        return (), ()
    pairs = list(zip(batch, axes, strict=True))
    return (
        tuple(array if axis == 0 else None for array, axis in pairs),
        tuple(array if axis is None else None for array, axis in pairs),
    )


def _together(own: tuple, shared: tuple) -> Batch | None:
    if not own:
        return None
    return Batch(*(mine if mine is not None else common for mine, common in zip(own, shared, strict=True)))
