"""A detector's answers to rows that come one at a time."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from jaxflow.data.columns.categories import is_blank
from jaxflow.data.columns.discrete_maps import UNSEEN, Categorical
from jaxflow.data.columns.numeric_maps import AnyColumnMap
from jaxflow.data.columns.unseen_texts import shown_text
from jaxflow.data.tables.write_table import json_number
from jaxflow.detection.calibration.conformal import p_values_among
from jaxflow.detection.detector import Detector
from jaxflow.detection.explain.explainer import Explainer
from jaxflow.detection.scoring.table_encoder import NEVER_SEEN
from jaxflow.detection.thresholds.spot import DriftSpot, Spot
from jaxflow.errors import InputError, shown
from jaxflow.training.engine.precision import floats_of


def adaptive_threshold(detector: Detector, kind: Literal["spot", "drift_spot"], **options: Any) -> Spot | DriftSpot:
    """A threshold for a stream, begun with the scores of the detector's normal calibration rows.

    Those with a value that was never seen are alarms, and have no part in the tail.

    Args:
        detector: the fitted detector whose scores will come.
        kind: `Spot`, or `DriftSpot` for scores that drift.
        options: of the class.

    Raises:
        InputError: as the class.
    """
    scores = detector._normal_calibration_scores()
    scores = np.where(scores < NEVER_SEEN / 2, scores, np.inf)
    return {"spot": Spot, "drift_spot": DriftSpot}[kind](scores, **options)


class RecordAnswers:
    """Answers rows one by one, each given as a mapping of column names to numbers and texts.

    All that does not depend on the row is done when this is made, which takes seconds: programs are compiled, and the
    normal rows are explained that reasons compare with. No answer then waits for that. What becomes of the detector
    later is not seen.

    Args:
        detector: the fitted detector that answers.
        reasons: how many columns to name at most that carry most of the score of a flagged row.
        method: where the reasons come from, see `Detector.explain`.
        adaptive: the threshold that judges in place of the detector's and learns from each row answered.

    Raises:
        InputError: if reasons are wanted and the detector was saved without normal rows.
        FloatingPointError: if the model holds a parameter that is not finite.
    """

    def __init__(
        self, detector: Detector, reasons: int = 0, method: str = "auto", adaptive: Spot | DriftSpot | None = None
    ):
        self.detector = detector
        self.adaptive = adaptive
        self.reasons = reasons
        encoding = detector.inputs_.encoding
        self._columns = list(zip(detector.columns_, encoding.maps, strict=True))
        self._may_miss = encoding.missing != "refuse"
        self._threshold = detector.threshold_
        self._ordered = np.sort(detector._normal_calibration_scores())
        self._score = detector._row_scorer
        self._explain = Explainer(detector, method) if reasons else None
        row = np.zeros((1, len(self._columns)))
        scores = self._scores(row)
        if self._explain is not None:
            self._explain(row, scores)

    def __call__(self, record: Any, where: str) -> dict[str, Any]:
        """Answer one row; keys that are no columns are not looked at.

        Returns:
            `score` (higher = more anomalous, as `json_number` has it), `p_value`, `anomaly` (1 above the threshold,
            else 0), and if reasons are wanted `reasons`: of a row that is flagged one mapping for each column named,
            the most anomalous first, with what a `Reason` calls `column`, `value`, `normal_low`, `normal_high` and
            `never_seen`; none for other rows. With an `adaptive` threshold also `threshold`, which was in use before it
            learned from the row; `anomaly` is then 1 for an alarm above it, `p_value` that of the stream so far (less
            than the rate of alarms for these), and the calibration rows are not looked at any more.

        Raises:
            InputError: opening with `where`, if the record is no mapping, a column is missing, or a value is no finite
                number, where the column is not categorical; null is a missing value, where there may be some.
        """
        row = self._codes(record, where)
        scores = self._scores(row)
        score = float(scores[0])
        if self.adaptive is None:
            flagged = score > self._threshold
            judged = {"p_value": float(p_values_among(self._ordered, scores)[0]), "anomaly": int(flagged)}
        else:
            threshold, p_value = self.adaptive.threshold, self.adaptive.p_value(score)
            flagged = self.adaptive.step(score)
            judged = {"p_value": p_value, "anomaly": int(flagged), "threshold": threshold}
        answer: dict[str, Any] = {"score": json_number(score), **judged}
        if self._explain is not None:
            answer["reasons"] = self._reasons(row, scores, record) if flagged else []
        return answer

    def _scores(self, row: Float64[np.ndarray, "1 columns"]) -> Float64[np.ndarray, "1"]:
        with floats_of(self.detector.float_type_):
            return self._score(row)

    def _reasons(self, row: Float64[np.ndarray, "1 columns"], scores: Any, record: Any) -> list[dict[str, Any]]:
        assert self._explain is not None
        others = {
            (0, number): shown_text(str(record[name]))
            for number, (name, known) in enumerate(self._columns)
            if isinstance(known, Categorical) and row[0, number] == UNSEEN
        }
        return [
            {
                "column": reason.column,
                "value": reason.value,
                "normal_low": reason.normal_low,
                "normal_high": reason.normal_high,
                "never_seen": reason.never_seen,
            }
            for reason in self._explain(row, scores, others).top(self.reasons)[0]
        ]

    def _codes(self, record: Any, where: str) -> Float64[np.ndarray, "1 columns"]:
        if not isinstance(record, Mapping):
            raise InputError(f"{where}: expected an object of column names and numbers, got {shown(record)}")
        values = []
        for name, known in self._columns:
            if name not in record:
                raise InputError(f"{where}: column {name} is missing")
            cell = record[name]
            gap = cell is None or (isinstance(known, Categorical) and is_blank(cell))
            code = (math.nan if self._may_miss else None) if gap else _code(cell, known)
            if code is None:
                expected = "a text" if isinstance(known, Categorical) else "a finite number"
                raise InputError(f"{where}: column {name} is {shown(cell)}, expected {expected}")
            values.append(code)
        return np.array([values], np.float64)


def _code(cell: Any, known: AnyColumnMap) -> float | None:
    """The code of a cell of such a column; None if it cannot be in one."""
    if isinstance(known, Categorical) and isinstance(cell, str | bool):
        return known.place(cell)
    number = _finite_number(cell)
    return known.place(cell) if isinstance(known, Categorical) and number is not None else number


def _finite_number(value: Any) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON has whole numbers of any size
        return None
    return number if math.isfinite(number) else None
