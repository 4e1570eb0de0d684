"""Trimmed likelihood: in each epoch the rows that fit worst do not count.

Neykov, Filzmoser, Dimova and Neytchev 2007, "Robust fitting of mixtures using the trimmed likelihood estimator":
maximise the likelihood of those rows, a given share of all, that it is highest for. After each epoch they are chosen
again under the parameters it led to, the concentration step of Rousseeuw and Van Driessen 1999, section 2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxflow.models.model import weighted_mean
from jaxflow.models.trimming import without_worst
from jaxflow.training.engine import flat_parameters as flat
from jaxflow.training.engine.batch import Batch
from jaxflow.training.engine.plan import Plan
from jaxflow.training.engine.step import Trained

SCORED_ROWS = 4096  # at once


def trimmed(trained: Trained, batch: Batch, share: Float[Array, ""], order: Int[Array, "n"], plan: Plan) -> Batch:
    """The rows with weight zero for those of the highest losses under the judged parameters, `share` of all weight.

    What stands in the place of such a row is a copy of one that counts: the row itself could make a gradient of
    0 * inf, and layers that take statistics of their batch do not look at weights.

    Args:
        trained: the parameters, and what else steps change.
        batch: the rows.
        share: share of their weight that is left out.
        order: a random order of the rows, in which those that are copied are taken.
        plan: the plan of the fit.
    """
    weight = _weight(batch)
    kept = without_worst(row_losses(trained, batch, plan), weight, share)
    out = (kept == 0) & (weight > 0)
    counted = order[jnp.argsort(kept[order] == 0, stable=True)]  # rows that count come first
    place = jnp.where(out, counted[jnp.cumsum(out) - 1], jnp.arange(out.shape[0]))
    return Batch(batch.x[place], kept, None if batch.context is None else batch.context[place])


def trimmed_loss(trained: Trained, batch: Batch, share: Float[Array, ""], plan: Plan) -> Float[Array, ""]:
    """The mean loss of the rows without those of the highest losses, `share` of all weight."""
    losses = row_losses(trained, batch, plan)
    return weighted_mean(losses, without_worst(losses, _weight(batch), share))


def row_losses(trained: Trained, batch: Batch, plan: Plan) -> Float[Array, "n"]:
    """The loss of each row by itself under the judged parameters, a block of rows at a time."""
    model = plan.model(flat.unflatten(trained.judged, plan.layout), trained.buffers)
    blocks = plan.blocks(batch, SCORED_ROWS)
    losses = jax.lax.map(lambda block: model.losses(block.x, block.context), blocks)
    return losses.reshape(-1)[: batch.x.shape[0]]


def _weight(batch: Batch) -> Float[Array, "n"]:
    x = jnp.asarray(batch.x)
    return jnp.ones(x.shape[0], x.dtype) if batch.weight is None else jnp.asarray(batch.weight)
