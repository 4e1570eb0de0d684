"""Base of all maps that turn the values of one column into columns of numbers for a model.

The maps towards the model take arrays of numpy or, in a program that is to be exported, of JAX in double precision.
"""

from abc import abstractmethod

import numpy as np
from jaxtyping import Bool, Float64

from jaxflow.config.spec import Spec
from jaxflow.data.arrays import AnyArray


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
        """Return the columns of numbers that the model sees; `values` are finite."""
        return values[:, None]

    def log_slopes(self, values: Float64[AnyArray, "n"]) -> Float64[AnyArray, "n"]:
        """log dz/dx; 0 where a column of probabilities or several columns come out."""
        return values.__array_namespace__().zeros_like(values)

    def invert(self, z: Float64[np.ndarray, "n width"]) -> Float64[np.ndarray, "n"]:
        """Back to values."""
        return z[:, 0]

    def nearest(self, values: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """The values nearest to draws of a density that the column can hold; NaN stays.

        Numbers on a grid, whole numbers and levels have the nearest of those that were seen, from the least to the
        largest. Another continuous column can hold any number, so that draws are as far out as the density has them.
        """
        return values

    @property
    def is_bounded(self) -> bool:
        """Whether there are values of a kind that the training rows do not have."""
        return False

    @property
    def usual(self) -> str:
        """Which values are none that were never seen, in a few words; empty where all are, or too many to tell."""
        return ""

    def unseen(self, values: Float64[AnyArray, "n"]) -> Bool[AnyArray, "n"]:
        """Where values are of a kind that the training rows do not have; a value that is missing is of none."""
        return values.__array_namespace__().zeros_like(values, dtype=bool)

    @abstractmethod
    def describe(self) -> str:
        """Describe in a few words what the column is taken for."""


def required_ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    """The values, which a map needs in ascending order.

    Raises:
        ValueError: if they are not.
    """
    if (np.diff(values) <= 0).any():
        raise ValueError("expected ascending numbers")
    return values
