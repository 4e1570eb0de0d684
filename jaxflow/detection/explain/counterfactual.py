"""Counterfactuals: what would have to change for a flagged row to pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxflow.detection.explain.explanation import (
    NO_OTHERS,
    OtherTexts,
    as_the_model_sees,
    categories_of,
    cell_of,
    normal_rows,
    shown,
)
from jaxflow.detection.explain.normal_range import distances
from jaxflow.detection.scoring.table_encoder import NEVER_SEEN
from jaxflow.errors import InputError
from jaxflow.whole_numbers import whole_number

HALVINGS = 20  # of the way from a row that passes to the one that does not: to a millionth
ROWS_AT_ONCE = 4096
TRIED = 50  # normal rows with contexts like that of a row


class Change(NamedTuple):
    """One value of a row that would have to be another.

    Attributes:
        column: its name.
        value: what the row has there: a number, a text, or None where it is missing.
        becomes: what it would have to be, likewise.
        distance: how far that is, after preprocessing.
    """

    column: str
    value: float | str | None
    becomes: float | str | None
    distance: float

    def __str__(self) -> str:
        """The column, its value and the other."""
        return f"{self.column} = {shown(self.value)} becomes {shown(self.becomes)}"


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """For each row one like it that is not flagged; see `Detector.counterfactual`.

    >>> detector = GaussianDetector(random_state=0).fit(np.random.default_rng(0).normal(size=(600, 2)))
    >>> found = detector.counterfactual([[0.0, 9.0]])
    >>> bool(found.scores[0] <= detector.threshold_), found.top(1)[0][0].column
    (True, 'x1')

    Attributes:
        columns: their names.
        x: the rows, as `Detector.codes` gives them.
        rows: what they would have to be, likewise; a row that is not flagged stays as it is.
        scores: the anomaly scores of those, which are at or below the threshold.
        distances: how far each value has to move, as Euclidean distance after preprocessing; 0 where it may stay, and
            `NEVER_SEEN` where it was one that no training row has.
        categories: the texts of each column of texts, whose places are in `x` and `rows`.
        others: the texts that are none of these, see `Explanation`.
    """

    columns: tuple[str, ...]
    x: Float[np.ndarray, "n columns"]
    rows: Float[np.ndarray, "n columns"]
    scores: Float[np.ndarray, "n"]
    distances: Float[np.ndarray, "n columns"]
    categories: Mapping[str, Sequence[str]]
    others: OtherTexts = field(default_factory=dict)

    @property
    def changed(self) -> Bool[np.ndarray, "n columns"]:
        """Which values would have to change."""
        return (self.rows != self.x) & ~(np.isnan(self.rows) & np.isnan(self.x))

    @property
    def changes(self) -> Float[np.ndarray, "n columns"]:
        """By how much each value would have to change; 0 where it may stay, NaN from or to none."""
        return np.where(self.changed, self.rows - self.x, 0.0)

    def top(self, count: Any = 3) -> list[tuple[Change, ...]]:
        """The values of each row that would have to change most, at most `count` of them.

        Raises:
            InputError: if `count` is no whole number of at least 1.
        """
        count = whole_number("count", count, least=1)
        order = np.argsort(-np.where(self.changed, self.distances, -1.0), axis=1, kind="stable")[:, :count]
        return [
            tuple(self._change(row, column) for column in columns if self.changed[row, column])
            for row, columns in enumerate(order.tolist())
        ]

    def records(self) -> list[dict[str, Any]]:
        """One mapping for each value that would have to change: `row` (from 0), `column`, `value`, `becomes`."""
        return [
            {
                "row": row,
                "column": self.columns[column],
                "value": self._value(row, column),
                "becomes": self._cell(self.rows[row, column], column),
            }
            for row, column in np.argwhere(self.changed).tolist()
        ]

    def _change(self, row: int, column: int) -> Change:
        becomes = self._cell(self.rows[row, column], column)
        return Change(self.columns[column], self._value(row, column), becomes, float(self.distances[row, column]))

    def _value(self, row: int, column: int) -> float | str | None:
        return self.others.get((row, column), self._cell(self.x[row, column], column))

    def _cell(self, value: float, column: int) -> float | str | None:
        return cell_of(value, self.categories.get(self.columns[column]))


def counterfactual_rows(
    detector: Any, x: Float[np.ndarray, "n columns"], others: OtherTexts = NO_OTHERS
) -> Counterfactual:
    """`Detector.counterfactual` for a matrix of codes, as `Detector.codes` gives them, and texts that have none."""
    normal = normal_rows(detector)
    passing = normal[detector.scores_of_rows(normal) <= detector.threshold_]
    if not len(passing):
        raise InputError(
            f"none of the {len(normal)} normal rows at hand has a score of at most {detector.threshold_:.6g}, the "
            "threshold: raise it"
        )
    rows = x.copy()
    flagged = np.flatnonzero(detector.scores_of_rows(x) > detector.threshold_)
    maps = detector.inputs_.encoding.maps
    stepwise = np.array([column.on_grid for column in maps]) | np.all(passing == np.round(passing), axis=0)
    for start in range(0, len(flagged), ROWS_AT_ONCE):
        part = flagged[start : start + ROWS_AT_ONCE]
        nearest = _nearest_passing(detector, x[part], passing)
        kept = _few_columns(detector, x[part], nearest)
        rows[part] = _towards(detector, x[part], kept, ~stepwise)
        # A row's score may differ in its last digit among other rows.
        failing = detector.scores_of_rows(rows[part]) > detector.threshold_
        rows[part[failing]] = nearest[failing]
    moved = _moved(detector, x, rows)
    return Counterfactual(
        detector.columns_, x, rows, detector.scores_of_rows(rows), moved, categories_of(detector), others
    )


def _moved(detector: Any, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How far the values of each column are apart after preprocessing."""
    inputs = detector.inputs_
    with np.errstate(over="ignore", invalid="ignore"):
        apart = inputs.transform(rows) - inputs.transform(x)
    apart = np.clip(np.nan_to_num(apart, nan=NEVER_SEEN), -NEVER_SEEN, NEVER_SEEN)
    squares = np.zeros(x.shape)
    for feature, column in enumerate(inputs.encoding.sources[inputs.preprocessing.kept]):
        squares[:, column] += apart[:, feature] ** 2
    return np.where(inputs.never_seen(x) & (rows != x), NEVER_SEEN, np.sqrt(squares))


