"""The anomaly scores of rows of a table, from what the model makes of them and from what was never seen."""

from functools import partial
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Bool, Float

from jaxflow.data.arrays import AnyArray
from jaxflow.detection.scoring.frozen_model import FrozenModel
from jaxflow.detection.scoring.missing_values import expected_scores
from jaxflow.detection.scoring.score_in_chunks import log_probs_of_rows, score_rows
from jaxflow.detection.scoring.table_encoder import NEVER_SEEN, Inputs, grid_of, snapped
from jaxflow.models.model import Density, Model


class RowScorer:
    """Scores rows of codes: the model's score, in data units if it is a density, and `NEVER_SEEN` where it applies.

    Where the model says what it expects in place of missing values, the mean over that. What does not depend on the
    rows is done once, so a scorer is quick for a row at a time; what becomes of the model later it does not see.
    """

    def __init__(self, model: Model, inputs: Inputs):
        self.model, self.inputs = model, inputs
        variables = (node for _, node in nnx.iter_graph(model) if isinstance(node, nnx.Variable))
        self._values = [(variable, variable.get_raw_value()) for variable in variables]
        self._score = partial(score_rows, FrozenModel.of(model))
        self._snap = partial(snapped, model)
        self._grid = counted_grid(model)
        self._normals = self._log_prob = None
        if inputs.imputer is not None and isinstance(model, Density):
            self._normals = model.as_normals()
            if not model.scores_in_nats:
                self._log_prob = partial(log_probs_of_rows, FrozenModel.of(model))
        self._log_slopes = None
        if inputs.encoding.has_slopes and self._grid is not None:
            self._log_slopes = partial(inputs.log_slopes_at, grid=self._grid)

    def serves(self, model: Model, inputs: Inputs) -> bool:
        """Whether this is the scorer of that very model, with the arrays that it had, and of these inputs."""
        if model is not self.model or inputs is not self.inputs:
            return False
        return all(variable.get_raw_value() is value for variable, value in self._values)

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
                self._log_slopes,
                normals=self._normals,
                log_prob=self._log_prob,
            )
        return table_scores(scores, inputs, self._grid, x)


def counted_grid(model: Model) -> Bool[np.ndarray, "dim"] | None:
    """Which features a model gives probabilities, not densities; None if its scores have no units of the data."""
    return grid_of(model) if isinstance(model, Density) and model.scores_in_nats else None


def table_scores(
    scores: Float[AnyArray, "n"], inputs: Inputs, grid: Bool[np.ndarray, "dim"] | None, x: Float[AnyArray, "n columns"]
) -> Float[AnyArray, "n"]:
    """The scores of rows of codes, from those that the model gives; `grid` is its `counted_grid`."""
    # log p(x) = log p(z) + log |det dz/dx|: the density of the data, not of what preprocessing made of it.
    shift: Any = 0.0 if grid is None else inputs.log_det(x, grid)
    return scores - shift + NEVER_SEEN * inputs.never_seen(x).sum(axis=1)
