"""Specs of columns: what each holds and what is made of that, chosen in a config or inferred from the rows."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from jaxflow.config.spec import Spec
from jaxflow.data.dataset import listed, require_distinct

Kind: TypeAlias = Literal["continuous", "discrete", "categorical", "circular"]
Tails: TypeAlias = Literal["none", "arcsinh", "rank_gaussian", "auto"]
Missing: TypeAlias = Literal["refuse", "median", "model"]


class ColumnSpec(Spec):
    """Content of one column, as its user declares it.

    >>> ColumnSpec(tails="arcsinh").tails
    'arcsinh'
    """

    kind: Kind | None = Field(
        default=None,
        description="continuous numbers; discrete numbers, such as counts and flags, for which one between them is an "
        "anomaly by itself; categorical: texts or numbers without an order; circular: hours, days or angles (default: "
        "inferred)",
    )
    period: float | None = Field(
        default=None, gt=0, description="circular: after how much it begins again, such as 24 for hours"
    )
    tails: Tails | None = Field(
        default=None, description="continuous: how far values are drawn in (default: as `tails` says for all)"
    )

    @model_validator(mode="after")
    def _fits_its_kind(self):
        if (self.period is not None) != (self.kind == "circular"):
            wanted = "a number for kind circular" if self.kind == "circular" else "no value unless kind is circular"
            raise ValueError(f"period = {self.period}: expected {wanted}")
        if self.tails is not None and self.kind not in (None, "continuous"):
            raise ValueError(f"tails = {self.tails}: expected no value, as kind is {self.kind} and not continuous")
        return self


class ColumnsSpec(Spec):
    """Contents of a table's columns, and which of them are only the context in which the others are judged.

    >>> ColumnsSpec().missing
    'refuse'
    """

    types: dict[str, ColumnSpec] = Field(
        default={}, description="columns by name: a kind, or a mapping of kind, period and tails"
    )
    context: tuple[str, ...] = Field(
        default=(), description="columns that are not judged, but in whose light the others are: p(x | context)"
    )
    missing: Missing = Field(
        default="refuse",
        description="missing values: refuse them; median: put the median there, with a further column that says where; "
        "model: average over what the model expects there (flows)",
    )
    tails: Tails = Field(
        default="none",
        description="continuous columns: as they are; arcsinh, logarithmic far out; rank_gaussian, the normal quantile "
        "of the rank among the training rows; or auto, for each column the one under which held-out training values "
        "are most likely normal",
    )
    infer: bool = Field(
        default=True,
        description="take numeric columns with few values, on a grid, for discrete where `types` says nothing",
    )

    @field_validator("types", mode="before")
    @classmethod
    def _a_kind_alone(cls, types: Any) -> Any:
        if not isinstance(types, Mapping):
            return types
        return {name: {"kind": value} if isinstance(value, str) else value for name, value in types.items()}

    @field_validator("context")
    @classmethod
    def _different(cls, context: tuple[str, ...]) -> tuple[str, ...]:
        require_distinct(context, "context column")
        return context

    def require_known(self, names: tuple[str, ...]) -> None:
        """Check that all columns named here are among `names`, and that one is left to be judged.

        Raises:
            ValueError: naming the first that is not.
        """
        known = set(names)
        for name in (*self.types, *self.context):
            if name not in known:
                raise ValueError(f"columns: there is no column {name}; the columns are {listed(names)}")
        if known <= set(self.context):
            raise ValueError(f"columns.context = {list(self.context)}: expected one column at least that is judged")
