"""Preprocessing: steps that are chosen in a config, fitted on training data and saved with the model.

Every fitted chain is affine in the columns it keeps, so densities carry over exactly: with z = transform(x),
log p(x) = log p(z) + log_det. All arithmetic is float64, on the host or, of arrays of JAX, in an exported program.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, Num
from pydantic import Field

from jaxflow.config.spec import Spec
from jaxflow.data.arrays import AnyArray
from jaxflow.data.preprocessing.fitted_steps import Affine, Selection
from jaxflow.errors import InputError


class Step(Spec):
    """One preprocessing step, not yet fitted."""

    @abstractmethod
    def fit(self, x: Float64[np.ndarray, "n dim"]) -> Affine | Selection:
        """The step with its constants taken from `x`."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, np.ndarray], dim: int, source: str) -> Affine | Selection:
        """The step with its constants as `arrays()` of the fitted step gave them; `source` opens error messages."""


class Standardize(Step):
    """z = (x - mean) / std in each column, std being the population's (divided by n).

    A column that is constant in the training data has no spread to divide by: its scale is 1, so that it becomes 0
    there and keeps its units elsewhere.

    >>> Preprocessing.fit([Standardize()], np.array([[1.0], [3.0]])).transform(np.array([[2.0]]))
    array([[0.]])
    """

    kind: Literal["standardize"] = Field(
        default="standardize", description="mean 0 and standard deviation 1 in each column"
    )

    def fit(self, x: Float64[np.ndarray, "n dim"]) -> Affine:
        """The mean and the standard deviation of each column of `x`."""
        constant = _constant(x)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.where(constant, x[0], x.mean(axis=0))
            deviation = x - mean
            # Divided by the largest first: the square of a tiny deviation would be 0, that of a huge one infinite.
            largest = np.where(constant, 1.0, np.abs(deviation).max(axis=0))
            scale = np.where(constant, 1.0, largest * np.sqrt(np.mean((deviation / largest) ** 2, axis=0)))
        return Affine.checked(mean, scale, "standardize")

    def restore(self, arrays: Mapping[str, np.ndarray], dim: int, source: str) -> Affine:
        """See `Step.restore`."""
        return Affine.restored(arrays, dim, source)


class MinMax(Step):
    """z = (x - min) / (max - min) in each column: the training data fills [0, 1].

    A column that is constant in the training data has scale 1, so that it becomes 0 there and keeps its units
    elsewhere. Later data may fall outside [0, 1]; it is not clipped.

    >>> Preprocessing.fit([MinMax()], np.array([[1.0], [3.0]])).transform(np.array([[2.0]]))
    array([[0.5]])
    """

    kind: Literal["min_max"] = Field(default="min_max", description="training data from 0 to 1 in each column")

    def fit(self, x: Float64[np.ndarray, "n dim"]) -> Affine:
        """The minimum and the range of each column of `x`."""
        low = x.min(axis=0)
        with np.errstate(over="ignore"):
            scale = np.where(_constant(x), 1.0, x.max(axis=0) - low)
        return Affine.checked(low, scale, "min_max")

    def restore(self, arrays: Mapping[str, np.ndarray], dim: int, source: str) -> Affine:
        """See `Step.restore`."""
        return Affine.restored(arrays, dim, source)


class DropConstant(Step):
    """Leave out the columns that have one value only in the training data: no density can be fitted to them.

    Going back, a dropped column takes that value again. A row with another value there has one that was never seen,
    which is a reason of its own to flag it, unless `never_seen` is "ignore".

    >>> preprocessing = Preprocessing.fit([DropConstant()], np.array([[1.0, 5.0], [2.0, 5.0]]))
    >>> preprocessing.transform(np.array([[3.0, 5.0]]))
    array([[3.]])
    """

    kind: Literal["drop_constant"] = Field(default="drop_constant", description="leave out columns that never change")
    never_seen: Literal["flag", "ignore"] = Field(
        default="flag", description="whether another value than the only one of a dropped column makes a row anomalous"
    )

    def fit(self, x: Float64[np.ndarray, "n dim"]) -> Selection:
        """The columns of `x` that change, and the value of those that do not."""
        constant = _constant(x)
        if constant.all():
            raise InputError(f"drop_constant: all {x.shape[1]} columns are constant, expected one at least that is not")
        return Selection(np.flatnonzero(~constant).astype(np.int64), np.where(constant, x[0], 0.0))

    def restore(self, arrays: Mapping[str, np.ndarray], dim: int, source: str) -> Selection:
        """See `Step.restore`."""
        return Selection.restored(arrays, dim, source)


