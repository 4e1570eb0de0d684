"""Maps of columns of few values: numbers on a grid, levels, categories."""

import math
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field, field_validator, model_validator

from jaxflow.config.spec import Spec
from jaxflow.data.arrays import AnyArray
from jaxflow.data.columns.categories import UNSEEN, Categories, Spelling
from jaxflow.data.columns.column_map import ColumnMap, required_ascending
from jaxflow.data.columns.grid import Grid, rounding

MOST_NAMED = 5  # levels that are written one by one


class Steps(Spec):
    """Numbers at equal distances, from the smallest to the largest training value.

    Attributes:
        low: the first.
        high: the last.
        places: how many there are.
    """

    low: float
    high: float
    places: int = Field(ge=2, le=1 << 53)

    @field_validator("high")
    @classmethod
    def _above_low(cls, high: float, info: Any) -> float:
        required_ascending((info.data.get("low", -np.inf), high))
        return high

    @property
    def grid(self) -> Grid:
        """Return the grid of the column's values, without ends."""
        return Grid(self.low, (self.high - self.low) / (self.places - 1))

    @property
    def farthest(self) -> float:
        """The largest of their absolute values."""
        return max(abs(self.low), abs(self.high))

    def nearest(self, values: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """The nearest of the numbers, as they would be written: 0.3 and not 0.1 + 0.2."""
        low, step = self.grid
        snapped = low + step * np.clip(np.round((values - low) / step), 0, self.places - 1)
        # As decimals only if low, high and step are such, up to the rounding of float64.
        marks, digits = np.array([self.low, self.high, step]), _digits(self.farthest)
        decimal = (np.abs(np.round(marks, digits) - marks) <= 4 * np.finfo(np.float64).eps * self.farthest).all()
        return np.round(snapped, digits) if decimal else np.minimum(snapped, self.high)

    def describe(self) -> str:
        """In a few words."""
        if self.places == 2:
            return f"{self.low:.4g} or {self.high:.4g}"
        return f"{self.low:.4g} to {self.high:.4g} in steps of {self.grid.step:.4g}"


class Discrete(ColumnMap):
    """Numbers on a grid, as they are.

    A value between the places of the grid is of a kind that was never seen: half a flag, or a count of 4.5. One beyond
    the places that the training rows reach is not; it is for the model to say how far that is.

    Attributes:
        steps: the grid of the training rows; None where it is not known.
        closed: whether any number off the grid is of a kind that was never seen; of few rows nobody can be sure.
    """

    kind: Literal["discrete"] = "discrete"
    steps: Steps | None = None
    closed: bool = True

    @property
    def on_grid(self):
        """Yes."""
        return True

    @property
    def is_identity(self):
        """Yes."""
        return True

    @property
    def is_bounded(self):
        """If the grid is known for sure."""
        return self.steps is not None and self.closed

    def nearest(self, values):
        """The nearest place of the grid."""
        return values if self.steps is None else self.steps.nearest(values)

    @property
    def usual(self):
        """The first and the last place and their distance."""
        return self.steps.describe() if self.steps is not None and self.closed else ""

    def unseen(self, values):
        """Where values are off the grid, by more than the rounding of float32."""
        if self.steps is None or not self.closed:
            return super().unseen(values)
        return self.steps.grid.off(values, self.steps.farthest)

    def describe(self):
        """See `ColumnMap.describe`."""
        return "discrete"


class Levels(ColumnMap):
    """Few numbers at unequal distances, replaced by their places 0, 1, 2, ...; straight lines between and beyond.

    Attributes:
        levels: the numbers.
        closed: whether any other number is of a kind that was never seen.
    """

    kind: Literal["levels"] = "levels"
    levels: tuple[float, ...] = Field(min_length=2)
    closed: bool = False

    @field_validator("levels")
    @classmethod
    def _ascending(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        return required_ascending(levels)

    @property
    def on_grid(self):
        """Yes: the places are."""
        return True

    def expand(self, values):
        """The places."""
        return _piecewise(values, np.array(self.levels), np.arange(len(self.levels), dtype=np.float64))[:, None]

    def invert(self, z):
        """The levels."""
        return _piecewise(z[:, 0], np.arange(len(self.levels), dtype=np.float64), np.array(self.levels))

    def nearest(self, values):
        """The nearest level."""
        levels = np.array(self.levels)
        above = np.clip(np.searchsorted(levels, values), 1, len(levels) - 1)
        found = np.where(values - levels[above - 1] < levels[above] - values, levels[above - 1], levels[above])
        return np.where(np.isnan(values), np.nan, found)

    @property
    def is_bounded(self):
        """If there are no other levels."""
        return self.closed

    @property
    def usual(self):
        """The levels."""
        if not self.closed:
            return ""
        if len(self.levels) > MOST_NAMED:
            return f"{len(self.levels)} levels from {self.levels[0]:.4g} to {self.levels[-1]:.4g}"
        return f"{', '.join(f'{level:.4g}' for level in self.levels[:-1])} or {self.levels[-1]:.4g}"

    def unseen(self, values):
        """Where values are none of the levels, by more than the rounding of float32."""
        if not self.closed:
            return super().unseen(values)
        xp, levels = values.__array_namespace__(), np.array(self.levels)
        above = xp.clip(xp.searchsorted(levels, values), 1, len(levels) - 1)
        far = xp.minimum(*(xp.abs(values - xp.asarray(levels)[place]) for place in (above - 1, above)))
        return far > rounding(values, max(abs(levels[0]), abs(levels[-1])))

    def describe(self):
        """See `ColumnMap.describe`."""
        return f"discrete, {len(self.levels)} unequal levels"


class Categorical(ColumnMap):
    """One column of 0 and 1 for every category but the most frequent one, which is all zeros.

    A value is the place of its category, or `UNSEEN`.

    Attributes:
        categories: their texts.
        spelling: which cells are of them, see `Categories`.
    """

    kind: Literal["categorical"] = "categorical"
    categories: tuple[str, ...] = Field(min_length=1)
    spelling: Spelling = "merged"

    @field_validator("categories")
    @classmethod
    def _different(cls, categories: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(categories)) < len(categories):
            raise ValueError("expected different categories")
        return categories

    @model_validator(mode="after")
    def _filled_by_a_category(self) -> "Categorical":
        if self.fill not in range(len(self.categories)):
            raise ValueError(f"fill = {self.fill:g}: expected the place of one of {len(self.categories)} categories")
        return self

    @property
    def width(self):
        """One less than there are categories."""
        return len(self.categories) - 1

    @property
    def on_grid(self):
        """Yes."""
        return True

    @cached_property
    def known(self) -> Categories:
        """The categories, by which cells find their places."""
        return Categories(self.categories, self.spelling)

    def place(self, cell: Any) -> float:
        """The place of a cell's category, `UNSEEN` if it has none."""
        return self.known.place(cell)

    @property
    def _shown(self) -> np.ndarray:
        return np.delete(np.arange(len(self.categories)), int(self.fill))

    def expand(self, values):
        """1 in the column of the category."""
        return (values[:, None] == self._shown).astype(np.float64)

    def invert(self, z):
        """The category whose column is largest, or the most frequent one where none reaches 1/2."""
        if not self.width:
            return np.full(len(z), self.fill)
        best = np.argmax(z, axis=1)
        return np.where(z[np.arange(len(z)), best] > 0.5, self._shown[best], self.fill).astype(np.float64)

    @property
    def is_bounded(self):
        """Yes."""
        return True

    def unseen(self, values):
        """Where the category is none of the training rows'."""
        return values == UNSEEN

    def describe(self):
        """See `ColumnMap.describe`."""
        return f"categorical, {len(self.categories)} {'category' if len(self.categories) == 1 else 'categories'}"


def _digits(farthest: float) -> int:
    """Decimal places of numbers up to `farthest` of which twelve digits are known."""
    return 12 - math.ceil(math.log10(farthest)) if farthest else 0


def _piecewise(x: AnyArray, knots: np.ndarray, values: np.ndarray) -> AnyArray:
    """Linear between the knots, and beyond them as in the last piece."""
    xp = x.__array_namespace__()
    piece = xp.clip(xp.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    start, value, slope = (xp.asarray(table)[piece] for table in (knots, values, np.diff(values) / np.diff(knots)))
    return value + slope * (x - start)
