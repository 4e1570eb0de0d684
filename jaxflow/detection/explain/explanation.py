"""Why a row has its score: what each column carries of it, beside what it carries of normal rows' scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from jaxflow.data.columns.discrete_maps import UNSEEN, Categorical
from jaxflow.data.columns.unseen_texts import shown_text
from jaxflow.data.tables.frame import Frame
from jaxflow.errors import InputError
from jaxflow.models.attribution.score_terms import TermsMethod
from jaxflow.whole_numbers import whole_number

# Texts of cells that are no category of the detector's, by row and number of the column.
OtherTexts: TypeAlias = Mapping[tuple[int, int], str]

NO_OTHERS: OtherTexts = MappingProxyType({})

NORMAL_ROWS = 1000  # kept at most, of those that calibrate


class Reason(NamedTuple):
    """One column's part in a row's score.

    >>> detector = GaussianDetector(random_state=0).fit(np.random.default_rng(0).normal(size=(600, 2)))
    >>> reason = detector.explain([[0.0, 9.0]]).top(1)[0][0]
    >>> reason.column, reason.value
    ('x1', 9.0)

    Attributes:
        column: its name.
        value: what the row has there: a number, a text, or None where it is missing.
        contribution: the column's term, see `Explanation`.
        calibrated: the same on the scale on which columns compare.
        normal_low: the value that 1 % of the stored normal rows are below; of texts the most frequent one.
        normal_high: the value that 1 % of them are above; of texts the most frequent one.
        never_seen: whether it is a value that no training row has, where that alone makes a row anomalous.
        in_context: whether only those normal rows count whose context is like that of the row.
        seen: the values of a discrete column that are not, in a few words; empty if there is no saying.
    """

    column: str
    value: float | str | None
    contribution: float
    calibrated: float
    normal_low: float | str | None
    normal_high: float | str | None
    never_seen: bool
    in_context: bool = False
    seen: str = ""

    @property
    def shown(self) -> str:
        """The value as a reader would write it."""
        return shown(self.value)

    @property
    def usual(self) -> str:
        """Describe in a few words what normal rows have there."""
        if self.never_seen:
            return f"never seen; normal: {self.seen}" if self.seen else "never seen"
        normal = "normal in this context" if self.in_context else "normal"
        if self.normal_low == self.normal_high:
            return f"{normal}: {shown(self.normal_low)}"
        return f"{normal}: {shown(self.normal_low)} to {shown(self.normal_high)}"

    def __str__(self) -> str:
        """The column and what is odd about it."""
        return f"{self.column} = {self.shown} ({self.usual})"


@dataclass(frozen=True, eq=False)
class Explanation:
    """Shares of columns in the scores of some rows.

    >>> detector = GaussianDetector(random_state=0).fit(np.random.default_rng(0).normal(size=(600, 2)))
    >>> explanation = detector.explain([[0.0, 9.0]])
    >>> explanation.contributions.shape, explanation.method
    ((1, 2), 'conditional')

    Attributes:
        columns: their names.
        x: the rows, as `Detector.codes` gives them.
        scores: their anomaly scores.
        method: where the contributions come from, see `jaxflow.models.score_terms`.
        contributions: the term of each row and column, higher = more to blame; for squared errors in the squared unit
            that preprocessing gives, otherwise in nats. Of a density they are terms of the score itself, -log p of the
            data: a column's log-slope under `tails` and preprocessing is its own (no step mixes columns). So those of
            the chain rule sum to the score, conditional ones are -log p(x_i | all others), and replacements are what
            the score falls by. 0 for a column that is not judged: a context, one that is constant in the training
            rows, or one whose value the model is to fill in. A value never seen has `NEVER_SEEN`, here and on the other
            scale.
        calibrated: -log of the share of normal rows whose term for the column is as high, with an exponential tail;
            see `TermScale`. 0.7 is the median of normal rows, and at most about one in a hundred reaches 4.6. These
            compare between columns, contributions need not.
        normal_low, normal_high: the range of the middle 98 % of the stored normal rows, in each column; where there is
            a context, of the 50 of them whose context is nearest to that of the row, see `NormalRange`.
        never_seen: where a value is one that no training row has.
        categories: the texts of each column of texts, whose places are in `x`.
        in_context: the columns that are judged given a context, whose range is that of normal rows in this context.
        seen: what a `Reason` calls so, by column.
        others: the texts that are none of these, by row and number of the column, as far as they are known.
    """

    columns: tuple[str, ...]
    x: Float[np.ndarray, "n columns"]
    scores: Float[np.ndarray, "n"]
    method: TermsMethod
    contributions: Float[np.ndarray, "n columns"]
    calibrated: Float[np.ndarray, "n columns"]
    normal_low: Float[np.ndarray, "n columns"]
    normal_high: Float[np.ndarray, "n columns"]
    never_seen: Bool[np.ndarray, "n columns"]
    categories: Mapping[str, Sequence[str]]
    in_context: Bool[np.ndarray, "columns"]
    seen: Mapping[str, str] = field(default_factory=dict)
    others: OtherTexts = field(default_factory=dict)

    def top(self, count: Any = 3) -> list[tuple[Reason, ...]]:
        """The columns that carry most of each row's score, by their calibrated terms, at most `count` of them.

        Raises:
            InputError: if `count` is no whole number of at least 1.
        """
        count = whole_number("count", count, least=1)
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
        return Reason(
            self.columns[column],
            self.others.get((row, column), self._cell(self.x[row, column], column)),
            float(self.contributions[row, column]),
            float(self.calibrated[row, column]),
            self._cell(self.normal_low[row, column], column),
            self._cell(self.normal_high[row, column], column),
            bool(self.never_seen[row, column]),
            bool(self.in_context[column]),
            self.seen.get(self.columns[column], ""),
        )

    def _cell(self, value: float, column: int) -> float | str | None:
        return cell_of(value, self.categories.get(self.columns[column]))


def categories_of(detector: Any) -> dict[str, Sequence[str]]:
    """The texts of each categorical column, by the name that the detector has for it."""
    named = zip(detector.columns_, detector.inputs_.encoding.maps, strict=True)
    return {name: column.known for name, column in named if isinstance(column, Categorical)}


def cell_of(value: float, texts: Sequence[str] | None) -> float | str | None:
    """A code as a reader would have it: a number, one of the texts, or None where there is none."""
    if np.isnan(value):
        return None
    if texts is None:
        return float(value)
    return "another text" if value == UNSEEN else texts[int(value)]


def shown(value: float | str | None) -> str:
    """A cell as a reader would write it."""
    if value is None:
        return "missing"
    return value if isinstance(value, str) else f"{value:.4g}"


def other_texts(frame: Frame, x: Float[np.ndarray, "n columns"], categories: Mapping[str, Sequence[str]]) -> OtherTexts:
    """The texts of the cells of a table whose codes say that they are of no category."""
    return {
        (row, column): shown_text(frame.text(row, name))
        for column, name in enumerate(frame.names)
        if name in categories
        for row in np.flatnonzero(x[:, column] == UNSEEN).tolist()
    }


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
    """The rows after encoding and preprocessing, and their context."""
    with np.errstate(over="ignore"):  # infinitely far is as far as it need be
        return detector.inputs_.model_rows(x)
