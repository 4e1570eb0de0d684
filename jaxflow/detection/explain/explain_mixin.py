"""Explanations of a fitted detector's decisions."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted

from jaxflow.data.tables.frame import Frame
from jaxflow.detection.explain.counterfactual import Counterfactual, counterfactual_rows
from jaxflow.detection.explain.explainer import explain_rows
from jaxflow.detection.explain.explanation import (
    NORMAL_ROWS,
    Explanation,
    OtherTexts,
    categories_of,
    other_texts,
    spread_out,
)
from jaxflow.detection.scoring.table_encoder import Inputs


class Explaining:
    """The part of a detector that explains.

    It keeps up to 1,000 of the normal rows that calibrate, at even distances among them, in memory and in what `save`
    writes: explanations are comparisons with normal rows. Who may read a saved detector can read these rows.

    Attributes:
        normal_rows_: these rows, as `Detector.codes` gives them.
    """

    inputs_: Inputs
    normal_rows_: Float[np.ndarray, "n n_features"]
    _read: Callable[[Any], Frame]  # of the detector

    def explain(self, X: Any, method: str = "auto") -> Explanation:
        """Return each column's share of each row's score, raw and compared with normal rows.

        The first call takes longer, as it explains the stored normal rows as well. For a flow of several layers a row
        costs 32 scores a column.

        Args:
            X: rows, shape (n, n_features), as `fit` takes them.
            method: where the terms come from, by default what suits the model best: the chain rule for flows that
                factorise, exact conditional densities for Gaussians and mixtures, squared errors for autoencoders and
                principal components, log-densities given the latent features for variational autoencoders, and
                otherwise by how much the score falls when the column takes its best normal value, all others staying as
                they are ("replacement", which all models have). See `jaxflow.models.score_terms`.

        Raises:
            ValueError: if `X` is not a finite matrix of the columns that were fitted; in particular an `InputError` if
                the model does not have the method, or the detector was saved without normal rows.
        """
        check_is_fitted(self, "threshold_")
        return explain_rows(self, *self._codes_and_others(X), method)

    def counterfactual(self, X: Any) -> Counterfactual:
        """Return for each flagged row a normal row as near to it as possible, which would not be flagged.

        The nearest, by Euclidean distance after preprocessing, of the stored normal rows that are not flagged is where
        the search ends at the latest. The row takes its values in as few columns as a greedy search finds to be enough,
        and then goes back towards its own values along the line, for as long as the score stays at or below the
        threshold. Columns of whole numbers take values of that normal row or of the row itself, none between. What
        comes out passes and is near the row; it need not be the nearest that passes. Context columns stay as they are
        if one of the nearest normal rows passes with them.

        Raises:
            ValueError: as `explain`; in particular an `InputError` if no stored normal row is below the threshold.
        """
        check_is_fitted(self, "threshold_")
        return counterfactual_rows(self, *self._codes_and_others(X))

    def _keep_normal_rows(self, x: Float[np.ndarray, "n n_features"]) -> None:
        """Compare with some of these rows from now on."""
        self.normal_rows_ = spread_out(np.asarray(x, np.float64), NORMAL_ROWS).copy()
        self._term_scales: dict[str, Any] = {}

    def _codes_and_others(self, X: Any) -> tuple[Float[np.ndarray, "n n_features"], OtherTexts]:
        """Return the rows as `Detector.codes` does, and the texts that it has no place for."""
        frame = self._read(X)
        x = self.inputs_.encoding.codes(frame)
        return x, other_texts(frame, x, categories_of(self))
