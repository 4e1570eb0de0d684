"""From the columns of a table to what a model is given, and back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from jaxflow.data.arrays import AnyArray
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.dataset import require_columns
from jaxflow.data.encoding import Encoding
from jaxflow.data.preprocessing.imputation import Imputer
from jaxflow.data.preprocessing.steps import Preprocessing, PreprocessingStep
from jaxflow.data.tables.frame import Frame
from jaxflow.errors import InputError
from jaxflow.models import (
    Dequantized,
    Ensemble,
    EnsembleSpec,
    FlowSpec,
    Model,
)

# What a value that was never seen adds to a score: more than rows score in which there is none.
NEVER_SEEN = 1e6


@dataclass(frozen=True, eq=False)
class Inputs:
    """The encoding of a table's columns, and the preprocessing steps on what comes out of it.

    Of the columns that remain, the first `dim` are judged and the others are the context. Where the model is to say
    what it expects in place of missing values, `imputer` makes the first guesses.
    """

    encoding: Encoding
    preprocessing: Preprocessing
    imputer: Imputer | None = None

    @classmethod
    def fit(
        cls, encoding: Encoding, codes: Float[np.ndarray, "n columns"], steps: Sequence[PreprocessingStep]
    ) -> "Inputs":
        """Fit preprocessing to codes of the rows that the model learns from, to which the encoding was fitted.

        Raises:
            InputError: if no column varies, or the steps do not suit the rows.
        """
        expanded = encoding.expand(codes)
        if not expanded.shape[1]:
            raise InputError("all columns have one category only in the training rows, expected one column that varies")
        inputs = cls(encoding, Preprocessing.fit(tuple(steps), expanded))
        if not inputs.dim:
            raise InputError("no column that is judged varies in the training rows, expected one at least")
        if encoding.missing != "model":
            return inputs
        return replace(inputs, imputer=Imputer.fit(inputs.model_rows(codes)[0], inputs.gaps(codes)))

    @property
    def dim(self) -> int:
        """Number of features of the model."""
        return self.preprocessing.dim_out - self.context_dim

    @cached_property
    def context_dim(self) -> int:
        """Number of context features of the model."""
        return int(self.encoding.in_context[self.preprocessing.kept].sum())

    @property
    def sources(self) -> Int64[np.ndarray, "dim"]:
        """For each feature of the model, the number of the table's column that it stems from."""
        return self.encoding.sources[self.preprocessing.kept][: self.dim]

    @property
    def on_grid(self) -> Bool[np.ndarray, "dim"]:
        """Which features of the model take few values at equal distances."""
        return self.encoding.on_grid[self.preprocessing.kept][: self.dim]

    def transform(self, x: Float[AnyArray, "n columns"]) -> Float[AnyArray, "n dim_out"]:
        """Features and context of rows of codes, side by side."""
        return self.preprocessing.transform(self.encoding.expand(x))

    def model_rows(
        self, x: Float[AnyArray, "n columns"]
    ) -> tuple[Float[AnyArray, "n dim"], Float[AnyArray, "n context_dim"] | None]:
        """Features and context of rows of codes; None where there is no context."""
        z = self.transform(x)
        return z[:, : self.dim], z[:, self.dim :] if self.context_dim else None

    def training_rows(
        self,
        x: Float[np.ndarray, "n columns"],
        rng: np.random.Generator,
        reserve: Float[np.ndarray, "m columns"] | None = None,
    ) -> tuple[Float[np.ndarray, "n dim"], Float[np.ndarray, "n context_dim"] | None]:
        """`model_rows` to be learned from: where the model is to fill gaps, values of other rows stand in them.

        Those of `reserve`, where none of the rows themselves has what another lacks.
        """
        z, context = self.model_rows(x)
        gaps = self.gaps(x)
        if self.imputer is not None and gaps.any():
            more = None if reserve is None else (self.model_rows(reserve)[0], self.gaps(reserve))
            z = self.imputer.donated(z, gaps, rng, more)
        return z, context

    def refitted(self, x: Float[np.ndarray, "n columns"], learn: Int64[np.ndarray, "m"]) -> "Inputs":
        """The inputs with what they measure taken from some of the rows that they were fitted to.

        What a column is taken for stays, and which columns there are: densities over other columns, or over other units
        of a grid, do not compare. Where a column that varies in all rows is constant in those, or a feature is missing
        in all of them, nothing can be measured there, and the inputs stay as they are.

        Args:
            x: codes of all rows that the inputs were fitted to.
            learn: the numbers of those that are to be measured.
        """
        encoding = self.encoding.refitted(x[learn])
        expanded = encoding.expand(x[learn])
        if (_constant(expanded) & ~_constant(self.encoding.expand(x))).any():
            return self
        inputs = Inputs(encoding, Preprocessing.fit(self.preprocessing.steps, expanded))
        if self.imputer is None:
            return inputs
        gaps = inputs.gaps(x[learn])
        if gaps.all(axis=0).any():
            return self
        return replace(inputs, imputer=Imputer.fit(inputs.model_rows(x[learn])[0], gaps))

    def gaps(self, x: Float[np.ndarray, "n columns"]) -> Bool[np.ndarray, "n dim"]:
        """Which features of the model stand in for a value that is missing."""
        return self.encoding.gaps(x)[:, self.preprocessing.kept[: self.dim]]

    def describe(self) -> list[tuple[str, str]]:
        """Each column of the table with what it is taken for."""
        alive = set(self.encoding.sources[self.preprocessing.kept])
        rows = self.encoding.describe()
        return [(name, said if index in alive else "constant") for index, (name, said) in enumerate(rows)]

    def summary(self) -> str:
        """How many columns are taken for what, in a few words."""
        counts = Counter(said.partition(",")[0] for _, said in self.describe())
        contexts = sum(column.context for column in self.encoding.maps)
        words = [f"{count} {kind}" for kind, count in counts.most_common()]
        return ", ".join(words) + (f"; {contexts} of them the context of the others" if contexts else "")

    def log_det(self, x: Float[AnyArray, "n columns"], grid: Bool[np.ndarray, "dim"]) -> Float[AnyArray, "n"]:
        """log |det dz/dx| over the features, in nats, where those on a `grid` have probabilities in any unit.

        For a value that the model is to fill in, without what differs from value to value: see `log_slopes_at`.
        """
        counted = np.flatnonzero(~grid)
        slopes = self.encoding.log_slopes(x)
        constant = self.preprocessing.log_slopes[: self.dim][counted].sum()
        if slopes is None:
            return constant + x.__array_namespace__().zeros_like(x[:, 0])
        return constant + slopes[:, self.preprocessing.kept[: self.dim][counted]].sum(axis=1)

    def log_slopes(
        self, x: Float[np.ndarray, "n columns"], *, grid: Bool[np.ndarray, "dim"]
    ) -> Float[np.ndarray, "n dim"]:
        """The log dz/dx of each feature whose sum is `log_det`, at rows of codes; 0 for those on a `grid`.

        No step mixes columns, so each of them belongs to the column that its feature stems from.
        """
        slopes = np.tile(self.preprocessing.log_slopes[: self.dim], (len(x), 1))
        differing = self.encoding.log_slopes(x)
        if differing is not None:
            slopes += differing[:, self.preprocessing.kept[: self.dim]]
        return np.where(grid, 0.0, slopes)

    def log_slopes_at(
        self, z: Float[np.ndarray, "m dim"], *, grid: Bool[np.ndarray, "dim"]
    ) -> Float[np.ndarray, "m dim"]:
        """log dz/dx of each feature but for the constants of preprocessing, at features; 0 for those on a `grid`."""
        whole = np.concatenate([z, np.zeros((len(z), self.context_dim))], axis=1)
        slopes = self.encoding.log_slopes(self.encoding.invert(self.preprocessing.inverse_transform(whole)))
        if slopes is None:
            return np.zeros_like(z, dtype=np.float64)
        return np.where(grid, 0.0, slopes[:, self.preprocessing.kept[: self.dim]])

    def never_seen(self, x: Float[AnyArray, "n columns"]) -> Bool[AnyArray, "n columns"]:
        """Where there is what no training row has: see `Encoding.unseen`, and values of columns that were constant."""
        found = list(self.encoding.unseen(x).T)
        dropped = np.setdiff1d(np.arange(self.preprocessing.dim_in), self.preprocessing.kept)
        if dropped.size:
            others = self.preprocessing.never_seen(self.encoding.expand(x))
            for column, source in zip(dropped, self.encoding.sources[dropped], strict=True):
                found[source] = found[source] | others[:, column]
        return x.__array_namespace__().stack(found).T

    def context_codes(self, context: Frame) -> Float[np.ndarray, "n columns"]:
        """Codes of rows whose context columns are those of a table, and whose other columns are not known yet.

        Raises:
            InputError: if a context column is missing, or holds what no training row has.
        """
        alone = Encoding(tuple(column for column in self.encoding.maps if column.context), self.encoding.missing)
        require_columns("context", alone.names, context.names)
        given = alone.codes(context.pick(alone.names))
        unseen = alone.unseen(given)
        if unseen.any():
            row, column = np.argwhere(unseen)[0]
            cell = context.text(int(row), alone.names[column]) or "missing"
            raise InputError(
                f"context: row {row + 1}, column {alone.names[column]} is {cell:.60}, which no training row has"
            )
        codes = np.tile([column.fill for column in self.encoding.maps], (len(context), 1))
        codes[:, self._context_columns] = given
        return codes

    def drawn_codes(
        self, z: Float[np.ndarray, "n dim"], context: Float[np.ndarray, "n columns"] | None = None
    ) -> Float[np.ndarray, "n columns"]:
        """Codes that a table can hold, from features that were drawn, the context columns being those of `context`."""
        if context is not None:
            z = np.concatenate([z, self.transform(context)[:, self.dim :]], axis=1)
        codes = self.encoding.nearest(self.encoding.invert(self.preprocessing.inverse_transform(z)))
        if context is not None:
            codes[:, self._context_columns] = context[:, self._context_columns]
        return codes

    @cached_property
    def _context_columns(self) -> Int64[np.ndarray, "contexts"]:
        """The numbers of the table's columns that are contexts."""
        return np.flatnonzero([column.context for column in self.encoding.maps])

    def adapted(self, spec: Any) -> Any:
        """The spec of the model with the width of the context, and noise for features on a grid where it names none.

        Raises:
            InputError: if the spec names another width, or the model takes no context.
        """
        if isinstance(spec, EnsembleSpec):
            return spec.model_copy(update={"member": self.adapted(spec.member)})
        given = getattr(spec, "context_dim", 0)
        if given not in (0, self.context_dim):
            raise InputError(
                f"context_dim = {given} of the model, but columns.context makes {self.context_dim} context features: "
                "leave it out"
            )
        update: dict[str, Any] = {}
        if self.context_dim:
            if not spec.takes_context:
                raise InputError(f"a {spec.kind} takes no context, got {self.context_dim} context features")
            update["context_dim"] = self.context_dim
        if isinstance(spec, FlowSpec) and spec.dequantize == "none" and self.on_grid.any():
            update["dequantize"] = tuple("uniform" if on_grid else "none" for on_grid in self.on_grid)
        return spec.model_copy(update=update) if update else spec


