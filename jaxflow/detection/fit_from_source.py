"""Fitting a detector to rows that need not fit into memory."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from jaxflow.training.feeding.sources import Source

# Of so many rows the share beyond a quantile is known to a hundredth of itself, where that is at least 10 %.
HELD_OUT_ROWS = 100_000
PREPROCESSING_ROWS = 200_000  # enough to know a mean to a 400th of a standard deviation


class Parts(NamedTuple):
    """Which rows of a source have which task; numbers, ascending.

    Attributes:
        calibrate: rows that calibrate the threshold.
        validate: rows that choose the best epoch.
        held: both together, which the model never learns from.
        prepare: rows from which preprocessing learns; others than those.
    """

    calibrate: Int64[np.ndarray, "n_calibrate"]
    validate: Int64[np.ndarray, "n_validate"]
    held: Int64[np.ndarray, "n_held"]
    prepare: Int64[np.ndarray, "n_prepare"]


def divide(n: int, calibration_fraction: float, validation_fraction: float, rng: np.random.Generator) -> Parts:
    """Divide the rows 0 to n - 1 of a source at random.

    The fractions are those of a fit in memory, but no part has more than `HELD_OUT_ROWS` rows: more would not make it
    better, and they have to fit into memory.
    """

    def count(fraction: float) -> int:
        return min(HELD_OUT_ROWS, max(1, round(fraction * n))) if fraction else 0

    calibrating = count(calibration_fraction)
    validating = count((1 - calibration_fraction) * validation_fraction)
    # As in memory, every task has a row at least, learning too.
    calibrating = min(calibrating, n - 1 - bool(validating))
    validating = min(validating, n - 1 - calibrating)
    held = np.sort(rng.choice(n, calibrating + validating, replace=False))
    calibrates = np.zeros(len(held), bool)
    calibrates[rng.choice(len(held), calibrating, replace=False)] = True
    others = np.sort(rng.choice(n, min(n, PREPROCESSING_ROWS + len(held)), replace=False))
    prepare = np.setdiff1d(others, held, assume_unique=True)
    # Without rows of their own, those of the training calibrate.
    calibrate = held[calibrates] if calibrating else prepare[:HELD_OUT_ROWS]
    return Parts(calibrate, held[~calibrates], held, prepare)


class Remaining(Source):
    """A source without some of its rows, and with its columns changed by a function of whole rows.

    Args:
        source: where the rows come from.
        left_out: numbers of the rows that are left out, ascending.
        transform: what becomes of the others.
        columns: the names of what comes out.
    """

    def __init__(
        self,
        source: Source,
        left_out: Int64[np.ndarray, "n"],
        transform: Callable[[Any], Any],
        columns: tuple[str, ...],
    ):
        self.source, self.left_out, self.transform = source, left_out, transform
        self.columns, self.buffer_rows = columns, source.buffer_rows
        self._bounds = np.searchsorted(left_out, np.append(source.starts, source.rows))
        self.lengths = source.lengths - np.diff(self._bounds)

    def _read(self, chunk):
        values = self.source.read(chunk)
        first, last = self._bounds[chunk : chunk + 2]
        values = np.delete(values, self.left_out[first:last] - self.source.starts[chunk], axis=0)
        return self.transform(values)

    def original(self, row: int) -> int:
        """The number of a row in the source; where that is itself what remains of another, in the first of all."""
        chunk = self.chunk_of(row)
        first, last = self._bounds[chunk : chunk + 2]
        start = self.source.starts[chunk]
        numbers = np.delete(np.arange(self.source.lengths[chunk]), self.left_out[first:last] - start)
        number = int(start + numbers[row - self.starts[chunk]])
        return self.source.original(number) if isinstance(self.source, Remaining) else number

    def where(self, row):
        """The place of the row in the source."""
        first = self.source
        while isinstance(first, Remaining):
            first = first.source
        return first.where(self.original(row))

    def identity(self):
        """Return the identity of the source, of the rows left out, and of what becomes of the others."""
        probe = self.transform(self.source.read(0)[:16])
        known = (self.left_out, np.ascontiguousarray(probe))
        return [self.source.identity(), *(hashlib.sha256(array.tobytes()).hexdigest() for array in known)]


def take_rows(source: Source, numbers: Int64[np.ndarray, "n"]) -> Float[np.ndarray, "n columns"]:
    """The rows of these numbers, which are ascending, in float64; only chunks that hold some of them are read."""
    rows = np.empty((len(numbers), len(source.columns)))
    bounds = np.searchsorted(numbers, np.append(source.starts, source.rows))
    for chunk in np.flatnonzero(np.diff(bounds)):
        first, last = bounds[chunk : chunk + 2]
        rows[first:last] = source.read(int(chunk))[numbers[first:last] - source.starts[chunk]]
    return rows
