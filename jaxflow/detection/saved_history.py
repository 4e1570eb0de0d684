"""The history of a fit as arrays, and back."""

from collections.abc import Mapping

import numpy as np

from jaxflow.errors import InputError
from jaxflow.training.history import History

ABSENT = ".absent"


def history_arrays(history: History) -> dict[str, np.ndarray]:
    """One array a column: whole numbers as int64, others as float64.

    A second one, boolean, says where a column has None instead of a number, if it has any: NaN will not do for that,
    because a loss can be NaN itself.
    """
    arrays: dict[str, np.ndarray] = {}
    for name in history.rows[0] if history.rows else ():
        column = history.column(name)
        whole = all(isinstance(value, int) for value in column)
        arrays[name] = np.array([0 if value is None else value for value in column], np.int64 if whole else np.float64)
        absent = np.array([value is None for value in column])
        if absent.any():
            arrays[name + ABSENT] = absent
    return arrays


def restored_history(arrays: Mapping[str, np.ndarray]) -> History:
    """The history that `history_arrays` was given.

    Raises:
        InputError: if the arrays differ in length.
    """
    columns: dict[str, list] = {}
    for name, array in arrays.items():
        if not name.endswith(ABSENT):
            absent = arrays.get(name + ABSENT, np.zeros(array.shape, bool))
            columns[name] = [
                None if gone else value for value, gone in zip(array.tolist(), absent.tolist(), strict=False)
            ]
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) > 1:
        raise InputError(f"the columns of the history have {sorted(lengths)} rows, expected the same number")
    return History([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
