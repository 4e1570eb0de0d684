"""What is made of the values of one column: a fitted map from its cells to columns of numbers for a model.

The maps towards the model take arrays of numpy or, in a program that is to be exported, of JAX in double precision.
"""

import math
from abc import abstractmethod
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import Field, field_validator
from scipy.special import ndtri

from jaxflow.config.spec import Spec
from jaxflow.data.arrays import AnyArray
from jaxflow.data.frame import category_text

UNSEEN = -1.0  # the place of a category that the training rows do not have
MOST_KNOTS = 128  # of a rank-Gaussian map, which has the root of as many as there are rows


class ColumnMap(Spec):
    """A fitted map of one column; its constants are plain numbers, so that it is saved as it is.

    Attributes:
        name: the column.
        fill: what stands in for a missing value: the median, or the most frequent category.
        indicator: whether a further column says where values are missing.
        context: whether the column is a context.
    """

    name: str
    fill: float
    indicator: bool = False
    context: bool = False

    @property
    def width(self) -> int:
        """Number of columns that come out, the indicator not counted."""
        return 1

    @property
    def on_grid(self) -> bool:
        """Whether what comes out takes few values at equal distances."""
        return False

    @property
    def is_identity(self) -> bool:
        """Whether values come out as they are."""
        return False

    def expand(self, values: Float64[AnyArray, "n"]) -> Float64[AnyArray, "n width"]:
        """What the model sees; `values` are finite."""
        return values[:, None]

    def log_slopes(self, values: Float64[AnyArray, "n"]) -> Float64[AnyArray, "n"]:
        """log dz/dx; 0 where a column of probabilities or several columns come out."""
        return values.__array_namespace__().zeros_like(values)

    def invert(self, z: Float64[np.ndarray, "n width"]) -> Float64[np.ndarray, "n"]:
        """Back to values."""
        return z[:, 0]

    def unseen(self, values: Float64[AnyArray, "n"]) -> Bool[AnyArray, "n"]:
        """Where values are of a kind that the training rows do not have."""
        return values.__array_namespace__().zeros_like(values, dtype=bool)

    @abstractmethod
    def describe(self) -> str:
        """What the column is taken for, in a few words."""


class Continuous(ColumnMap):
    """Numbers as they are."""

    kind: Literal["continuous"] = "continuous"

    @property
    def is_identity(self):
        """Yes."""
        return True

    def describe(self):
        """See `ColumnMap.describe`."""
        return "continuous"


class Discrete(ColumnMap):
    """Numbers on a grid, as they are."""

    kind: Literal["discrete"] = "discrete"

    @property
    def on_grid(self):
        """Yes."""
        return True

    @property
    def is_identity(self):
        """Yes."""
        return True

    def describe(self):
        """See `ColumnMap.describe`."""
        return "discrete"


class Levels(ColumnMap):
    """Few numbers at unequal distances, replaced by their places 0, 1, 2, ...; straight lines between and beyond."""

    kind: Literal["levels"] = "levels"
    levels: tuple[float, ...] = Field(min_length=2)

    @field_validator("levels")
    @classmethod
    def _ascending(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        return _required_ascending(levels)

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

    def describe(self):
        """See `ColumnMap.describe`."""
        return f"discrete, {len(self.levels)} unequal levels"


class Arcsinh(ColumnMap):
    """z = arcsinh((x - centre) / scale): linear near the centre, logarithmic far out (Johnson 1949, system S_U)."""

    kind: Literal["arcsinh"] = "arcsinh"
    centre: float
    scale: float = Field(gt=0)

    def expand(self, values):
        """The formula above."""
        return values.__array_namespace__().arcsinh((values - self.centre) / self.scale)[:, None]

    def log_slopes(self, values):
        """-log(scale) - 1/2 log(1 + ((x - centre) / scale)^2)."""
        xp = values.__array_namespace__()
        return -np.log(self.scale) - xp.log(xp.hypot(1.0, (values - self.centre) / self.scale))

    def invert(self, z):
        """centre + scale sinh(z)."""
        with np.errstate(over="ignore"):
            return self.centre + self.scale * np.sinh(z[:, 0])

    def describe(self):
        """See `ColumnMap.describe`."""
        return "continuous, arcsinh"


class RankGaussian(ColumnMap):
    """z = the normal quantile of the rank among the training values, linear between `knots` and beyond them.

    The rank-based inverse normal transform (van der Waerden 1952), made continuous and strictly increasing. Beyond the
    ends it goes on as steeply as over the outermost 5 % of the training values.
    """

    kind: Literal["rank_gaussian"] = "rank_gaussian"
    knots: tuple[float, ...] = Field(min_length=2)
    scores: tuple[float, ...] = Field(min_length=2)
    slopes: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]

    @field_validator("knots", "scores")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return _required_ascending(values)

    @field_validator("scores")
    @classmethod
    def _one_each(cls, scores: tuple[float, ...], info) -> tuple[float, ...]:
        if len(scores) != len(info.data.get("knots", scores)):
            raise ValueError(f"{len(scores)} scores for {len(info.data['knots'])} knots, expected one each")
        return scores

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.knots), np.array(self.scores)

    def expand(self, values):
        """The piecewise linear map."""
        (knots, scores), xp = self._table, values.__array_namespace__()
        below, above = xp.minimum(values - knots[0], 0.0), xp.maximum(values - knots[-1], 0.0)
        return (xp.interp(values, knots, scores) + self.slopes[0] * below + self.slopes[1] * above)[:, None]

    def log_slopes(self, values):
        """The log-slope of the piece."""
        (knots, scores), xp = self._table, values.__array_namespace__()
        slopes = np.concatenate([self.slopes[:1], np.diff(scores) / np.diff(knots), self.slopes[1:]])
        return xp.asarray(np.log(slopes))[xp.searchsorted(knots, values, side="right")]

    def invert(self, z):
        """The piecewise linear map, turned round."""
        knots, scores = self._table
        below, above = np.minimum(z[:, 0] - scores[0], 0.0), np.maximum(z[:, 0] - scores[-1], 0.0)
        return np.interp(z[:, 0], scores, knots) + below / self.slopes[0] + above / self.slopes[1]

    def describe(self):
        """See `ColumnMap.describe`."""
        return "continuous, rank-Gaussian"


