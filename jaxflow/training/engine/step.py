"""Steps of gradient descent: the innermost part of every fit."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxflow.networks.matmul_precision import HIGHEST, products_in
from jaxflow.training.engine import flat_parameters as flat
from jaxflow.training.engine.adamw import AdamState, adam_start, adam_step
from jaxflow.training.engine.batch import Blocks
from jaxflow.training.engine.own_optimizer import OwnState, own_start, own_step
from jaxflow.training.engine.plan import Plan, TracedHyperparameters


class Trained(NamedTuple):
    """All that steps change.

    Attributes:
        params: all trained parameters, as `flat.flatten` has them.
        buffers: every other variable of the model.
        opt_state: the optimiser's state.
        average: the moving average of the parameters, which is judged and kept in their place; None without one.
        bad_step: the number, in its epoch and from 0, of the step whose loss or gradient was not finite and after
            which nothing changes any more; -1 if there was none, or if such steps are skipped.
    """

    params: flat.Flat
    buffers: Any
    opt_state: AdamState | OwnState
    average: flat.Flat | None
    bad_step: Int[Array, ""]

    @property
    def judged(self) -> flat.Flat:
        """The parameters that held-out rows judge and that are kept if they are the best."""
        return self.params if self.average is None else self.average


class Totals(NamedTuple):
    """Sums over steps.

    Attributes:
        loss: of the losses, each times the weight of its rows; skipped steps left out.
        weight: of those weights.
        norm: of the norms of the gradients, before clipping.
        taken: number of steps that changed something.
        skipped: number of those that did not.
    """

    loss: Float[Array, ""]
    weight: Float[Array, ""]
    norm: Float[Array, ""]
    taken: Int[Array, ""]
    skipped: Int[Array, ""]


class _Inputs(NamedTuple):
    """Inputs of one step."""

    batch: Blocks
    key: PRNGKeyArray
    number: Int[Array, ""]
    learning_rate: Float[Array, ""]
    noise: Float[Array, ""]


def no_totals(dtype: Any) -> Totals:
    """The sums over no step."""
    # Made of typed numbers: others would change their type, and compile anew, with the first addition.
    nothing, none = jnp.zeros((), dtype), jnp.zeros((), jnp.asarray(0).dtype)
    return Totals(nothing, nothing, nothing, none, none)


def first_trained(params: flat.Flat, buffers: Any, plan: Plan) -> Trained:
    """Return the trained state before the first step."""
    average = params if plan.spec.average_decay else None
    if plan.optimizer is None:
        opt_state = adam_start(params)
    else:
        opt_state = own_start(plan.optimizer, flat.unflatten(params, plan.layout))
    return Trained(params, buffers, opt_state, average, jnp.asarray(-1, jnp.int32))


def run_steps(
    trained: Trained,
    blocks: Blocks,
    key: PRNGKeyArray,
    knobs: TracedHyperparameters,
    plan: Plan,
    *,
    epoch: Int[Array, ""],
    first: Int[Array, ""] | int = 0,
) -> tuple[Trained, Totals]:
    """One step for each block, in a loop that the device runs by itself.

    Args:
        trained: what the steps change.
        blocks: the rows of each step.
        key: the random key of all steps of the epoch.
        knobs: learning rate and the like.
        plan: the plan of the fit.
        epoch: number of epochs done before.
        first: number of steps done before in this epoch.
    """
    numbers = first + jnp.arange(blocks.x.shape[0], dtype=jnp.int32)
    steps = epoch * plan.steps_per_epoch + numbers
    keys = jax.vmap(partial(jax.random.fold_in, key))(numbers)
    inputs = _Inputs(blocks, keys, numbers, plan.learning_rates(knobs, steps), plan.input_noises(knobs, steps))
    step = partial(_step, plan=plan, weight_decay=plan.weight_decay(knobs.weight_decay))
    trained, (losses, norms, skipped) = jax.lax.scan(step, trained, inputs)
    # A step's loss is the mean over its rows; the mean over all rows is that of the steps under the rows' weights.
    weights = jnp.where(skipped, 0.0, jnp.sum(blocks.weight, axis=1))
    return trained, Totals(
        loss=jnp.sum(weights * jnp.where(skipped, 0.0, losses)),
        weight=jnp.sum(weights),
        norm=jnp.sum(jnp.where(skipped, 0.0, norms)),
        taken=jnp.sum(~skipped),
        skipped=jnp.sum(skipped),
    )


def noisy(
    x: Float[Array, "rows dim"], key: PRNGKeyArray, noise: Float[Array, ""], plan: Plan
) -> Float[Array, "rows dim"]:
    """The rows of a step with input noise of that standard deviation, if the fit has any."""
    if not plan.spec.input_noise:
        return x
    return x + noise.astype(x.dtype) * jax.random.normal(key, x.shape, x.dtype)


def gradient_norm(gradient: flat.Flat) -> Float[Array, ""]:
    """The Euclidean norm of a gradient."""
    # A dot product is vectorised on CPU, a sum of squares is not.
    return jnp.sqrt(sum(jnp.vdot(array, array, precision=HIGHEST) for array in gradient))


def _step(trained: Trained, inputs: _Inputs, *, plan: Plan, weight_decay: tuple[Array | float, ...]):
    """One step of AdamW or of the caller's optimiser; one whose loss or gradient is not finite changes nothing."""
    params, buffers, opt_state, average, bad_step = trained
    batch = inputs.batch
    noise_key, model_key = jax.random.split(inputs.key)
    x = noisy(batch.x, noise_key, inputs.noise, plan)

    def loss_of(tree):
        model = plan.model(tree, buffers, training=True)
        loss = plan.loss_of(model, x, batch.weight, batch.context, nnx.Rngs(model_key))
        return loss, nnx.split(model, nnx.Param, ...)[2]

    tree = flat.unflatten(params, plan.layout)
    with products_in(plan.spec.precision):
        (loss, new_buffers), gradient = jax.value_and_grad(loss_of, has_aux=True)(tree)
    flattened = flat.flatten(gradient)
    norm = gradient_norm(flattened)
    good = jnp.isfinite(loss) & jnp.isfinite(norm)
    if plan.spec.bad_steps == "stop":
        bad_step = jnp.where(good | (bad_step >= 0), bad_step, inputs.number)
        good &= bad_step < 0
    if isinstance(opt_state, OwnState):
        assert plan.optimizer is not None
        tree, opt_state = own_step(plan.optimizer, tree, gradient, opt_state, good)
        params = flat.flatten(tree)
    else:
        clip = jnp.asarray(jnp.inf if plan.spec.clip_norm is None else plan.spec.clip_norm, norm.dtype)
        params, opt_state = adam_step(
            params,
            flattened,
            opt_state,
            learning_rate=inputs.learning_rate,
            gradient_scale=jnp.minimum(1.0, clip / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny)),
            weight_decay=weight_decay,
            good=good,
        )
    # Masks and the like come back as the very arrays that went in; left alone, they need not be copied at every step.
    buffers = jax.tree.map(lambda new, old: old if new is old else jnp.where(good, new, old), new_buffers, buffers)
    if average is not None:
        decay = jnp.minimum(plan.spec.average_decay, (1 + opt_state.count) / (10 + opt_state.count))
        follow = jnp.where(good, 1 - decay, 0.0).astype(norm.dtype)
        average = jax.tree.map(lambda mean, new: mean + follow * (new - mean), average, params)
    return Trained(params, buffers, opt_state, average, bad_step), (loss, norm, ~good)
