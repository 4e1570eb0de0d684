"""One scale for the terms of all columns: how rare a term is among those of normal rows."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

TAIL = 0.1  # share of the normal terms beyond which they are taken to fall off exponentially


@dataclass(frozen=True, eq=False)
class TermScale:
    """Turns terms into -log of the share of normal rows whose term is as high, column by column.

    calibrated(t) = -log((1 + #{normal terms >= t}) / (n + 1)), linear between the normal terms,    for t <= start
    calibrated(t) = calibrated(start) + jump (1 - exp(-u)) + u,    u = (t - start) / excess,    for t > start

    `start` is the normal term below which 90 % lie, `excess` the mean by which the others exceed it, as if the tail
    were exponential: beyond the largest normal term the scale goes on growing with the term. `jump` takes the share
    from those that reach the start to those that exceed it, almost nothing unless many terms are equal. So calibrated
    terms never fall as the term grows, and up to the start those of normal rows are spread like standard exponential
    numbers in every column, as far as the column's terms differ.

    All terms of a model are in one unit, so how far a column's lie beyond its normal ones says something by itself.
    The scale makes less of that where normal terms scatter widely, as those of heavy-tailed columns do. It makes no
    more of it where they scatter little: no column has a smaller excess than the mean over the columns whose terms
    differ. Otherwise a column that is nearly constant, whose terms have hardly ever moved, comes first for moving a
    little when another column is odd. So beyond the start a calibrated term of v says that at most about exp(-v) of
    the normal rows have a term as high, and where terms scatter little fewer than that.

    The least excess was chosen by rows that are normal but for one changed value, which then should be named first
    (`tests/detection/explain/test_known_causes.py`), and by no labels: a tenth of the mean names it less often.

    Attributes:
        terms: of normal rows, in ascending order in each column.
        start: of each column.
        excess: of each column, at least the mean over the columns.
    """

    terms: Float[np.ndarray, "n columns"]
    start: Float[np.ndarray, "columns"]
    excess: Float[np.ndarray, "columns"]

    @classmethod
    def fit(cls, terms: Float[np.ndarray, "n columns"]) -> "TermScale":
        """The scale of the terms of normal rows; infinite ones count as the largest finite one of their column."""
        finite = np.isfinite(terms)
        largest = np.where(finite, terms, -np.inf).max(axis=0)
        ordered = np.sort(np.where(finite, terms, np.where(np.isfinite(largest), largest, 0.0)), axis=0)
        start = ordered[int(np.ceil((1 - TAIL) * len(ordered))) - 1]
        beyond = ordered > start
        excess = np.sum(np.where(beyond, ordered - start, 0.0), axis=0) / np.maximum(beyond.sum(axis=0), 1)
        differ = beyond.any(axis=0)  # those that are not judged do not, nor do terms without a tail
        return cls(ordered, start, np.maximum(excess, excess[differ].mean() if differ.any() else 1.0))

    @cached_property
    def _curves(self) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """For each column the normal terms up to its start, without repetitions; their values; and the jump."""
        curves = []
        for normal, start in zip(self.terms.T, self.start, strict=True):
            reached, below = np.unique(normal[normal <= start], return_index=True)
            levels = -np.log((1 + len(normal) - below) / (len(normal) + 1))
            jump = -np.log((1 + np.sum(normal > start)) / (len(normal) + 1)) - levels[-1]
            curves.append((reached, levels, float(jump)))
        return curves

    def calibrated(self, terms: Float[np.ndarray, "n_terms columns"]) -> Float[np.ndarray, "n_terms columns"]:
        """The terms on the common scale, in nats; infinite ones stay so."""
        far = np.maximum(terms - self.start, 0.0) / self.excess
        out = far.copy()
        for column, (reached, levels, jump) in enumerate(self._curves):
            out[:, column] += np.interp(terms[:, column], reached, levels) + jump * -np.expm1(-far[:, column])
        return out
