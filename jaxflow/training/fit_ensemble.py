"""Build and fit an ensemble in one call."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from jaxflow.models import EnsembleSpec, FlowSpec
from jaxflow.models.combined.ensemble import Combination
from jaxflow.models.model_size import require_memory
from jaxflow.old_names import with_old_keywords
from jaxflow.training.engine.batch import Batch
from jaxflow.training.fit import FitResult, fit
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.monitoring.callbacks import Callback
from jaxflow.training.monitoring.checkpoints import Checkpoints


@with_old_keywords(watchers="callbacks")
def fit_ensemble(
    spec: FlowSpec,
    data: Any,
    members: int,
    key: PRNGKeyArray,
    *,
    valid: Any = None,
    fit_spec: FitSpec | None = None,
    combination: Combination = "mean_log_prob",
    bootstrap: bool = False,
    learning_rates: Sequence[float] = (),
    weight_decays: Sequence[float] = (),
    input_noises: Sequence[float] = (),
    progress: bool = False,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Fit several flows of one kind in one compiled program.

    Members differ in their seeds, and with them in their permutations and first weights, and in whatever of the rest is
    given. Each stops by itself and keeps its own best parameters; one whose loss
    does not stay finite is reported by a warning and left out.

    Data sets of equal shape train together as well, such as the folds of a benchmark: give (members, n, dim). Sets with
    fewer rows can be filled up with rows of weight zero.

    Args:
        spec: of each member.
        data: rows (n, dim) for all members, (members, n, dim) with rows for each, or a `Batch` of either.
        members: number of members.
        key: the random key; the same key gives the same result.
        valid: held-out rows of the same form as `data`.
        fit_spec: of each fit.
        combination: how the members' scores become one, see `Ensemble`.
        bootstrap: weigh the rows of each member by how often they are drawn with replacement.
        learning_rates: peak learning rate of each member; empty for that of `fit_spec`.
        weight_decays: weight decay of each member; likewise.
        input_noises: standard deviation of the noise on the rows of each member; likewise.
        progress: show a progress bar on standard error.
        mesh: devices to work on, as in `fit`.
        checkpoints: where the states of the fits are saved, as in `fit`.
        callbacks: are told of every epoch, as means over the members.

    Returns:
        The `Ensemble` and the history of all, with that of each member in `history.members`. `Ensemble.take` gives one
        member as a model by itself.

    Raises:
        ValueError: if there is not one learning rate, decay or noise for each member (pydantic's `ValidationError`).
        InputError: if a shape does not fit, a value is not finite, or "tail" scores are wanted without held-out rows.
        FloatingPointError: if no member had a finite loss.
    """
    build_key, fit_key = jax.random.split(key)
    ensemble = EnsembleSpec.model_validate(
        {
            "member": spec,
            "members": members,
            "combination": combination,
            "bootstrap": bootstrap,
            "learning_rates": tuple(learning_rates),
            "weight_decays": tuple(weight_decays),
            "input_noises": tuple(input_noises),
        }
    )
    rows = data.x if isinstance(data, Batch) else data
    require_memory(ensemble, np.shape(rows)[-1])
    model = ensemble.build(np.shape(rows)[-1], rngs=nnx.Rngs(build_key))
    how = {"progress": progress, "mesh": mesh, "checkpoints": checkpoints, "callbacks": callbacks}
    return fit(model, data, valid, fit_spec, key=fit_key, **how)
