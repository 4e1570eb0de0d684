"""The history of a fit as arrays, and back."""

import re
from collections.abc import Mapping

import numpy as np

from jaxflow.errors import InputError
from jaxflow.training.monitoring.history import WHOLE, History

ABSENT = ".absent"
COLUMN_NAME = re.compile(r"\d{1,3}\.[a-z_]+(\.absent)?", re.ASCII)
ALWAYS_THERE = WHOLE | {"train_loss", "best_loss", "seconds"}  # others a model lacks that fits itself
NEVER_NEGATIVE = WHOLE | {"learning_rate", "seconds", "steps_per_second", "device_memory"}
NEEDED = {"epoch", "train_loss", "valid_loss"}


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
        InputError: if the arrays differ in length, or are not those of a history.
    """
    for name, array in arrays.items():
        kinds = (np.bool_,) if name.endswith(ABSENT) else (np.int64, np.float64)
        if not COLUMN_NAME.fullmatch(name) or (name.endswith(ABSENT) and name.removesuffix(ABSENT) not in arrays):
            raise InputError(f"the array history.{name:.80} is no column of a history")
        if array.ndim != 1 or array.dtype not in kinds:
            raise InputError(
                f"the array history.{name} is {array.dtype}{list(array.shape)}, expected a number an epoch"
            )
    lengths = {array.size for array in arrays.values()}
    if len(lengths) > 1:
        raise InputError(f"the columns of the history have {sorted(lengths)} rows, expected the same number")
    columns: dict[str, list] = {}
    for name in sorted((name for name in arrays if not name.endswith(ABSENT)), key=_place):
        absent = arrays.get(name + ABSENT, np.zeros(arrays[name].shape, bool))
        values = zip(arrays[name].tolist(), absent.tolist(), strict=True)
        column = name.partition(".")[2]
        if column in columns:
            raise InputError(f"the history has the column {column:.80} twice")
        columns[column] = [None if gone else value for value, gone in values]
    if columns and not columns.keys() >= NEEDED:
        raise InputError(f"the history has no column {min(NEEDED - columns.keys())}")
    for name, values in columns.items():
        for epoch, value in enumerate(values, start=1):
            if not _possible(name, value, epoch):
                raise InputError(f"the history has {name:.80} = {value} in epoch {epoch}, which no fit has")
    return History([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def _possible(name: str, value: float | int | None, epoch: int) -> bool:
    if value is None:
        return name not in ALWAYS_THERE
    if name == "epoch":
        return value == epoch
    # Losses and gradients may be anything, as where a fit fails.
    return (name not in WHOLE or float(value).is_integer()) and (name not in NEVER_NEGATIVE or value >= 0)


def _place(name: str) -> int:
    return int(name.partition(".")[0])
