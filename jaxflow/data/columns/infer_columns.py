"""The map of a column from its training values, its kind inferred where nothing is said about it.

What a discrete column cannot hold is an anomaly by itself (`ColumnMap.unseen`), so it has to be sure what that is. A
column said to be discrete holds what lies on the grid of its training values. One that only looks so may be another: by
chance, or as most values were rounded, all its training values may lie on a grid, or on few levels, on which others do
not. The chance that the next row has what none of n rows had is about the share of them that alone have what they have
(Good 1953, "The population frequencies of species"). So a grid that was inferred counts if no row alone is responsible
for it, and if there are `SURE_ROWS` rows for each value but the most frequent one; levels if each has so many rows.
Without that up to 5 % of the unseen normal rows of a set of ADBench would have a value off its grid, with it 0.1 %.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from jaxflow.data.columns.categories import Spelling, as_number, category_text, number_text
from jaxflow.data.columns.cells import MOST_EXACT
from jaxflow.data.columns.columns_spec import ColumnSpec, ColumnsSpec, Kind
from jaxflow.data.columns.discrete_maps import Categorical, Discrete, Levels, Steps
from jaxflow.data.columns.grid import Grid, find_grid
from jaxflow.data.columns.numeric_maps import AnyColumnMap, Arcsinh, Circular, Continuous, RankGaussian
from jaxflow.data.columns.tails import fit_arcsinh, fit_rank_gaussian, fit_tails
from jaxflow.errors import InputError

MOST_CATEGORIES = 256  # more are names of individuals rather than kinds
MOST_LEVELS = 32  # different numbers, at unequal distances, that count as levels
ROWS_PER_LEVEL = 10  # if each is there so often on average
SURE_ROWS = 10  # for each value, or level: then others are none of the column's


def fit_column(
    name: str,
    values: Float64[np.ndarray, "n"],
    texts: Sequence[str] | None,
    exact: Shaped[np.ndarray, "n"] | None,
    wanted: ColumnSpec,
    spec: ColumnsSpec,
    options: dict[str, Any],
) -> AnyColumnMap:
    """The map of one column, inferred from the training rows where the spec does not say what it is.

    Args:
        name: the column.
        values: those of the training rows, none missing.
        texts: the texts whose places they are; None if they are numbers.
        exact: the numbers without rounding, where float64 does not hold them.
        wanted: what the spec says of this column.
        spec: what it says of all.
        options: of the map, whatever it is.

    Raises:
        InputError: if the values are not what the spec says, are not finite, or are too many categories.
    """
    kind: Kind | None = wanted.kind
    if texts is not None and kind in (None, "categorical"):
        cells = [category_text(text) for text in texts]
        return _fit_categorical(name, [cells[int(place)] for place in values], "text", options)
    if texts is not None:
        values = numbers_of(values, texts, name)
    if not np.isfinite(values).all():
        raise InputError(f"column {name}: a training value is infinite, expected finite numbers")
    if kind == "categorical":
        numbers = values if texts is not None or exact is None else exact
        return _fit_categorical(name, [number_text(value) for value in numbers.tolist()], "number", options)
    common: dict[str, Any] = {"name": name, "fill": float(np.median(values)), **options}
    if kind == "circular":
        assert wanted.period is not None
        return Circular(period=wanted.period, origin=_emptiest(values, wanted.period), **common)
    distinct = np.unique(values)
    if kind == "discrete" or (kind is None and wanted.tails is None and spec.infer):
        # A value that there is: halfway between two, the median would lie on no grid.
        there: dict[str, Any] = common | {"fill": float(np.quantile(values, 0.5, method="lower"))}
        if (grid := find_grid(values)) is not None:
            steps = Steps(low=grid.origin, high=float(distinct[-1]), places=grid.place(distinct[-1]) + 1)
            return Discrete(steps=steps, closed=kind is not None or _is_sure(values, grid), **there)
        if 1 < len(distinct) <= MOST_LEVELS and (kind or len(values) >= ROWS_PER_LEVEL * len(distinct)):
            fewest = np.unique(values, return_counts=True)[1].min()
            closed = bool(fewest >= (2 if kind else SURE_ROWS))
            return Levels(levels=tuple(distinct), closed=closed, **there)
        if kind == "discrete" and len(distinct) > 1:
            raise InputError(
                f"column {name} is to be discrete, but its {len(distinct)} values lie on no regular grid of few places"
            )
    common["whole"] = _whole_range(distinct)
    tails = spec.tails if wanted.tails is None else wanted.tails
    if len(distinct) < 2 or tails == "none":
        return Continuous(**common)
    fit = {"arcsinh": fit_arcsinh, "rank_gaussian": fit_rank_gaussian, "auto": fit_tails}[tails]
    return fit(values, **common)


def refit_column(column: AnyColumnMap, values: Float64[np.ndarray, "n"]) -> AnyColumnMap:
    """The map of the same kind with what it measures taken from some of the rows that it was fitted to.

    Which values there are, a grid, levels or categories, is known from all of them and stays, whether or not some rows
    have them.

    Args:
        column: the map.
        values: codes of the rows, none missing; where there are none the map stays as it is.
    """
    if not values.size or isinstance(column, Discrete | Levels | Categorical):
        return column
    measured = column.model_copy(update={"fill": float(np.median(values))})
    common = measured.model_dump(include={"name", "fill", "indicator", "context", "whole"})
    match measured:
        case Arcsinh():
            return fit_arcsinh(values, **common)
        case RankGaussian():
            return fit_rank_gaussian(values, **common) if values.min() < values.max() else column
        case Circular():
            return measured.model_copy(update={"origin": _emptiest(values, measured.period)})
    return measured


def _whole_range(distinct: Float64[np.ndarray, "n"]) -> tuple[float, float] | None:
    """The least and the greatest of different values, if there are two and all of them are whole numbers."""
    least, greatest = float(distinct[0]), float(distinct[-1])
    # Beyond that size all numbers are whole.
    if least == greatest or max(-least, greatest) >= MOST_EXACT or not (distinct == np.round(distinct)).all():
        return None
    return least, greatest


def _is_sure(values: Float64[np.ndarray, "n"], grid: Grid) -> bool:
    """Whether a grid is more than the training rows' alone."""
    distinct, counts = np.unique(values, return_counts=True)
    # What most rows have says nothing about how far apart the others may be.
    if len(values) - counts.max() < SURE_ROWS * (len(distinct) - 1):
        return False
    shared = find_grid(distinct[counts > 1])
    return shared is not None and math.isclose(shared.step, grid.step, rel_tol=1e-6)


