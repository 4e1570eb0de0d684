"""Ranges of normal rows in each column: of all of them, or of those whose context is like that of a row."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

NORMAL_RANGE = (0.01, 0.99)
ALIKE = 50  # normal rows with the nearest contexts, in whose range a value is normal
ROWS_AT_ONCE = 1024
FARTHEST = 1e100  # a distance whose square float64 can still hold


class NormalRange:
    """The middle 98 % of the values that normal rows have, or their most frequent text.

    Where there is a context, of the 50 normal rows with the nearest contexts, by Euclidean distance once each context
    feature has been divided by its standard deviation among all normal rows. Values that are missing are left out.

    Args:
        normal: the normal rows, as codes.
        textual: which columns hold texts.
        given: which columns are the context of the others; for them all normal rows count.
        context: the context of the normal rows as the model is given it; None if there is none.
    """

    def __init__(
        self,
        normal: Float[np.ndarray, "n columns"],
        textual: Sequence[bool],
        given: Sequence[bool],
        context: Float[np.ndarray, "n context_dim"] | None,
    ):
        self.normal = normal
        self.textual = np.array(textual)
        self.context = context
        self._given = np.array(given)
        self._everywhere = self._range(normal[None])
        spread = np.ones(1) if context is None else context.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1.0)

    def __call__(
        self, n: int, context: Float[np.ndarray, "n context_dim"] | None
    ) -> tuple[Float[np.ndarray, "n columns"], Float[np.ndarray, "n columns"]]:
        """Lowest and highest usual value, or twice the most frequent text, of each column for each of n rows."""
        low, high = (np.tile(ends, (n, 1)) for ends in self._everywhere)
        if self.context is None or context is None:
            return low, high
        for start in range(0, n, ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            distance = distances(context[part] / self._scale, self.context / self._scale)
            alike = np.argsort(distance, axis=1, kind="stable")[:, :ALIKE]
            for ends, found in zip((low, high), self._range(self.normal[alike]), strict=True):
                ends[part] = np.where(self._given, ends[part], found)
        return low, high

    def _range(self, rows: Float[np.ndarray, "n alike columns"]) -> tuple[np.ndarray, np.ndarray]:
        """The ends of each column in each group of rows; NaN where all values are missing."""
        ordered = np.sort(rows, axis=1)  # missing values come last
        known = np.sum(~np.isnan(rows), axis=1)
        low, high = (
            np.take_along_axis(ordered, np.maximum(np.ceil(level * known).astype(int) - 1, 0)[:, None], axis=1)[:, 0]
            for level in NORMAL_RANGE
        )
        for column in np.flatnonzero(self.textual):
            places = np.unique(rows[:, :, column][~np.isnan(rows[:, :, column])])
            if places.size:
                counts = np.stack([np.sum(rows[:, :, column] == place, axis=1) for place in places])
                most = np.where(known[:, column] > 0, places[np.argmax(counts, axis=0)], np.nan)
                low[:, column] = high[:, column] = most
        return low, high


def distances(ours: Float[np.ndarray, "n dim"], theirs: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, "n m"]:
    """Euclidean distances between rows; those farther out than can be squared are drawn in."""
    return cdist(np.clip(ours, -FARTHEST, FARTHEST), np.clip(theirs, -FARTHEST, FARTHEST))
