"""Reading of rows that are given to a detector, as rows of numbers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from jaxflow.data.columns.cells import matrix_of
from jaxflow.data.columns.discrete_maps import Categorical
from jaxflow.data.dataset import require_columns, require_distinct
from jaxflow.data.encoding import missing_value
from jaxflow.data.tables.frame import Frame, arrow_table, as_frame, exact_columns, is_pandas, is_table
from jaxflow.detection.check_parameters import columns_spec
from jaxflow.errors import InputError


def read_rows(detector: Any, X: Any, *, reset: bool, allow_missing: bool) -> Frame:
    """The rows of a table or an array, its columns in the order in which they were fitted.

    The shape of an array is checked as scikit-learn does it, and so are the names of tables that have some.

    Args:
        detector: whose `n_features_in_`, `feature_names_in_` and `columns_` are compared, or set where `reset` is true.
        X: a table of pandas, polars or pyarrow, a `Frame`, or an array of numbers, or of numbers and texts. What a mask
            hides is missing.
        reset: whether the rows are to be fitted.
        allow_missing: whether values may be missing.

    Raises:
        ValueError: if `X` does not suit; in particular an `InputError` where scikit-learn has no check of its own.
    """
    if isinstance(X, Frame):
        frame = _by_name(detector, X, reset)
    elif is_table(X):
        table = arrow_table(X)
        require_distinct(table.column_names, "X: column")
        if not reset and _knows_names(detector, table.column_names):
            frame = _by_name(detector, as_frame(table), reset)
        else:
            # The names, and their order; of pandas as they are, since there they may be numbers.
            if is_pandas(X) and len({isinstance(name, str) for name in X.columns}) > 1:
                raise InputError("X: some names of columns are texts and some are not: X.columns.astype(str) are texts")
            validate_data(detector, X if is_pandas(X) else table, skip_check_array=True, reset=reset)
            frame = as_frame(table)
    else:
        frame = _of_array(detector, matrix_of(X), reset)
    if not len(frame) or not frame.names:
        raise InputError(f"X has shape ({len(frame)}, {len(frame.names)}), expected a row and a column at least")
    if not np.isfinite(frame.x).all():
        infinite = np.isinf(frame.x)
        if infinite.any():
            row, column = np.argwhere(infinite)[0]
            value = frame.x[row, column]
            raise InputError(f"row {row + 1}, column {frame.names[column]} is {value}, expected a finite number")
        if not allow_missing:
            row, column = np.argwhere(np.isnan(frame.x))[0]
            raise missing_value(int(row), frame.names[column])
    if reset:
        detector.columns_ = tuple(str(name) for name in getattr(detector, "feature_names_in_", frame.names))
    return frame.renamed(detector.columns_)


def _of_array(detector: Any, array: Any, reset: bool) -> Frame:
    exact: Mapping[str, np.ndarray] = {}
    if array.dtype.kind == "O":
        frame = as_frame(array, textual=_categorical_places(detector, reset), learned=reset)
        if frame.categories:
            if reset:
                _set_width(detector, len(frame.names))
            elif len(frame.names) != detector.n_features_in_:
                raise InputError(f"X has {len(frame.names)} columns, expected {detector.n_features_in_}")
            return frame
        array, exact = frame.x, frame.exact
    with np.errstate(over="ignore"):  # of longer floats, which are then refused as infinite
        # Of what is not finite the caller names row and column.
        frame = as_frame(validate_data(detector, array, dtype=np.float64, reset=reset, ensure_all_finite=False))
    return replace(frame, exact=exact or exact_columns(array, frame.names))


def _categorical_places(detector: Any, reset: bool) -> list[int]:
    """The places of the columns that are known to be categorical."""
    if not reset:
        return [place for place, known in enumerate(detector.inputs_.encoding.maps) if isinstance(known, Categorical)]
    types = columns_spec(detector).types
    names = [name for name, column in types.items() if column.kind == "categorical"]
    return [int(name[1:]) for name in names if name[:1] == "x" and name[1:].isdecimal()]


def _by_name(detector: Any, frame: Frame, reset: bool) -> Frame:
    if reset:
        _set_width(detector, len(frame.names))
        return frame
    require_columns("X", detector.columns_, frame.names)
    return frame.pick(detector.columns_)


def _knows_names(detector: Any, names: list[str]) -> bool:
    """Whether a table of such columns is matched by their names though scikit-learn does not know them.

    Those of detectors fitted by scripts are. Names that arrays are given, x0, x1, ..., say nothing about a table that
    has others.
    """
    if hasattr(detector, "feature_names_in_"):
        return False
    given = tuple(f"x{place}" for place in range(detector.n_features_in_))
    return detector.columns_ != given or set(given) <= set(names)


def _set_width(detector: Any, columns: int) -> None:
    detector.n_features_in_ = columns
    if hasattr(detector, "feature_names_in_"):  # of an earlier fit
        del detector.feature_names_in_
