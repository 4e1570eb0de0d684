"""A table as the columns of numbers that models see: the fitted maps of all its columns together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from jaxflow.data.arrays import AnyArray
from jaxflow.data.column_maps import (
    UNSEEN,
    AnyColumnMap,
    Categorical,
    Circular,
    Continuous,
    Discrete,
    Levels,
    fit_arcsinh,
    fit_rank_gaussian,
)
from jaxflow.data.columns import ColumnSpec, ColumnsSpec, Kind, Missing
from jaxflow.data.frame import Frame, as_number, category_text
from jaxflow.data.grid import find_grid
from jaxflow.errors import InputError

MOST_CATEGORIES = 256  # more are names of individuals rather than kinds
MOST_LEVELS = 32  # different numbers, at unequal distances, that count as levels
ROWS_PER_LEVEL = 10  # if each is there so often on average


@dataclass(frozen=True)
class Encoding:
    """How each column of a table becomes columns of numbers: first all that are judged, then the contexts.

    Between the two stands a matrix of codes, (n, columns): the table with numbers as they are, the places of
    categories instead of texts, and NaN for what is missing. From there on towards the model all methods take arrays of
    JAX as well, so that an exported program is made of the same code.

    Attributes:
        maps: one for each column of the table, in its order.
        missing: what becomes of missing values.
    """

    maps: tuple[AnyColumnMap, ...]
    missing: Missing = "refuse"

    @classmethod
    def fit(cls, frame: Frame, spec: ColumnsSpec) -> "Encoding":
        """Infer what the columns of the training rows hold, where the spec does not say it, and fit the maps.

        Raises:
            InputError: if the spec names a column that there is not, a value is missing and missing values are refused,
                a column is empty or of another kind than the spec says, or has too many categories.
        """
        try:
            spec.require_known(frame.names)
        except ValueError as error:
            raise InputError(str(error)) from None
        maps = []
        for index, name in enumerate(frame.names):
            gap = np.isnan(frame.x[:, index])
            if gap.any() and spec.missing == "refuse":
                raise missing_value(int(np.argmax(gap)), name)
            if gap.all():
                raise InputError(f"column {name} has no value in any of {len(gap)} training rows: leave it out")
            options = {
                # What a model expects of a context is not known to it, so there the median stands in its place.
                "indicator": bool(gap.any()) and (spec.missing == "median" or name in spec.context),
                "context": name in spec.context,
            }
            wanted = spec.types.get(name, ColumnSpec())
            values = frame.x[~gap, index]
            maps.append(_fitted(name, values, frame.categories.get(name), wanted, spec, options))
        return cls(tuple(maps), spec.missing)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the table."""
        return tuple(column.name for column in self.maps)

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The categories of each categorical column."""
        return {column.name: column.categories for column in self.maps if isinstance(column, Categorical)}

    @cached_property
    def _order(self) -> list[int]:
        """Columns in the order in which they come out: those that are judged, then the contexts."""
        return sorted(range(len(self.maps)), key=lambda index: self.maps[index].context)

    @cached_property
    def sources(self) -> Int64[np.ndarray, "dim"]:
        """For each column that comes out, the number of that which it stems from."""
        widths = [self.maps[index].width + self.maps[index].indicator for index in self._order]
        return np.repeat(np.array(self._order, np.int64), widths)

    @cached_property
    def on_grid(self) -> Bool[np.ndarray, "dim"]:
        """Which of the columns that come out take few values at equal distances."""
        parts = [
            [self.maps[index].on_grid] * self.maps[index].width + [True] * self.maps[index].indicator
            for index in self._order
        ]
        return np.array([part for column in parts for part in column], bool)

    @cached_property
    def in_context(self) -> Bool[np.ndarray, "dim"]:
        """Which of the columns that come out are contexts; the last ones."""
        return np.array([self.maps[source].context for source in self.sources], bool)

    @cached_property
    def is_identity(self) -> bool:
        """Whether all columns come out as they are, in their order."""
        plain = all(column.is_identity and not column.indicator for column in self.maps)
        return plain and self._order == list(range(len(self.maps)))

    def codes(self, frame: Frame) -> Float64[np.ndarray, "n columns"]:
        """The table as numbers.

        Raises:
            InputError: if a value is missing where that is refused, or infinite, or there are texts where numbers are
                wanted; it names the row, from 1, and the column.
        """
        x = frame.x
        for index, (name, column) in enumerate(zip(frame.names, self.maps, strict=True)):
            found = frame.categories.get(name)
            if found is None and not isinstance(column, Categorical):
                continue
            x = x.copy() if x is frame.x else x
            if isinstance(column, Categorical):
                x[:, index] = _places(x[:, index], found, column)
            else:
                x[:, index] = _numbers(x[:, index], found or (), name)
        if np.isinf(x).any():
            row, column = np.argwhere(np.isinf(x))[0]
            raise InputError(f"row {row + 1}, column {frame.names[column]} is {x[row, column]}, expected a number")
        if self.missing == "refuse" and np.isnan(x).any():
            row, column = np.argwhere(np.isnan(x))[0]
            raise missing_value(int(row), frame.names[column])
        return x

    def expand(self, x: Float64[AnyArray, "n columns"]) -> Float64[AnyArray, "n dim"]:
        """From codes to what a model sees; what is missing has the median, or the most frequent category."""
        if self.is_identity and isinstance(x, np.ndarray) and not np.isnan(x).any():
            return x
        parts = []
        for index in self._order:
            column, values, gap = self._filled(x, index)
            parts.append(column.expand(values))
            if column.indicator:
                parts.append(gap[:, None].astype(np.float64))
        return x.__array_namespace__().concatenate(parts, axis=1)

    def gaps(self, x: Float64[np.ndarray, "n columns"]) -> Bool[np.ndarray, "n dim"]:
        """Where what comes out of `expand` stands in for a value that is missing."""
        return np.isnan(x)[:, self.sources]

    def log_slopes(self, x: Float64[AnyArray, "n columns"]) -> Float64[AnyArray, "n dim"] | None:
        """log dz/dx of each column that comes out, from codes; None where all are 0."""
        if all(type(column).log_slopes is Continuous.log_slopes for column in self.maps):
            return None
        xp = x.__array_namespace__()
        filled = (self._filled(x, index) for index in range(len(self.maps)))
        slopes = xp.stack([column.log_slopes(values) for column, values, _ in filled], axis=1)
        # Where a column of numbers comes with an indicator, that has none.
        first = np.diff(self.sources, prepend=-1) != 0
        return xp.where(first, slopes[:, self.sources], 0.0)

    def unseen(self, x: Float64[AnyArray, "n columns"]) -> Bool[AnyArray, "n columns"]:
        """Where a column that is judged has a category that no training row has, or for the first time no value."""
        xp = x.__array_namespace__()
        known = xp.zeros_like(x[:, 0], dtype=bool)
        found = []
        for index, column in enumerate(self.maps):
            values, unseen = x[:, index], known
            if isinstance(column, Categorical) and not column.context:
                unseen = column.unseen(values)
            if self.missing == "median" and not (column.indicator or column.context):
                unseen = unseen | xp.isnan(values)
            found.append(unseen)
        return xp.stack(found).T

    def invert(self, z: Float64[np.ndarray, "n dim"]) -> Float64[np.ndarray, "n columns"]:
        """From what a model sees back to codes; NaN where a column says that the value is missing."""
        x = np.empty((len(z), len(self.maps)))
        start = 0
        for index in self._order:
            column = self.maps[index]
            x[:, index] = column.invert(z[:, start : start + column.width])
            start += column.width
            if column.indicator:
                x[z[:, start] > 0.5, index] = np.nan
                start += 1
        return x

    def describe(self) -> list[tuple[str, str]]:
        """Each column with what it is taken for."""
        rows = []
        for column in self.maps:
            notes = ["context"] * column.context + ["some missing"] * column.indicator
            rows.append((column.name, ", ".join([column.describe(), *notes])))
        return rows

    def _filled(self, x: Any, index: int) -> tuple[AnyColumnMap, Any, Any]:
        """The map of a column, its values with none missing, and where they are."""
        xp, column, values = x.__array_namespace__(), self.maps[index], x[:, index]
        gap = xp.isnan(values)
        return column, xp.where(gap, column.fill, values), gap


def _fitted(
    name: str,
    values: Float64[np.ndarray, "n"],
    texts: Sequence[str] | None,
    wanted: ColumnSpec,
    spec: ColumnsSpec,
    options: dict[str, Any],
) -> AnyColumnMap:
    """The map of one column whose values, none missing, are those of the training rows."""
    kind: Kind | None = wanted.kind
    if texts is not None and kind in (None, "categorical"):
        cells = [category_text(text) for text in texts]
        return _fit_categorical(name, [cells[int(place)] for place in values], options)
    if texts is not None:
        values = _numbers(values, texts, name)
    if not np.isfinite(values).all():
        raise InputError(f"column {name}: a training value is infinite, expected finite numbers")
    if kind == "categorical":
        return _fit_categorical(name, [category_text(value) for value in values], options)
    common: dict[str, Any] = {"name": name, "fill": float(np.median(values)), **options}
    if kind == "circular":
        assert wanted.period is not None
        return Circular(period=wanted.period, origin=_emptiest(values, wanted.period), **common)
    distinct = np.unique(values)
    if kind == "discrete" or (kind is None and wanted.tails is None and spec.infer):
        if len(distinct) > 1 and find_grid(values) is not None:
            return Discrete(**common)
        if 1 < len(distinct) <= MOST_LEVELS and (kind or len(values) >= ROWS_PER_LEVEL * len(distinct)):
            return Levels(levels=tuple(distinct), **common)
        if kind == "discrete" and len(distinct) > 1:
            raise InputError(
                f"column {name} is to be discrete, but its {len(distinct)} values lie on no regular grid of few places"
            )
    tails = spec.tails if wanted.tails is None else wanted.tails
    if len(distinct) < 2 or tails == "none":
        return Continuous(**common)
    return fit_arcsinh(values, **common) if tails == "arcsinh" else fit_rank_gaussian(values, **common)


def _fit_categorical(name: str, cells: list[str], options: dict[str, Any]) -> Categorical:
    categories, counts = np.unique(np.array(cells, dtype=object), return_counts=True)
    if len(categories) > MOST_CATEGORIES:
        raise InputError(
            f"column {name} has {len(categories):,} categories in {len(cells):,} training rows, expected at most "
            f"{MOST_CATEGORIES}: leave it out, or say of what kind it is"
        )
    texts = tuple(str(text) for text in categories)
    return Categorical(name=name, fill=float(np.argmax(counts)), categories=texts, **options)


def _emptiest(values: Float64[np.ndarray, "n"], period: float) -> float:
    """The middle of the longest stretch of the circle without a training value."""
    places = np.unique(np.mod(values, period))
    gaps = np.diff(np.append(places, places[0] + period))
    widest = int(np.argmax(gaps))
    return float(np.mod(places[widest] + gaps[widest] / 2, period))


def _places(
    values: Float64[np.ndarray, "n"], found: Sequence[str] | None, column: Categorical
) -> Float64[np.ndarray, "n"]:
    """Places among the fitted categories, from places among those that were found, or from numbers."""
    gap = np.isnan(values)
    if found is None:
        cells, places = np.unique(values[~gap], return_inverse=True)
    else:
        cells, places = found, values[~gap].astype(np.int64)
    table = np.array([column.place(cell) for cell in cells] + [UNSEEN])  # the last for those found nowhere
    coded = np.full(len(values), np.nan)
    coded[~gap] = table[places]
    return coded


def _numbers(values: np.ndarray, texts: Sequence[str], name: str) -> np.ndarray:
    """The numbers that texts stand for."""
    numbers = [as_number(text) for text in texts]
    for place, number in enumerate(numbers):
        if number is None and (values == place).any():
            row = int(np.argmax(values == place)) + 1
            raise InputError(f"row {row}, column {name} is {texts[place]!r:.60}, expected a finite number")
    table = np.array([np.nan if number is None else number for number in numbers])
    return np.where(np.isnan(values), np.nan, table[np.nan_to_num(values, nan=0.0).astype(np.int64)])


def missing_value(row: int, name: str) -> InputError:
    """The error for a missing value; `row` is counted from 0."""
    return InputError(
        f"row {row + 1}, column {name} is missing, expected a value (columns.missing = median or model allows that)"
    )