class Categorical(ColumnMap):
    """One column of 0 and 1 for every category but the most frequent one, which is all zeros.

    A value is the place of its category, or `UNSEEN`.
    """

    kind: Literal["categorical"] = "categorical"
    categories: tuple[str, ...] = Field(min_length=1)

    @property
    def width(self):
        """One less than there are categories."""
        return len(self.categories) - 1

    @property
    def on_grid(self):
        """Yes."""
        return True

    @cached_property
    def _known(self) -> dict[str, float]:
        return {text: float(place) for place, text in enumerate(self.categories)}

    def place(self, cell: Any) -> float:
        """The place of a cell's category, `UNSEEN` if it has none."""
        return self._known.get(category_text(cell), UNSEEN)

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

    def unseen(self, values):
        """Where the category is none of the training rows'."""
        return values == UNSEEN

    def describe(self):
        """See `ColumnMap.describe`."""
        return f"categorical, {len(self.categories)} categories"


class Circular(ColumnMap):
    """Hours, days, angles: sine and cosine as a context; to be judged, one number, cut where there are fewest rows.

    As sine and cosine a column could not be judged: all rows lie on the circle, where no density in the plane is
    finite. It is cut at `origin`, and there alone neighbours are taken to be far from each other.
    """

    kind: Literal["circular"] = "circular"
    period: float = Field(gt=0)
    origin: float

    @property
    def width(self):
        """2 as a context, otherwise 1."""
        return 2 if self.context else 1

    def expand(self, values):
        """Sine and cosine, or the distance from the cut."""
        xp = values.__array_namespace__()
        if not self.context:
            return xp.mod(values - self.origin, self.period)[:, None]
        angle = 2 * np.pi * xp.mod(values, self.period) / self.period
        return xp.stack([xp.sin(angle), xp.cos(angle)], axis=1)

    def invert(self, z):
        """From 0 to the period."""
        if self.context:
            return np.mod(np.arctan2(z[:, 0], z[:, 1]) / (2 * np.pi), 1.0) * self.period
        return np.mod(z[:, 0] + self.origin, self.period)

    def describe(self):
        """See `ColumnMap.describe`."""
        return f"circular, period {self.period:g}"


AnyColumnMap: TypeAlias = Annotated[
    Continuous | Discrete | Levels | Arcsinh | RankGaussian | Categorical | Circular, Field(discriminator="kind")
]


def fit_arcsinh(values: Float64[np.ndarray, "n"], **common) -> Arcsinh:
    """Centre: the median. Scale: the inter-quartile range as a normal column's deviation, or that itself where 0."""
    low, centre, high = np.quantile(values, [0.25, 0.5, 0.75])
    scale = (high - low) / (ndtri(0.75) - ndtri(0.25))
    if not scale > 0:
        scale = values.std() or 1.0
    return Arcsinh(centre=float(centre), scale=float(scale), **common)


def fit_rank_gaussian(values: Float64[np.ndarray, "n"], **common) -> RankGaussian:
    """Knots at quantiles of the values, of which there are two at least, spread evenly, with both ends among them."""
    ordered = np.sort(values)
    levels = (np.arange(len(ordered)) + 0.5) / len(ordered)
    # The slope of a piece with k rows is off by a share of 1 / sqrt(k), so there must not be too many pieces.
    count = min(MOST_KNOTS, len(ordered), max(8, math.isqrt(len(ordered))))
    places = np.unique(np.linspace(0, len(ordered) - 1, count).round().astype(int))
    knots, first, count = np.unique(ordered[places], return_index=True, return_counts=True)
    # Where many rows share a value, its rank is the middle of theirs.
    ranks = np.array([levels[places[a : a + c]].mean() for a, c in zip(first, count, strict=True)])
    scores = ndtri(ranks)
    last = len(knots) - 1
    # The knots at most 5 % of the rows away from each end, but for the end itself.
    inner = max(1, np.searchsorted(ranks, 0.05)), min(last - 1, np.searchsorted(ranks, 0.95))
    slopes = (
        (scores[inner[0]] - scores[0]) / (knots[inner[0]] - knots[0]),
        (scores[last] - scores[inner[1]]) / (knots[last] - knots[inner[1]]),
    )
    return RankGaussian(knots=tuple(knots), scores=tuple(scores), slopes=slopes, **common)


def _required_ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if (np.diff(values) <= 0).any():
        raise ValueError("expected ascending numbers")
    return values


def _piecewise(x: AnyArray, knots: np.ndarray, values: np.ndarray) -> AnyArray:
    """Linear between the knots, and beyond them as in the last piece."""
    xp = x.__array_namespace__()
    piece = xp.clip(xp.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    start, value, slope = (xp.asarray(table)[piece] for table in (knots, values, np.diff(values) / np.diff(knots)))
    return value + slope * (x - start)
