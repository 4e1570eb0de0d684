"""The anomaly scores of rows of a table, from what the model makes of them and from what was never seen."""

from functools import partial

import numpy as np
from jaxtyping import Float

from jaxflow.detection.inputs import NEVER_SEEN, Inputs, grid_of, snapped
from jaxflow.detection.marginal import expected_scores
from jaxflow.detection.scoring import score_rows
from jaxflow.models.model import Density, Model


def scores_of_codes(model: Model, inputs: Inputs, x: Float[np.ndarray, "n columns"]) -> Float[np.ndarray, "n"]:
    """The score of each row of codes: the model's, in data units if it is a density, and `NEVER_SEEN` where it applies.

    Where the model says what it expects in place of missing values, the mean over that.
    """
    # A value so far out that preprocessing overflows is infinitely far, and `score_rows` knows what to do with it.
    with np.errstate(over="ignore"):
        z, context = inputs.model_rows(x)
    scores = score_rows(model, z, context)
    if inputs.imputer is not None:
        gaps = inputs.gaps(x)
        lacking = gaps.any(axis=1)
        scores[lacking] = expected_scores(
            partial(score_rows, model),
            z[lacking],
            None if context is None else context[lacking],
            gaps[lacking],
            inputs.imputer,
            partial(snapped, model),
        )
    # log p(x) = log p(z) + log |det dz/dx|: the density of the data, not of what preprocessing made of it.
    if isinstance(model, Density) and model.scores_in_nats:
        scores = scores - inputs.log_det(x, grid_of(model))
    return scores + NEVER_SEEN * inputs.never_seen(x).sum(axis=1)
