"""A table as the columns of numbers that models see: the fitted maps of all its columns together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from jaxflow.data.arrays import AnyArray
from jaxflow.data.columns.columns_spec import ColumnSpec, ColumnsSpec, Missing
from jaxflow.data.columns.discrete_maps import UNSEEN, Categorical, Discrete
from jaxflow.data.columns.grid import Grid
from jaxflow.data.columns.infer_columns import fit_column, numbers_of, refit_column
from jaxflow.data.columns.numeric_maps import AnyColumnMap, Continuous
from jaxflow.data.tables.frame import Frame
from jaxflow.errors import InputError


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
            texts, exact = frame.categories.get(name), frame.exact.get(name)
            exact = None if exact is None else exact[~gap]
            maps.append(fit_column(name, values, texts, exact, wanted, spec, options))
        return cls(tuple(maps), spec.missing)

    def refitted(self, x: Float64[np.ndarray, "n columns"]) -> "Encoding":
        """The encoding with what it measures taken from codes of some of the rows that it was fitted to.

        Columns stay what they are taken for, with their grids, levels and categories; see `refit_column`.
        """
        maps = [refit_column(column, x[~np.isnan(x[:, index]), index]) for index, column in enumerate(self.maps)]
        return Encoding(tuple(maps), self.missing)

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
                x[:, index] = _places(x[:, index], found, frame.exact.get(name), column)
            else:
                x[:, index] = numbers_of(x[:, index], found or (), name)
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
            # What overflows is infinitely far.
            with np.errstate(over="ignore", invalid="ignore"):
                parts.append(column.expand(values))
            if column.indicator:
                parts.append(gap[:, None].astype(np.float64))
        return x.__array_namespace__().concatenate(parts, axis=1)

    def gaps(self, x: Float64[np.ndarray, "n columns"]) -> Bool[np.ndarray, "n dim"]:
        """Where what comes out of `expand` stands in for a value that is missing."""
        return np.isnan(x)[:, self.sources]

    @cached_property
    def has_slopes(self) -> bool:
        """Whether the slope of some column differs from value to value."""
        return not all(type(column).log_slopes is Continuous.log_slopes for column in self.maps)

    def log_slopes(self, x: Float64[AnyArray, "n columns"]) -> Float64[AnyArray, "n dim"] | None:
        """log dz/dx of each column that comes out, from codes; None where all are 0.

        Also 0 at a gap that the model is to fill, which says itself what it expects there.
        """
        if not self.has_slopes:
            return None
        xp = x.__array_namespace__()
        filled = (self._filled(x, index) for index in range(len(self.maps)))
        with np.errstate(over="ignore", invalid="ignore"):
            slopes = xp.stack([column.log_slopes(values) for column, values, _ in filled], axis=1)
        if self.missing == "model":
            slopes = xp.where(xp.isnan(x), 0.0, slopes)
        # Where a column of numbers comes with an indicator, that has none.
        first = np.diff(self.sources, prepend=-1) != 0
        return xp.where(first, slopes[:, self.sources], 0.0)

    def unseen(self, x: Float64[AnyArray, "n columns"]) -> Bool[AnyArray, "n columns"]:
        """Where there is what no training row has: a category, or in a column that is judged a number off its grid.

        And where a value is missing for the first time, unless the model is to say what it expects there. That it
        cannot say of a context, in whose light all else is judged.
        """
        xp = x.__array_namespace__()
        gaps = xp.isnan(x) & self._always_there
        stepped, grid, farthest, others, order = self._bounded
        if not len(stepped) + len(others):
            return gaps
        # All grids at once: a stream asks for a row at a time.
        parts = [xp.zeros_like(gaps[:, :1]), grid.off(x[:, stepped], farthest)]
        parts += [self.maps[index].unseen(x[:, index])[:, None] for index in others]
        return gaps | xp.concatenate(parts, axis=1)[:, order]

    @cached_property
    def _always_there(self) -> Bool[np.ndarray, "columns"]:
        """In which columns a value that is missing is one never seen."""
        judged = [column.context or self.missing == "median" for column in self.maps]
        return np.array([not c.indicator and there for c, there in zip(self.maps, judged, strict=True)], bool)

    @cached_property
    def _bounded(self) -> tuple[np.ndarray, Grid, np.ndarray, list[int], np.ndarray]:
        """The judged columns on steps, with their grids and farthest values; others that are bounded; where all are.

        The last says for each column its place among one that is bounded by nothing, those on steps and the others.
        """
        # A context that is a number may be another than all before; of another category nothing is known.
        bounded = [
            index
            for index, column in enumerate(self.maps)
            if column.is_bounded and (isinstance(column, Categorical) or not column.context)
        ]
        known = ((index, self.maps[index]) for index in bounded)
        steps = {index: column.steps for index, column in known if isinstance(column, Discrete) and column.steps}
        others = [index for index in bounded if index not in steps]
        grids = np.array([steps[index].grid for index in steps]).reshape(-1, 2)
        order = np.zeros(len(self.maps), np.int64)
        order[[*steps, *others]] = 1 + np.arange(len(bounded))
        farthest = np.array([steps[index].farthest for index in steps])
        return np.array([*steps], np.int64), Grid(grids[:, 0], grids[:, 1]), farthest, others, order

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

    def nearest(self, x: Float64[np.ndarray, "n columns"]) -> Float64[np.ndarray, "n columns"]:
        """For draws of a density, as codes, the nearest codes that the columns can hold; see `ColumnMap.nearest`."""
        return np.stack([column.nearest(x[:, index]) for index, column in enumerate(self.maps)], axis=1)

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


def _places(
    values: Float64[np.ndarray, "n"],
    found: Sequence[str] | None,
    exact: Shaped[np.ndarray, "n"] | None,
    column: Categorical,
) -> Float64[np.ndarray, "n"]:
    """Places among the fitted categories, from places among those that were found, or from numbers."""
    gap = np.isnan(values)
    if found is None:
        cells, places = np.unique((values if exact is None else exact)[~gap], return_inverse=True)
        cells = cells.tolist()
    else:
        cells, places = found, values[~gap].astype(np.int64)
    table = np.array([column.place(cell) for cell in cells] + [UNSEEN])  # the last for those found nowhere
    coded = np.full(len(values), np.nan)
    coded[~gap] = table[places]
    return coded


def missing_value(row: int, name: str) -> InputError:
    """The error for a missing value; `row` is counted from 0."""
    return InputError(
        f"row {row + 1}, column {name} is missing, expected a value other than NaN or null (columns.missing = median "
        "or model allows that)"
    )
