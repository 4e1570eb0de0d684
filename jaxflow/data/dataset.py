"""Data sets: the rows, labels and names that every loader returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from jaxflow.errors import InputError, meant


@dataclass(frozen=True, eq=False)
class Dataset:
    """A table of numbers and texts, with labels where they are known.

    >>> load_dataset("two_moons").feature_names
    ('x0', 'x1')

    Attributes:
        name: what the data set is called in tables and reports.
        x: one row an observation, one column a feature, in the units of the source.
        y: 0 = normal, 1 = anomaly; None when the labels are unknown.
        feature_names: one name a column, all different.
        categories: the texts of each column of texts; x holds their places.
        may_miss: whether values may be missing; they are NaN.
        types: what the columns are in the file, in Arrow's words, where that is known.
        kinds: what else the source says of each row, such as the name of an attack; no detector sees it.
        for_test: the rows that the source sets apart for the test; None where it leaves the division to others.

    Raises:
        InputError: when the lengths disagree, there is no row or no column, two columns share a name, a cell is not
            finite, a label is neither 0 nor 1, or no row or every row is for the test.
    """

    name: str
    x: Float64[np.ndarray, "n dim"]
    y: Int64[np.ndarray, "_"] | None  # "n" too; it is checked below, in words
    feature_names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    may_miss: bool = False
    kinds: Mapping[str, Shaped[np.ndarray, "_"]] = field(default_factory=dict)
    for_test: Bool[np.ndarray, "_"] | None = None
    types: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if self.x.ndim != 2 or self.x.shape[0] < 1 or self.x.shape[1] < 1:
            raise InputError(f"{self.name}: x has shape {self.x.shape}, expected (rows, columns), one of each at least")
        rows, dim = self.x.shape
        if len(self.feature_names) != dim:
            raise InputError(f"{self.name}: {len(self.feature_names)} feature names for {dim} columns")
        require_distinct(self.feature_names, f"{self.name}: feature name")
        finite = ~np.isinf(self.x) if self.may_miss else np.isfinite(self.x)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            value, feature = self.x[row, column], self.feature_names[column]
            raise InputError(f"{self.name}: row {row + 1}, column {feature} is {value}, expected a finite number")
        for name, kinds in self.kinds.items():
            if kinds.shape != (rows,):
                raise InputError(f"{self.name}: {name} has shape {kinds.shape}, expected ({rows},)")
        if self.for_test is not None:
            if self.for_test.shape != (rows,):
                raise InputError(f"{self.name}: for_test has shape {self.for_test.shape}, expected ({rows},)")
            if self.for_test.all() or not self.for_test.any():
                count = int(self.for_test.sum())
                raise InputError(f"{self.name}: {count} of {rows} rows are for the test, expected some and not all")
        if self.y is None:
            return
        if self.y.shape != (rows,):
            raise InputError(f"{self.name}: y has shape {self.y.shape}, expected ({rows},)")
        wrong = np.flatnonzero((self.y != 0) & (self.y != 1))
        if wrong.size:
            raise InputError(f"{self.name}: row {wrong[0] + 1} has label {self.y[wrong[0]]}, expected 0 or 1")

    @property
    def dim(self) -> int:
        """Number of features."""
        return self.x.shape[1]

    def select(self, features: Sequence[str]) -> "Dataset":
        """Return these rows with the named features only, in the order given.

        Raises:
            InputError: when a name is not a feature of this data set, or is given twice.
        """
        require_columns(self.name, features, self.feature_names)
        places = {name: place for place, name in enumerate(self.feature_names)}
        x = np.ascontiguousarray(self.x[:, [places[feature] for feature in features]])
        categories = {name: self.categories[name] for name in features if name in self.categories}
        return replace(self, x=x, feature_names=tuple(features), categories=categories)


def require_columns(source: object, wanted: Sequence[str], present: Sequence[str]) -> None:
    """Check that every wanted column is there and is wanted once.

    Raises:
        InputError: naming the first column that is missing, and the columns there are.
    """
    require_distinct(wanted, f"{source}: feature")
    there = set(present)
    for name in wanted:
        if name not in there:
            hint = meant(name, present) or f"; the columns are {listed(present)}"
            raise InputError(f"{source}: column {name} is missing{hint}")


def require_distinct(names: Sequence[str], what: str) -> None:
    """Check that no name comes twice.

    Raises:
        InputError: `what` followed by the first name that does.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{what} {name} is there twice, expected different names")
        seen.add(name)


def listed(names: Sequence[str], limit: int = 20) -> str:
    """The names with commas between them, cut after `limit` of them so that a message stays readable."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
