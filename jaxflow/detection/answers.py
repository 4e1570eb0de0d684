"""A detector's answers row by row: the score, its p-value, the decision."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from jaxflow.data.column_maps import Categorical
from jaxflow.data.table_writer import json_number
from jaxflow.data.tabular import read_chunks
from jaxflow.detection.detector import Detector
from jaxflow.errors import InputError

SCHEMA = pa.schema([("row", pa.int64()), ("score", pa.float64()), ("p_value", pa.float64()), ("anomaly", pa.int8())])


def detector_chunks(detector: Detector, file: Path, chunk_rows: int) -> Iterator[Float64[np.ndarray, "rows columns"]]:
    """The detector's columns of a CSV or Parquet file as codes, some rows at a time.

    Raises:
        InputError: as `read_chunks` does.
    """
    encoding = detector.inputs_.encoding
    texts = dict(zip(detector.columns_, encoding.maps, strict=True))
    return read_chunks(
        file,
        features=detector.columns_,
        chunk_rows=chunk_rows,
        categories={name: column.categories for name, column in texts.items() if isinstance(column, Categorical)},
        missing=encoding.missing != "refuse",
    )


def answer_chunks(detector: Detector, chunks: Iterable[np.ndarray]) -> Iterator[pa.RecordBatch]:
    """Score chunks of rows, each (rows, n_features), as codes, with the columns in the order of `detector.columns_`.

    Yields:
        For each chunk: `row` (from 1), `score` (higher = more anomalous), `p_value` (conformal, from the calibration
        scores), `anomaly` (1 where the score is above the threshold).
    """
    first = 1
    for chunk in chunks:
        scores = detector.scores_of_rows(chunk)
        columns = [
            np.arange(first, first + len(scores)),
            scores,
            detector.p_values_of_scores(scores),
            (scores > detector.threshold_).astype(np.int8),
        ]
        yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=SCHEMA)
        first += len(scores)


def answer_record(detector: Detector, record: Any, where: str) -> dict[str, Any]:
    """Score one row given as a mapping of column names to numbers and texts; other keys are not looked at.

    Returns:
        `score`, `p_value` and `anomaly` as in `answer_chunks`, the score as `json_number` has it.

    Raises:
        InputError: opening with `where`, if the record is no mapping, a column is missing, or a value is no finite
            number, where the column is not categorical; null is a missing value, where there may be some.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"{where}: expected an object of column names and numbers, got {record!r:.60}")
    encoding = detector.inputs_.encoding
    values = []
    for column, known in zip(detector.columns_, encoding.maps, strict=True):
        if column not in record:
            raise InputError(f"{where}: column {column} is missing")
        cell = record[column]
        if cell is None and encoding.missing != "refuse":
            values.append(math.nan)
            continue
        number = _finite_number(cell)
        if isinstance(known, Categorical):
            value = known.place(cell) if isinstance(cell, str) else None if number is None else known.place(number)
        else:
            value = number
        if value is None:
            expected = "a text" if isinstance(known, Categorical) else "a finite number"
            raise InputError(f"{where}: column {column} is {cell!r:.60}, expected {expected}")
        values.append(value)
    batch = next(answer_chunks(detector, [np.array([values])]))
    answer = batch.to_pylist()[0]
    del answer["row"]
    return {name: json_number(value) for name, value in answer.items()}


def _finite_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON has whole numbers of any size
        return None
    return number if math.isfinite(number) else None
