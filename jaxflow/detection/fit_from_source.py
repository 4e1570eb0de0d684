"""Fitting a detector to rows that need not fit into memory."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from jaxflow.data.tables.frame import Frame
from jaxflow.detection.check_parameters import require_rows
from jaxflow.detection.fit_model import ModelRows
from jaxflow.detection.fit_rows import NONE, FitRows
from jaxflow.detection.scoring.table_encoder import Inputs
from jaxflow.detection.thresholds.any_rule import ThresholdRule
from jaxflow.errors import InputError, NonFiniteLoss
from jaxflow.training.engine.batch import Batch
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


def rows_of_source(
    source: Source,
    spec: Any,
    rule: ThresholdRule,
    *,
    calibration_fraction: float,
    calibration_folds: int | None,
    validation_fraction: float,
    rng: np.random.Generator,
) -> "FitRowsOfSource":
    """Read the rows of a source that have to be in memory, and give each its part in a fit.

    Args:
        source: where the rows come from.
        spec: the model that is fitted.
        rule: the threshold rule.
        calibration_fraction: share of the rows that calibrates.
        calibration_folds: as in `AnomalyDetector`; a source has none.
        validation_fraction: share of the rows learned from that chooses the best epoch.
        rng: where the choice comes from.

    Raises:
        InputError: if model, rule or folds need all rows in memory, there are too few, or one cannot be read.
    """
    if spec.fits_itself:
        raise InputError(f"{spec.kind} fits itself, to rows in memory, not to a source")
    if rule.needs_labels:
        raise InputError(f"the threshold rule {rule.kind} needs labels, and a source has none: calibrate afterwards")
    if calibration_folds:
        raise InputError(
            f"calibration_folds = {calibration_folds}: expected None or 0, as rows of a source are held out"
        )
    require_rows(source.rows, calibration_fraction, calibration_folds, validation_fraction)
    parts = divide(source.rows, calibration_fraction, validation_fraction, rng)
    needed = np.union1d(parts.held, parts.prepare)  # those that calibrate are among them
    learned = source.rows - len(parts.held)
    return FitRowsOfSource(
        Frame(take_rows(source, needed), source.columns),
        originals(source, needed),
        "the source, counted from 0",
        count=source.rows,
        learned=learned,
        fewest=learned,
        learn=np.searchsorted(needed, parts.prepare),
        calibrate=np.searchsorted(needed, parts.calibrate),
        held_out=bool(calibration_fraction),
        folds=0,
        anomalies=NONE,
        source=source,
        left_out=parts.held,
        validate=np.searchsorted(needed, parts.validate),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class FitRowsOfSource(FitRows):
    """The rows of a fit to a source: in memory are those from which the inputs are measured, and those held out.

    Attributes:
        source: where the rows come from.
        left_out: the numbers in it of the rows that the model does not learn from, ascending.
        validate: places in `frame` of the rows that choose the best epoch.
    """

    source: Source
    left_out: Int64[np.ndarray, "n_held"]
    validate: Int64[np.ndarray, "n_validate"]

    def streamed(self, inputs, codes):
        """The rows that the model learns from, read while it does."""
        return StreamedModelRows(self.source, self.left_out, codes[self.validate], inputs)


@dataclass(frozen=True, eq=False)
class StreamedModelRows(ModelRows):
    """All rows of a source but those held out, as a model takes them.

    Attributes:
        source: where they come from.
        left_out: numbers of the rows that are held out, ascending.
        validate: codes of those that choose the best epoch.
        inputs: what becomes of the columns.
    """

    source: Source
    left_out: Int64[np.ndarray, "n_held"]
    validate: Float[np.ndarray, "n_validate columns"]
    inputs: Inputs

    def fit(self, model, options, rng):
        """Fit the model to the rows as they are read."""
        names = tuple(f"{index} after preprocessing" for index in range(self.inputs.preprocessing.dim_out))
        train, valid = Remaining(self.source, self.left_out, self._transform, names), None
        if len(self.validate):
            z, context = self.inputs.model_rows(self.validate)
            valid = Batch(z, None, context)
        try:
            return (yield from options.fit(model, train, valid, rng))
        except NonFiniteLoss as error:
            raise error.renamed(train.originals(np.array(error.rows, np.int64))) from None

    def _transform(self, values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows dim_out"]:
        return self.inputs.transform(self.inputs.encoding.codes(Frame(values, self.source.columns)))


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

    def originals(self, rows: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
        """The numbers of rows in the source; where that is itself what remains of another, in the first of all."""
        # Before the row that comes out as number i as many are left out as have at most i others before them.
        before = self.left_out - np.arange(len(self.left_out))
        return originals(self.source, rows + np.searchsorted(before, rows, side="right"))

    def where(self, row):
        """The place of the row in the source."""
        first = self.source
        while isinstance(first, Remaining):
            first = first.source
        return first.where(int(self.originals(np.array([row]))[0]))

    def identity(self):
        """Return the identity of the source, of the rows left out, and of what becomes of the others."""
        probe = self.transform(self.source.read(0)[:16])
        known = (self.left_out, np.ascontiguousarray(probe))
        return [self.source.identity(), *(hashlib.sha256(array.tobytes()).hexdigest() for array in known)]


def originals(source: Source, rows: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """The numbers of a source's rows in the user's data: in the first of all, where it is what remains of another."""
    return source.originals(rows) if isinstance(source, Remaining) else rows


def take_rows(source: Source, numbers: Int64[np.ndarray, "n"]) -> Float[np.ndarray, "n columns"]:
    """The rows of these numbers, which are ascending, in float64; only chunks that hold some of them are read."""
    rows = np.empty((len(numbers), len(source.columns)))
    bounds = np.searchsorted(numbers, np.append(source.starts, source.rows))
    for chunk in np.flatnonzero(np.diff(bounds)):
        first, last = bounds[chunk : chunk + 2]
        rows[first:last] = source.read(int(chunk))[numbers[first:last] - source.starts[chunk]]
    return rows
