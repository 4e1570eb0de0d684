"""Normal rows that a saved detector keeps to explain with, as arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxflow.detection.explain.explanation import NORMAL_ROWS
from jaxflow.errors import InputError


def reasons_arrays(detector: Any) -> dict[str, np.ndarray]:
    """`normal_rows`; nothing for a detector that was loaded from a directory without them."""
    rows = getattr(detector, "normal_rows_", None)
    return {} if rows is None else {"normal_rows": rows}


def restore_reasons(detector: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Give the detector what `reasons_arrays` had of it; without arrays it can score, but not explain.

    Raises:
        InputError: if there are other arrays, or the rows are not what a detector keeps.
    """
    unknown = sorted(arrays.keys() - {"normal_rows"})
    if unknown:
        raise InputError(f"the array reasons.{unknown[0]} is none that a detector explains with")
    if not arrays:
        return
    rows, columns = arrays["normal_rows"], detector.n_features_in_
    fits = rows.ndim == 2 and rows.shape[1] == columns and 1 <= len(rows) <= NORMAL_ROWS
    if rows.dtype != np.float64 or not fits or np.isinf(rows).any():
        raise InputError(
            f"the array reasons.normal_rows is {rows.dtype}{rows.shape}, expected 1 to {NORMAL_ROWS} finite rows of "
            f"{columns} columns in float64"
        )
    detector._keep_normal_rows(rows)