def _nearest_passing(detector: Any, x: np.ndarray, passing: np.ndarray) -> np.ndarray:
    """For each row the nearest passing one by Euclidean distance after preprocessing, if possible lacking nothing.

    Where there are contexts: of the `TRIED` rows with the nearest contexts, the nearest that passes with the row's own
    context in place of its own; if there is none, the nearest of all, with another context.
    """
    (ours, our_context), (theirs, their_context) = (as_the_model_sees(detector, rows) for rows in (x, passing))
    distance = distances(ours, theirs)
    # To withhold a value is no change that makes a row pass: rows that lack what x has come after all others.
    lacking = (~np.isnan(x)).astype(np.float32) @ np.isnan(passing).T.astype(np.float32) > 0
    distance = np.where(lacking, distance + 1 + distance.max(), distance)
    found = passing[np.argmin(distance, axis=1)]
    if our_context is None or their_context is None:
        return found
    contexts = np.array([column.context for column in detector.inputs_.encoding.maps])
    alike = np.argsort(distances(our_context, their_context), axis=1, kind="stable")[:, :TRIED]
    nearer = np.argsort(np.take_along_axis(distance, alike, axis=1), axis=1, kind="stable")
    order = np.take_along_axis(alike, nearer, axis=1)
    open_rows = np.arange(len(x))
    for near in order.T:
        tried = passing[near[open_rows]]
        tried[:, contexts] = x[open_rows][:, contexts]
        good = detector.scores_of_rows(tried) <= detector.threshold_
        found[open_rows[good]] = tried[good]
        open_rows = open_rows[~good]
        if not len(open_rows):
            break
    return found


def _few_columns(detector: Any, x: np.ndarray, passing: np.ndarray) -> np.ndarray:
    """The rows x with the values of the passing rows in few columns, such that they pass.

    Which columns are the fewest is a matter of 2^columns trials; this takes 3 for each column. Columns are put in the
    order of the score that each leaves when it changes alone, the lowest first; as many of them change as it takes in
    this order, which all together pass; and from the last to the first those turn back that may.
    """
    alone = [detector.scores_of_rows(_with(x, passing, np.full(len(x), column))) for column in range(x.shape[1])]
    order = np.argsort(alone, axis=0, kind="stable")
    rows, passed = x.copy(), np.zeros(len(x), bool)
    for columns in order:
        rows[~passed] = _with(rows, passing, columns)[~passed]
        passed |= detector.scores_of_rows(rows) <= detector.threshold_
    rows[~passed] = passing[~passed]  # but for the last digit of a score they are that
    for columns in order[::-1]:
        tried = _with(rows, x, columns)
        good = detector.scores_of_rows(tried) <= detector.threshold_
        rows[good] = tried[good]
    return rows


def _with(rows: np.ndarray, others: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The rows, each with one value of the other's: the one in its entry of `columns`."""
    changed, number = rows.copy(), np.arange(len(rows))
    changed[number, columns] = others[number, columns]
    return changed


def _towards(detector: Any, x: np.ndarray, passing: np.ndarray, movable: Bool[np.ndarray, "columns"]) -> np.ndarray:
    """As far as the line from the passing rows to x can be followed, by bisection, in the movable columns."""
    step = np.where(movable & ~np.isnan(x) & ~np.isnan(passing), x - passing, 0.0)
    low, high = np.zeros((len(x), 1)), np.ones((len(x), 1))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        good = (detector.scores_of_rows(passing + middle * step) <= detector.threshold_)[:, None]
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    same = (passing == x) | (np.isnan(passing) & np.isnan(x))
    return np.where(same, x, passing + low * step)
