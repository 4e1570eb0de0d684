"""Columns whose scale a few values far out have set, so that all others look alike."""

import numpy as np
from jaxtyping import Float

from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.columns.most_rows import STRETCHED, most_rows
from jaxflow.data.columns.numeric_maps import Arcsinh, Continuous
from jaxflow.data.preprocessing.steps import MinMax, Standardize
from jaxflow.detection.scoring.table_encoder import Inputs


def far_values(
    inputs: Inputs, x: Float[np.ndarray, "n columns"], learned: Float[np.ndarray, "m columns"], columns: ColumnsSpec
) -> str | None:
    """A sentence that names the columns whose standard deviation is ten times that of most rows, or more.

    That of most rows is the inter-quartile range in units of a normal density; where most values are equal, the median
    distance of the others from them. In such a column a value as far out as three of its standard deviations, thirty
    or thousands of most rows, passes as normal. Values at the end of a column that are exactly equal and far from the
    next ones are named besides, as they may stand for missing values.

    Args:
        inputs: fitted; looked at are columns of numbers that are taken as they are or by arcsinh, which numbers such as
            1e300 are too far out for, where a step then scales them.
        x: codes of all rows.
        learned: codes of those that the scale is taken from.
        columns: what is said of the columns; those are left out for which `tails` is given by name.
    """
    if not any(isinstance(step, Standardize | MinMax) for step in inputs.preprocessing.steps):
        return None
    kept = set(inputs.encoding.sources[inputs.preprocessing.kept])
    found, unbent = [], False
    for index, column in enumerate(inputs.encoding.maps):
        said = columns.types.get(column.name)
        if not isinstance(column, Continuous | Arcsinh) or index not in kept:
            continue
        if isinstance(column, Continuous) and said is not None and said.tails is not None:
            continue
        values = x[~np.isnan(x[:, index]), index]
        taken = learned[:, index]
        taken = column.expand(taken[~np.isnan(taken)])[:, 0]
        if not len(taken) or taken.min() == taken.max():
            continue  # only whether a value is there, or another one, can then be judged
        centre, spread = most_rows(taken)
        with np.errstate(over="ignore", invalid="ignore"):
            stretch = float(np.sqrt(np.mean(((taken - taken.mean()) / spread) ** 2)))
        if not stretch < STRETCHED:
            z = column.expand(values)[:, 0]
            reach = float(np.max(np.abs(z - centre) / spread))
            unbent |= isinstance(column, Continuous)
            drawn_in = " by arcsinh" if isinstance(column, Arcsinh) else ""
            reaches = f"{column.name} reaches {_count(reach)} of them{drawn_in}"
            found.append((stretch, reaches + _repeated(values, z, spread)))
    if not found:
        return None
    found.sort(key=lambda one: -one[0])
    return (
        f"values far out set the scale of {len(found)} {'column' if len(found) == 1 else 'columns'}, where a value is "
        f"taken for normal though it lies {_count(STRETCHED)} or more standard deviations of most rows away: "
        f"{', '.join(said for _, said in found)}; {'try columns.tails = auto or arcsinh, or ' if unbent else ''}make "
        "missing what stands for missing values"
    )


def _repeated(values: Float[np.ndarray, "n"], z: Float[np.ndarray, "n"], spread: float) -> str:
    """How often the least or the greatest value is there, if more than once and the z of the others are far."""
    for end in (values.min(), values.max()):
        there = values == end
        count = int(there.sum())
        if count > 1 and np.min(np.abs(z[~there] - z[there][0])) >= STRETCHED * spread:
            return f" ({count:,} of {len(values):,} values are exactly {end:.10g})"
    return ""


def _count(number: float) -> str:
    """A number of standard deviations."""
    return f"{number:,.0f}" if number < 1e6 else f"{number:.2g}"
