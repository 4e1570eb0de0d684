"""The history of a fit as arrays, and back."""

from collections.abc import Mapping

import numpy as np

from jaxflow.errors import InputError
from jaxflow.training.history import History

ABSENT = ".absent"


def history_arrays(history: History) -> dict[str, np.ndarray]:
    """One array a column, `0.epoch`, `1.train_loss`, ...: whole numbers as int64, others as float64.

    A second one, boolean, says where a column has None instead of a number, if it has any: NaN will not do for that,
    because a loss can be NaN itself.
    """
    arrays: dict[str, np.ndarray] = {}
    for index, name in enumerate(history.rows[0] if history.rows else ()):
        column = history.column(name)
        whole = all(isinstance(value, int) for value in column)
        array = np.array([0 if value is None else value for value in column], np.int64 if whole else np.float64)
        arrays[f"{index}.{name}"] = array
        absent = np.array([value is None for value in column])
        if absent.any():
            arrays[f"{index}.{name}{ABSENT}"] = absent
    return arrays


def restored_history(arrays: Mapping[str, np.ndarray]) -> History:
    """The history that `history_arrays` was given, whatever order the arrays are in now.

    Raises:
        InputError: if the arrays differ in length.
    """
    lengths = {array.size for array in arrays.values()}
    if len(lengths) > 1:
        raise InputError(f"the columns of the history have {sorted(lengths)} rows, expected the same number")
    columns: dict[str, list] = {}
    for name in sorted(name for name in arrays if not name.endswith(ABSENT)):
        absent = arrays.get(name + ABSENT, np.zeros(arrays[name].shape, bool))
        values = zip(arrays[name].tolist(), absent.tolist(), strict=True)
        columns[name.partition(".")[2]] = [None if gone else value for value, gone in values]
    return History([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
