"""Maps of columns of numbers: from the cells of one column to columns of numbers for a model."""

from functools import cached_property
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import Field, field_validator

from jaxflow.data.columns.column_map import ColumnMap, required_ascending
from jaxflow.data.columns.discrete_maps import Categorical, Discrete, Levels


class Number(ColumnMap):
    """A column of numbers of any size.

    Attributes:
        whole: the least and the greatest training value, if all are whole numbers.
    """

    whole: tuple[float, float] | None = None

    @field_validator("whole")
    @classmethod
    def _from_least_to_greatest(cls, whole: tuple[float, float] | None) -> tuple[float, float] | None:
        return whole if whole is None else (required_ascending(whole)[0], whole[1])

    def nearest(self, values):
        """Whole numbers among those that were seen, if all of these are whole; otherwise as they are."""
        return values if self.whole is None else np.round(np.clip(values, *self.whole))


class Continuous(Number):
    """Numbers as they are."""

    kind: Literal["continuous"] = "continuous"

    @property
    def is_identity(self):
        """Yes."""
        return True

    def describe(self):
        """See `ColumnMap.describe`."""
        return "continuous"


class Arcsinh(Number):
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


class RankGaussian(Number):
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
        return required_ascending(values)

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

    def nearest(self, values):
        """From 0 to below the period, which the remainder of a number just below 0 is rounded to."""
        return np.where(values >= self.period, 0.0, values)

    def describe(self):
        """See `ColumnMap.describe`."""
        return f"circular, period {self.period:g}"


AnyColumnMap: TypeAlias = Annotated[
    Continuous | Discrete | Levels | Arcsinh | RankGaussian | Categorical | Circular, Field(discriminator="kind")
]
