"""P-values of a detector, and a selection at a false discovery rate."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxflow.data.arrays import AnyArray
from jaxflow.detection.calibration.conformal import benjamini_hochberg, conformal_p_values, least_selection


class PValues:
    """The part of a `Detector` that compares scores with those of its normal calibration rows."""

    calibration_scores_: Float[np.ndarray, "n"]
    calibration_labels_: Int[np.ndarray, "n"] | None
    anomaly_score: Any

    def p_values(self, X: Any) -> Float[np.ndarray, "n"]:
        """Conformal p-value of each row: the share of normal calibration scores at least as high, itself counted.

        p(x) = (1 + #{calibration scores >= score(x)}) / (n + 1)

        For a normal row that neither the model nor the calibration has seen, the probability of p <= a is at most a,
        for every a (Bates et al. 2023, "Testing for outliers with conformal p-values"). The calibration rows must be
        unseen as well (held out, or given to `calibrate`): the scores of training rows are too low. With out-of-fold
        scores the probability is not bounded so sharply, see `calibration_folds`.

        No p-value is below 1 / (n + 1): a row beyond all calibration scores has this one however far it is beyond. For
        smaller ones calibrate with more rows.
        """
        return self._p_values_of_scores(self.anomaly_score(X))

    def _p_values_of_scores(self, scores: Float[AnyArray, "n"]) -> Float[AnyArray, "n"]:
        """`p_values` for anomaly scores already at hand."""
        return conformal_p_values(self._normal_calibration_scores(), scores)

    def select(self, X: Any, rate: float = 0.1) -> Bool[np.ndarray, "n"]:
        """The rows that are anomalies, of which on average at most the share `rate` are normal after all.

        Benjamini and Hochberg's procedure on the `p_values` of all rows together; of m rows those with the k smallest
        are selected, for the largest k whose k-th smallest is at most rate k / m. With calibration rows held out, the
        expected share of normal rows among the selected ones (the false discovery rate) is at most `rate` (Bates et
        al. 2023, theorem 2). Unlike `predict` the answer for a row depends on the others.

        Args:
            X: rows, shape (m, n_features), independent of each other.
            rate: the false discovery rate, more than 0 and less than 1.

        Raises:
            InputError: if `rate` is out of range.
            ValueError: if `X` is not a finite matrix of the columns that were fitted.
        """
        p = self.p_values(X)
        selected = benjamini_hochberg(p, rate)
        n = self._normal_calibration_scores().size
        beyond, needed = int(np.sum(p == 1 / (n + 1))), least_selection(n, len(p), rate)
        if 0 < beyond < needed and not selected.any():
            warnings.warn(
                f"{beyond} of {len(p)} rows lie beyond all {n} calibration scores, and none is selected: at a false "
                f"discovery rate of {rate:g} it takes {needed} such rows, or more calibration rows",
                stacklevel=2,
            )
        return selected

    def _normal_calibration_scores(self) -> Float[np.ndarray, "n"]:
        """The scores of the calibration rows that are not labelled as anomalies."""
        labels = self.calibration_labels_
        return self.calibration_scores_ if labels is None else self.calibration_scores_[labels == 0]
