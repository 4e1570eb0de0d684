"""Which rows ended a fit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxflow.errors import NonFiniteLoss
from jaxflow.training.engine import flat_parameters as flat
from jaxflow.training.engine.batch import Batch
from jaxflow.training.engine.epoch import EpochKeys, FitState
from jaxflow.training.engine.plan import Plan
from jaxflow.training.engine.shuffle import random_order
from jaxflow.training.engine.step import gradient_norm, noisy


def explained(state: FitState, train: Batch, plan: Plan) -> NonFiniteLoss:
    """The error of a fit to rows in memory that ended at a bad step, with the rows to blame.

    Args:
        state: the last state; its parameters are those before that step.
        train: the training rows.
        plan: the plan of the fit.
    """
    order = random_order(EpochKeys.of(state.key, state.epoch - 1).shuffle, train.x.shape[0])
    numbers = rows_of_step(order, int(state.trained.bad_step), plan)
    return blamed(state, jax.tree.map(lambda array: array[numbers], train), np.asarray(numbers), plan)


def rows_of_step(order: Int[Array, "n"], step: int, plan: Plan) -> Int[Array, "rows"]:
    """Which of rows in this order belong to a step; the last step is filled up with the first rows."""
    n = order.shape[0]
    count = min(plan.spec.batch_size, n)
    return order[(step * count + np.arange(count)) % n]


def blamed(state: FitState, batch: Batch, numbers: Int[np.ndarray, "rows"], plan: Plan) -> NonFiniteLoss:
    """The error of a fit that ended at a bad step with these rows, of these numbers."""
    bad = np.asarray(_examined(state, batch, plan=plan))
    culprits = sorted(set(numbers[bad].tolist()))
    epoch, step = int(state.epoch), int(state.trained.bad_step) + 1
    return NonFiniteLoss(epoch, step, culprits, diverged=bool(bad.all()) and len(culprits) > 1)


@partial(jax.jit, static_argnames="plan")
def _examined(state: FitState, batch: Batch, *, plan: Plan) -> Bool[Array, "rows"]:
    """Which rows have by themselves a loss or a gradient that is not finite.

    The step is made once more with its own noise, but in evaluation mode: layers that take statistics of their batch
    cannot take them of one row.
    """
    epoch, step = state.epoch - 1, state.trained.bad_step
    noise_key = jax.random.split(jax.random.fold_in(EpochKeys.of(state.key, epoch).steps, step))[0]
    noise = plan.input_noises(state.knobs, epoch * plan.steps_per_epoch + step)
    tree = flat.unflatten(state.trained.params, plan.layout)

    def is_bad(inputs):
        x, context = inputs

        def loss_of(tree):
            model = plan.model(tree, state.trained.buffers)
            return plan.loss_of(model, x[None], jnp.ones(1, x.dtype), None if context is None else context[None])

        loss, gradient = jax.value_and_grad(loss_of)(tree)
        return ~(jnp.isfinite(loss) & jnp.isfinite(gradient_norm(flat.flatten(gradient))))

    return jax.lax.map(is_bad, (noisy(jnp.asarray(batch.x), noise_key, noise, plan), batch.context))
