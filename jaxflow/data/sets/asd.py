"""The Application Server Dataset: metrics of servers, with the anomalous metrics of each anomaly named.

Li et al. 2021, "Multivariate time series anomaly detection and interpretation using hierarchical inter-metric and
temporal embedding" (InterFusion).
"""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from jaxflow.data.sets.placed_file import placed_file
from jaxflow.data.tables.npz_file import opened_npz
from jaxflow.data.tables.table import damaged
from jaxflow.errors import InputError
from jaxflow.regular_file import open_regular, read_regular

MACHINES = range(1, 7)
ARRAYS = {"train": 2, "test": 2, "test_label": 1}  # and their dimensions
MOST_TEXT_BYTES = 1 << 20
LINE = re.compile(r"([0-9]{1,9})-([0-9]{1,9}):([0-9]{1,9}(?:,[0-9]{1,9})*)")


class Interval(NamedTuple):
    """Consecutive rows that are anomalous, and why.

    Attributes:
        start: the first, counted from 0.
        stop: the one after the last.
        metrics: numbers of the anomalous columns, counted from 0, ascending.
    """

    start: int
    stop: int
    metrics: tuple[int, ...]


class AsdMachine(NamedTuple):
    """One server: a row every five minutes, a column a metric.

    Attributes:
        name: such as asd/omi-1.
        train: rows of normal operation; whether they are all normal nobody has checked.
        test: the rows after them.
        labels: of the test rows, 0 = normal, 1 = anomaly.
        intervals: the anomalous test rows, in order, with their metrics.
        feature_names: metric_1, metric_2, ..., numbered as in the interpretation files.
    """

    name: str
    train: Float64[np.ndarray, "n_train dim"]
    test: Float64[np.ndarray, "n_test dim"]
    labels: Int64[np.ndarray, "n_test"]
    intervals: tuple[Interval, ...]
    feature_names: tuple[str, ...]


def load_asd(machine: int, directory: Path | str | None = None) -> AsdMachine:
    """One machine, from `omi-<machine>.npz` and `omi-<machine>_interpretation.txt`.

    The archive holds `train` and `test`, (rows, metrics), and `test_label`, (rows,). The text has a line
    `first-last:metric,metric,...` for each anomaly, rows counted from 0 and metrics from 1.

    Args:
        machine: its number, 1 to 6.
        directory: where the files are; by default `$JAXFLOW_DATA/asd`. They are not downloaded.

    Raises:
        InputError: if there is no such machine, a file is missing or damaged, a value is not finite, or the intervals
            are not in order, name metrics that are not there, or are not exactly the rows whose label is 1.
    """
    if machine not in MACHINES:
        raise InputError(f"asd: machine = {machine}, expected {MACHINES[0]} to {MACHINES[-1]}")
    advice = "it is not downloaded, so put InterFusion's data there, as `load_asd` wants it"
    path, text = (
        placed_file("asd", f"omi-{machine}{ending}", advice, directory) for ending in (".npz", "_interpretation.txt")
    )
    train, test, labels = _arrays(path)
    intervals = _intervals(text, len(test), test.shape[1])
    covered = np.zeros(len(test), np.int64)
    for interval in intervals:
        covered[interval.start : interval.stop] = 1
    wrong = np.flatnonzero(covered != labels)
    if wrong.size:
        where = "lies in one of its intervals" if covered[wrong[0]] else "lies in none of its intervals"
        raise InputError(f"{text}: row {wrong[0]} {where}, but has the label {labels[wrong[0]]} in {path.name}")
    names = tuple(f"metric_{number}" for number in range(1, test.shape[1] + 1))
    return AsdMachine(f"asd/omi-{machine}", train, test, labels, intervals, names)


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with opened_npz(path, open_regular(path)) as archive:
        for name in ARRAYS:
            if name not in archive.names:
                raise InputError(f"{path}: array {name} is missing")
        numbers = sum(math.prod(archive.header(name, ndim).shape) for name, ndim in ARRAYS.items())
        archive.require_moderate(ARRAYS, numbers)
        return _checked({name: archive.array(name, ndim) for name, ndim in ARRAYS.items()}, path)


def _checked(found: dict[str, Any], path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    for name, array in found.items():
        if not array.size:
            raise InputError(f"{path}: array {name} has shape {array.shape}, expected at least one row and column")
        if not np.isfinite(array).all():
            place = np.argwhere(~np.isfinite(array))[0].tolist()
            raise InputError(f"{path}: array {name} is {array[tuple(place)]} at {place}, expected a finite number")
    train, test, labels = found.values()
    if train.shape[1] != test.shape[1] or len(labels) != len(test):
        shapes = ", ".join(f"{name} {np.shape(array)}" for name, array in found.items())
        raise InputError(f"{path}: the arrays do not fit together: {shapes}")
    if not np.isin(labels, (0, 1)).all():
        raise InputError(f"{path}: test_label holds {labels[~np.isin(labels, (0, 1))][0]}, expected 0 or 1")
    return train.astype(np.float64), test.astype(np.float64), labels.astype(np.int64)


def _intervals(path: Path, rows: int, metrics: int) -> tuple[Interval, ...]:
    try:
        lines = read_regular(path, MOST_TEXT_BYTES, "a text").decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise damaged(path, "text", error) from None
    intervals: list[Interval] = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}: line {number}"
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(f"{where} is {line!r:.60}, expected first-last:metric,metric,... in whole numbers")
        first, last = int(match[1]), int(match[2])
        after = intervals[-1].stop if intervals else 0
        if not after <= first <= last < rows:
            raise InputError(f"{where}: rows {first}-{last}, expected first <= last from {after} to {rows - 1}")
        named = [int(metric) for metric in match[3].split(",")]
        for metric in named:
            if not 1 <= metric <= metrics:
                raise InputError(f"{where}: metric {metric}, expected 1 to {metrics}")
        if len(set(named)) < len(named):
            raise InputError(f"{where}: metrics {match[3]}, expected each once")
        intervals.append(Interval(first, last + 1, tuple(sorted(metric - 1 for metric in named))))
    return tuple(intervals)
