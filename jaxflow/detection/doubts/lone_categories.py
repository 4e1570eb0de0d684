"""Columns of texts whose next text is likely none of those that were learned from."""

import numpy as np
from jaxtyping import Float

from jaxflow.data.columns.categories import as_number
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.columns.discrete_maps import Categorical
from jaxflow.data.tables.csv.dressed_numbers import are_numbers, may_be_number
from jaxflow.detection.scoring.table_encoder import Inputs

LONE_SHARE = 0.1  # of the rows that have a category of their own, so that it is said
FEWEST = 10  # of such rows
MOST_NAMED = 5  # columns


def lone_categories(inputs: Inputs, learned: Float[np.ndarray, "n columns"], columns: ColumnsSpec) -> str | None:
    """A sentence that names the columns in which many rows have a category of their own, or most are numbers.

    The chance that the next row has what none had is about the share of rows that alone have what they have (Good 1953,
    "The population frequencies of species"). Such a row counts as never seen, whatever else it holds. Numbers with
    other signs about them, such as $51, are categories that nothing but this tells apart.

    Args:
        inputs: fitted; looked at are columns that were found to be texts.
        learned: codes of the rows that the categories are taken from.
        columns: what is said of the columns; those that are said to be categorical are left out.
    """
    found = []
    for index, column in enumerate(inputs.encoding.maps):
        said = columns.types.get(column.name)
        if not isinstance(column, Categorical) or (said is not None and said.kind is not None):
            continue
        places = learned[:, index]
        places = places[places >= 0].astype(np.int64)
        counts = np.bincount(places, minlength=len(column.categories))
        alone, rows = np.flatnonzero(counts == 1), len(places)
        numbers = [place for place, text in enumerate(column.categories) if _is_dressed(text)]
        if numbers and are_numbers(counts[numbers].tolist(), rows):
            text = column.categories[numbers[0]]
            found.append(f"{column.name} has {len(numbers):,} texts that look like numbers, such as {text!r:.60}")
        elif len(alone) >= max(FEWEST, LONE_SHARE * rows):
            text = column.categories[alone[0]]
            found.append(f"{column.name} has {len(alone):,} texts that are in one row each, such as {text!r:.60}")
    if not found:
        return None
    more = f", and {len(found) - MOST_NAMED} more columns" if len(found) > MOST_NAMED else ""
    return (
        f"a text that no training row has is an anomaly by itself, and column {', '.join(found[:MOST_NAMED])}{more}: "
        "write numbers plainly, leave names and identifiers out, or say that they are kinds of things "
        "(columns.types.NAME = categorical)"
    )


def _is_dressed(text: str) -> bool:
    """Whether a text may be a number with other signs about it; a number alone may be a code."""
    return as_number(text) is None and may_be_number(text)
