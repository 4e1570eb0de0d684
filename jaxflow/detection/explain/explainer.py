"""From rows to their explanations: the terms of the model's score, beside those of normal rows."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxflow.detection.explain.explanation import (
    NO_OTHERS,
    Explanation,
    OtherTexts,
    as_the_model_sees,
    categories_of,
    normal_rows,
    spread_out,
)
from jaxflow.detection.explain.normal_range import NormalRange
from jaxflow.detection.explain.row_terms import terms_of_rows
from jaxflow.detection.explain.term_scale import TermScale
from jaxflow.detection.scoring.frozen_model import FrozenModel
from jaxflow.detection.scoring.row_scorer import counted_grid
from jaxflow.detection.scoring.table_encoder import NEVER_SEEN
from jaxflow.models.attribution.replacement import CANDIDATES, candidate_values
from jaxflow.models.attribution.score_terms import TermsMethod, blocks_of, chosen_method
from jaxflow.training.engine.precision import floats_of

SCORED_AT_MOST = 2**19  # rows that are scored to compare replacements in normal rows, unless these are too few
FEWEST_COMPARED = 100  # normal rows


class Explainer:
    """Explains rows of codes by one method.

    What does not depend on the rows is done once, above all the terms of the stored normal rows; so an explainer is
    quick for a row at a time. What becomes of the detector's model later it does not see.

    Args:
        detector: a fitted detector.
        method: as for `Detector.explain`.

    Raises:
        InputError: if the model does not have the method, or the detector was saved without normal rows.
    """

    def __init__(self, detector: Any, method: str = "auto"):
        self.detector = detector
        self.method: TermsMethod = chosen_method(detector.model_, method)
        normal = normal_rows(detector)
        self._model = FrozenModel.of(detector.model_)
        # The columns that the model sees, ascending, and for each of its features where in that list its own is.
        self._columns, sources = np.unique(detector.inputs_.sources, return_inverse=True)
        self._sources = sources.tolist()
        z, context = as_the_model_sees(detector, normal)
        self._grid = counted_grid(detector.model_)
        self._candidates = candidate_values(z, blocks_of(self._sources))
        self._candidate_slopes = None
        if self._grid is not None and detector.inputs_.encoding.has_slopes:
            # Chosen with the values: beside the knot of a rank-Gaussian column rounding would take another slope.
            both = np.concatenate([z, detector.inputs_.log_slopes(normal, grid=self._grid)], axis=1)
            blocks = [(*block, *(len(self._sources) + i for i in block)) for block in blocks_of(self._sources)]
            self._candidates, self._candidate_slopes = np.split(candidate_values(both, blocks), 2, axis=1)
        self._texts = categories_of(detector)
        maps = detector.inputs_.encoding.maps
        given = [column.context for column in maps]
        textual = [name in self._texts for name in detector.columns_]
        self._range = NormalRange(normal, textual, given, context)
        self._in_context = ~np.array(given) & (context is not None)
        named = zip(detector.columns_, maps, strict=True)
        self._seen = {name: column.usual for name, column in named if column.usual}
        # Kept with the detector: the normal rows and the model stay the same until it is fitted or calibrated.
        scales = detector._term_scales
        if self.method not in scales:
            compared = self._compared(normal)
            scales[self.method] = TermScale.fit(self._terms(compared, *as_the_model_sees(detector, compared)))
        self._scale = scales[self.method]

    def __call__(
        self,
        x: Float[np.ndarray, "n columns"],
        scores: Float[np.ndarray, "n"] | None = None,
        others: OtherTexts = NO_OTHERS,
    ) -> Explanation:
        """Return each column's share of the rows' scores, which need not be given; `others` are to be shown."""
        detector = self.detector
        z, context = as_the_model_sees(detector, x)
        contributions = self._terms(x, z, context)
        calibrated = self._scale.calibrated(contributions)
        never_seen = detector.inputs_.never_seen(x)
        contributions, calibrated = (np.where(never_seen, NEVER_SEEN, terms) for terms in (contributions, calibrated))
        low, high = self._range(len(x), context)
        return Explanation(
            detector.columns_,
            x,
            detector.scores_of_rows(x) if scores is None else scores,
            self.method,
            contributions,
            calibrated,
            low,
            high,
            never_seen,
            self._texts,
            self._in_context,
            self._seen,
            others,
        )

    def _terms(
        self,
        x: Float[np.ndarray, "n columns"],
        z: Float[np.ndarray, "n dim"],
        context: Float[np.ndarray, "n context_dim"] | None,
    ) -> Float[np.ndarray, "n columns"]:
        """The terms of the columns of x: what preprocessing made of one column, z, is judged together.

        Of a density they are terms of -log p(x), not of what preprocessing made of x: less each column's log-slope.
        """
        out, slopes = np.zeros(x.shape), None
        if self._grid is not None:
            slopes = self.detector.inputs_.log_slopes(x, grid=self._grid)
        with floats_of(self.detector.float_type_):
            out[:, self._columns] = terms_of_rows(
                self._model, z, context, method=self.method, sources=self._sources, candidates=self._candidates,
                log_slopes=slopes, candidate_slopes=self._candidate_slopes,
            )  # fmt: skip
        if self.detector.inputs_.imputer is not None:  # what stands there is not the row's own
            out[np.isnan(x)] = 0.0
        return out

    def _compared(self, normal: np.ndarray) -> np.ndarray:
        """As many of the normal rows as are worth their time."""
        if self.method != "replacement":
            return normal
        return spread_out(normal, max(FEWEST_COMPARED, SCORED_AT_MOST // (len(self._columns) * CANDIDATES)))


def explain_rows(
    detector: Any, x: Float[np.ndarray, "n columns"], others: OtherTexts = NO_OTHERS, method: str = "auto"
) -> Explanation:
    """`Detector.explain` for a matrix of codes, as `Detector.codes` gives them, and texts that have none."""
    return Explainer(detector, method)(x, others=others)
