"""Why a row has its score: what each column carries of it, beside what it carries of normal rows' scores."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxflow.detection.row_terms import terms_of_rows
from jaxflow.detection.term_scale import TermScale
from jaxflow.errors import InputError
from jaxflow.models.replacement import CANDIDATES, candidate_values
from jaxflow.models.terms import TermsMethod, blocks_of, chosen_method
from jaxflow.training.precision import floats_of

NORMAL_ROWS = 1000  # kept at most, of those that calibrate
SCORED_AT_MOST = 2**19  # rows that are scored to compare replacements in normal rows, unless these are too few
FEWEST_COMPARED = 100  # normal rows
NORMAL_RANGE = (0.01, 0.99)


class Reason(NamedTuple):
    """One column's part in a row's score.

    Attributes:
        column: its name.
        value: what the row has there.
        contribution: the column's term, see `Explanation`.
        calibrated: the same on the scale on which columns compare.
        normal_low: the value that 1 % of the stored normal rows are below.
        normal_high: the value that 1 % of them are above.
    """

    column: str
    value: float
    contribution: float
    calibrated: float
    normal_low: float
    normal_high: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """What each column carries of the scores of some rows.

    Attributes:
        columns: their names.
        x: the rows.
        scores: their anomaly scores.
        method: where the contributions come from, see `jaxflow.models.score_terms`.
        contributions: the term of each row and column, higher = more to blame; for a density in nats, for the squared
            error of an autoencoder in the squared unit that preprocessing gives. 0 for a column that the model does not
            see because it was constant.
        calibrated: -log of the share of normal rows whose term for the column is as high, with an exponential tail;
            see `TermScale`. 0.7 is the median of normal rows and 4.6 about the highest of a hundred. These compare
            between columns, contributions need not.
        normal_low, normal_high: the range of the middle 98 % of the stored normal rows, in each column.
    """

    columns: tuple[str, ...]
    x: Float[np.ndarray, "n columns"]
    scores: Float[np.ndarray, "n"]
    method: TermsMethod
    contributions: Float[np.ndarray, "n columns"]
    calibrated: Float[np.ndarray, "n columns"]
    normal_low: Float[np.ndarray, "columns"]
    normal_high: Float[np.ndarray, "columns"]

    def top(self, count: int = 3) -> list[tuple[Reason, ...]]:
        """The columns that carry most of each row's score, by their calibrated terms, at most `count` of them.

        Raises:
            InputError: if `count` is below 1.
        """
        if count < 1:
            raise InputError(f"count = {count}: expected at least 1")
        # By the contribution where the calibrated terms are equal, and then as the columns come.
        order = np.lexsort((-self.contributions, -self.calibrated), axis=-1)[:, :count]
        return [tuple(self._reason(row, column) for column in columns) for row, columns in enumerate(order.tolist())]

    def records(self) -> list[dict[str, Any]]:
        """One mapping for each row and column: `row` (from 0), `score`, and what a `Reason` holds."""
        return [
            {"row": row, "score": float(score)} | self._reason(row, column)._asdict()
            for row, score in enumerate(self.scores)
            for column in range(len(self.columns))
        ]

    def _reason(self, row: int, column: int) -> Reason:
        numbers = (self.x, self.contributions, self.calibrated)
        limits = (self.normal_low, self.normal_high)
        return Reason(
            self.columns[column],
            *(float(values[row, column]) for values in numbers),
            *(float(values[column]) for values in limits),
        )


def explain_rows(detector: Any, x: Float[np.ndarray, "n columns"], method: str = "auto") -> Explanation:
    """`Detector.explain` for a plain matrix of finite numbers, its columns in the order of `columns_`."""
    chosen = chosen_method(detector.model_, method)
    normal = normal_rows(detector)
    # Once for each method: the normal rows and the model stay the same until the detector is fitted or calibrated.
    if chosen not in detector._term_scales:
        detector._term_scales[chosen] = TermScale.fit(_terms(detector, _compared(detector, normal, chosen), chosen))
    contributions = _terms(detector, x, chosen)
    calibrated = detector._term_scales[chosen].calibrated(contributions)
    low, high = np.quantile(normal, NORMAL_RANGE, axis=0, method="inverted_cdf")
    scores = detector.scores_of_rows(x)
    return Explanation(detector.columns_, x, scores, chosen, contributions, calibrated, low, high)


def normal_rows(detector: Any) -> Float[np.ndarray, "n columns"]:
    """The normal rows that the detector keeps, in data units.

    Raises:
        InputError: if it has none, because it was saved before detectors kept any.
    """
    rows = getattr(detector, "normal_rows_", None)
    if rows is None:
        raise InputError("this detector was saved without normal rows to compare with: calibrate it with some")
    return rows


def spread_out(x: Float[np.ndarray, "n columns"], count: int) -> Float[np.ndarray, "kept columns"]:
    """At most `count` of the rows, at even distances from the first to the last."""
    return x if len(x) <= count else x[np.linspace(0, len(x) - 1, count).round().astype(int)]


def as_the_model_sees(detector: Any, x: Float[np.ndarray, "n columns"]) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows after preprocessing, and their context; detectors have none."""
    with np.errstate(over="ignore"):  # infinitely far is as far as it need be
        return detector.preprocessing_.transform(x), None


def _terms(detector: Any, x: Float[np.ndarray, "n columns"], method: TermsMethod) -> Float[np.ndarray, "n columns"]:
    """The terms of the columns of x: what preprocessing made of one column is judged together."""
    z, context = as_the_model_sees(detector, x)
    columns, sources = _columns_and_sources(detector)
    normal, _ = as_the_model_sees(detector, normal_rows(detector))
    candidates = candidate_values(normal, blocks_of(sources))
    out = np.zeros(x.shape)
    with floats_of(detector.float_type_):
        out[:, columns] = terms_of_rows(
            detector.model_, z, context, method=method, sources=sources, candidates=candidates
        )
    return out


def _compared(detector: Any, normal: np.ndarray, method: TermsMethod) -> np.ndarray:
    """As many of the normal rows as are worth their time."""
    if method != "replacement":
        return normal
    columns, _ = _columns_and_sources(detector)
    return spread_out(normal, max(FEWEST_COMPARED, SCORED_AT_MOST // (len(columns) * CANDIDATES)))


def _columns_and_sources(detector: Any) -> tuple[np.ndarray, list[int]]:
    """The columns of x that the model sees, ascending, and for each column of z where in that list its own one is."""
    columns, sources = np.unique(detector.preprocessing_.kept, return_inverse=True)
    return columns, sources.tolist()