def _fit_categorical(name: str, cells: list[str], spelling: Spelling, options: dict[str, Any]) -> Categorical:
    categories, counts = np.unique(np.array(cells, dtype=object), return_counts=True)
    if len(categories) > MOST_CATEGORIES:
        raise InputError(
            f"column {name} has {len(categories):,} categories in {len(cells):,} training rows, expected at most "
            f"{MOST_CATEGORIES}: leave it out, or say of what kind it is"
        )
    texts = tuple(str(text) for text in categories)
    return Categorical(name=name, fill=float(np.argmax(counts)), categories=texts, spelling=spelling, **options)


def _emptiest(values: Float64[np.ndarray, "n"], period: float) -> float:
    """The middle of the longest stretch of the circle without a training value."""
    places = np.unique(np.mod(values, period))
    gaps = np.diff(np.append(places, places[0] + period))
    widest = int(np.argmax(gaps))
    return float(np.mod(places[widest] + gaps[widest] / 2, period))


def numbers_of(values: np.ndarray, texts: Sequence[str], name: str) -> np.ndarray:
    """The numbers that texts stand for.

    Raises:
        InputError: if one of them stands for none.
    """
    numbers = [as_number(text) for text in texts]
    for place, number in enumerate(numbers):
        if number is None and (values == place).any():
            row = int(np.argmax(values == place)) + 1
            raise InputError(f"row {row}, column {name} is {texts[place]!r:.60}, expected a finite number")
    table = np.array([np.nan if number is None else number for number in numbers])
    return np.where(np.isnan(values), np.nan, table[np.nan_to_num(values, nan=0.0).astype(np.int64)])
