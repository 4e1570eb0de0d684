"""The anomaly scores of rows of a table, from what the model makes of them and from what was never seen."""

from functools import partial

import numpy as np
from jaxtyping import Float

from jaxflow.detection.frozen import Frozen
from jaxflow.detection.inputs import NEVER_SEEN, Inputs, grid_of, snapped
from jaxflow.detection.marginal import expected_scores
from jaxflow.detection.scoring import score_rows
from jaxflow.models.model import Density, Model


class RowScorer:
    """Scores rows of codes: the model's score, in data units if it is a density, and `NEVER_SEEN` where it applies.

    Where the model says what it expects in place of missing values, the mean over that. What does not depend on the
    rows is done once, so a scorer is quick for a row at a time; what becomes of the model later it does not see.
    """

    def __init__(self, model: Model, inputs: Inputs):
        self.inputs = inputs
        self._score = partial(score_rows, Frozen.of(model))
        self._snap = partial(snapped, model)
        # log p(x) = log p(z) + log |det dz/dx|: the density of the data, not of what preprocessing made of it.
        self._grid = grid_of(model) if isinstance(model, Density) and model.scores_in_nats else None

    def __call__(self, x: Float[np.ndarray, "n columns"]) -> Float[np.ndarray, "n"]:
        """The score of each row, higher = more anomalous.

        Raises:
            FloatingPointError: if the model holds a parameter that is not finite.
        """
        inputs = self.inputs
        # A value so far out that preprocessing overflows is infinitely far, and `score_rows` knows what to do with it.
        with np.errstate(over="ignore"):
            z, context = inputs.model_rows(x)
        scores = self._score(z, context)
        if inputs.imputer is not None:
            gaps = inputs.gaps(x)
            lacking = gaps.any(axis=1)
            scores[lacking] = expected_scores(
                self._score,
                z[lacking],
                None if context is None else context[lacking],
                gaps[lacking],
                inputs.imputer,
                self._snap,
            )
        if self._grid is not None:
            scores = scores - inputs.log_det(x, self._grid)
        return scores + NEVER_SEEN * inputs.never_seen(x).sum(axis=1)