PreprocessingStep: TypeAlias = Annotated[Standardize | MinMax | DropConstant, Field(discriminator="kind")]


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Steps fitted one after the other, each on what the ones before it made of the training data.

    >>> Preprocessing.fit([Standardize()], np.array([[1.0], [3.0]])).transform(np.array([[3.0]]))
    array([[1.]])

    Attributes:
        steps: the specs, in the order in which they are applied.
        fitted: the same steps with their constants.
        dim_in: number of columns of x.
    """

    steps: tuple[PreprocessingStep, ...]
    fitted: tuple[Affine | Selection, ...]
    dim_in: int

    @classmethod
    def fit(cls, steps: Sequence[PreprocessingStep], x: Num[np.ndarray, "n dim_in"]) -> "Preprocessing":
        """Fit the steps to training data; no steps at all are the identity.

        Raises:
            InputError: when `x` has no row or column or a value that is not finite, a column spreads wider than float64
                can hold, or no column is left.
        """
        z = np.asarray(x, dtype=np.float64)
        if z.shape[0] < 1 or z.shape[1] < 1:
            raise InputError(
                f"preprocessing: the training data has shape {z.shape}, expected a row and a column at least"
            )
        finite = np.isfinite(z)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            where = f"row {row + 1}, column {column + 1} of the training data is {z[row, column]}"
            raise InputError(f"preprocessing: {where}, expected a finite number")
        fitted: list[Affine | Selection] = []
        for step in steps:
            fitted.append(step.fit(z))
            z = fitted[-1].transform(z)
        return cls(tuple(steps), tuple(fitted), int(x.shape[1]))

    def transform(self, x: Num[AnyArray, "*batch dim_in"]) -> Float64[AnyArray, "*batch dim_out"]:
        """From data to what the model sees.

        Raises:
            InputError: when `x` has another number of columns than the data that was fitted.
        """
        z = _with_columns(x, self.dim_in, "the data")
        for step in self.fitted:
            z = step.transform(z)
        return z

    def inverse_transform(self, z: Num[np.ndarray, "*batch dim_out"]) -> Float64[np.ndarray, "*batch dim_in"]:
        """From what the model sees back to data; dropped columns take their constant value again.

        Raises:
            InputError: when `z` has another number of columns than `transform` returns.
        """
        x = _with_columns(z, self.dim_out, "the transformed data")
        for step in reversed(self.fitted):
            x = step.inverse_transform(x)
        return x

    @property
    def kept(self) -> Int64[np.ndarray, "dim_out"]:
        """Indices of the columns of x that remain, ascending."""
        kept = np.arange(self.dim_in, dtype=np.int64)
        for step in self.fitted:
            kept = kept[step.kept] if isinstance(step, Selection) else kept
        return kept

    @property
    def dim_out(self) -> int:
        """Number of columns of z."""
        return len(self.kept)

    @property
    def log_slopes(self) -> Float64[np.ndarray, "dim_out"]:
        """log |dz / dx| of each kept column, the same at every x, as the map is affine."""
        log_slopes = np.zeros(self.dim_in)
        for step in self.fitted:
            log_slopes = log_slopes[step.kept] if isinstance(step, Selection) else log_slopes - np.log(step.scale)
        return log_slopes

    @property
    def log_det(self) -> float:
        """log |det dz / dx| over the kept columns, in nats, the sum of `log_slopes`.

        With z = transform(x): log p(x) = log p(z) + log_det, a density over the kept columns.
        """
        return float(self.log_slopes.sum())

    def never_seen(self, x: Num[AnyArray, "n dim_in"]) -> Bool[AnyArray, "n dim_in"]:
        """Where a dropped column has another value than its only one in the training data."""
        z, columns = _with_columns(x, self.dim_in, "the data"), np.arange(self.dim_in)
        xp = z.__array_namespace__()
        found = [xp.zeros_like(z[:, 0], dtype=bool)] * self.dim_in
        last = max((i for i, step in enumerate(self.fitted) if isinstance(step, Selection)), default=-1)
        for spec, step in zip(self.steps[: last + 1], self.fitted, strict=False):
            if isinstance(step, Selection):
                if isinstance(spec, DropConstant) and spec.never_seen == "flag":
                    for dropped in np.setdiff1d(np.arange(len(step.fill)), step.kept):
                        found[columns[dropped]] = z[:, dropped] != step.fill[dropped]
                columns = columns[step.kept]
            with np.errstate(over="ignore"):
                z = step.transform(z)
        return xp.stack(found).T

    def arrays(self) -> dict[str, np.ndarray]:
        """All constants, under names such as `0.shift`: what `from_arrays` needs besides the specs."""
        return {f"{i}.{name}": array for i, step in enumerate(self.fitted) for name, array in step.arrays().items()}

    @classmethod
    def from_arrays(
        cls, steps: Sequence[PreprocessingStep], arrays: Mapping[str, np.ndarray], dim_in: int
    ) -> "Preprocessing":
        """The preprocessing that `arrays()` was called on, bit for bit.

        Raises:
            InputError: when an array is missing, left over, or not what its step can have.
        """
        fitted: list[Affine | Selection] = []
        left = dict(arrays)
        dim = dim_in
        for i, step in enumerate(steps):
            prefix = f"{i}."
            own = {name.removeprefix(prefix): left.pop(name) for name in arrays if name.startswith(prefix)}
            fitted.append(step.restore(own, dim, f"preprocessing step {i} ({step.kind})"))
            dim = fitted[-1].dim_out
        if left:
            raise InputError(f"preprocessing: array {next(iter(left))} belongs to none of the {len(steps)} steps")
        return cls(tuple(steps), tuple(fitted), dim_in)


def _constant(x: Float64[np.ndarray, "n dim"]) -> np.ndarray:
    # Not by the standard deviation, which rounding makes positive for a constant such as 0.1.
    return x.min(axis=0) == x.max(axis=0)


def _with_columns(x: AnyArray, dim: int, what: str) -> AnyArray:
    if x.ndim < 1 or x.shape[-1] != dim:
        columns = x.shape[-1] if x.ndim else 0
        raise InputError(f"preprocessing: {what} has {columns} columns, expected {dim}")
    return x.astype(np.float64, copy=False)