def fit_inputs(rows: Frame, columns: ColumnsSpec, steps: Sequence[PreprocessingStep]) -> Inputs:
    """Fit encoding and preprocessing to the rows that the model learns from.

    Raises:
        InputError: if the columns or steps do not suit the rows.
    """
    encoding = Encoding.fit(rows, columns)
    return Inputs.fit(encoding, encoding.codes(rows), steps)


def _constant(x: Float[np.ndarray, "n columns"]) -> Bool[np.ndarray, "columns"]:
    return x.min(axis=0) == x.max(axis=0)


def grid_of(model: Model) -> Bool[np.ndarray, "dim"]:
    """Which features a model gives probabilities, not densities."""
    step, _ = _grid(model)
    return step > 0


def snapped(model: Model, z: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    """Rows whose features are on the grid where the model gives them probabilities."""
    step, origin = _grid(model)
    safe = np.where(step > 0, step, 1.0)
    return np.where(step > 0, origin + safe * np.round((z - origin) / safe), z)


def _grid(model: Model) -> tuple[Float[np.ndarray, "dim"], Float[np.ndarray, "dim"]]:
    """Step, 0 for a feature with a density, and origin of each feature's grid."""
    inner: Any = model.member if isinstance(model, Ensemble) else model
    if not isinstance(inner, Dequantized):
        return np.zeros(model.dim), np.zeros(model.dim)
    # Members that never saw a column vary have no grid for it.
    steps, origins = (np.asarray(array[...]).reshape(-1, model.dim) for array in (inner.step, inner.origin))
    best = np.argmax(steps, axis=0), np.arange(model.dim)
    return steps[best].astype(np.float64), origins[best].astype(np.float64)
