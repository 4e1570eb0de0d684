"""A detector's answers to the rows of a file: the score, its p-value, the decision, and the reasons for it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from jaxflow.data.tabular import read_chunks
from jaxflow.detection.attribution import categories_of
from jaxflow.detection.detector import Detector
from jaxflow.detection.explainer import Explainer

SCHEMA = pa.schema([("row", pa.int64()), ("score", pa.float64()), ("p_value", pa.float64()), ("anomaly", pa.int8())])


def detector_chunks(detector: Detector, file: Path, chunk_rows: int) -> Iterator[Float64[np.ndarray, "rows columns"]]:
    """The detector's columns of a CSV or Parquet file as codes, some rows at a time.

    Raises:
        InputError: as `read_chunks` does.
    """
    return read_chunks(
        file,
        features=detector.columns_,
        chunk_rows=chunk_rows,
        categories=categories_of(detector),
        missing=detector.inputs_.encoding.missing != "refuse",
    )


def answer_schema(reasons: int = 0) -> pa.Schema:
    """The columns of the answers."""
    return SCHEMA.append(pa.field("reasons", pa.string())) if reasons else SCHEMA


def answer_chunks(
    detector: Detector, chunks: Iterable[np.ndarray], reasons: int = 0, method: str = "auto"
) -> Iterator[pa.RecordBatch]:
    """Score chunks of rows, each (rows, n_features), as codes, with the columns in the order of `detector.columns_`.

    Args:
        detector: the detector that answers.
        chunks: the rows.
        reasons: how many columns to name at most that carry most of the score of a flagged row; naming them takes many
            times as long as scoring, see `Detector.explain`.
        method: where the reasons come from, see there.

    Yields:
        For each chunk: `row` (from 1), `score` (higher = more anomalous), `p_value` (conformal, from the calibration
        scores), `anomaly` (1 where the score is above the threshold), and if `reasons` is not 0 `reasons`: a text for
        flagged rows such as "heat = 7.1 (normal: 1.2 to 3.4); speed = 2 (never seen)", null for others.

    Raises:
        InputError: if reasons are wanted and the detector was saved without normal rows.
    """
    explain = Explainer(detector, method) if reasons else None
    first = 1
    for chunk in chunks:
        scores = detector.scores_of_rows(chunk)
        flagged = scores > detector.threshold_
        columns = [
            pa.array(np.arange(first, first + len(scores))),
            pa.array(scores),
            pa.array(detector.p_values_of_scores(scores)),
            pa.array(flagged.astype(np.int8)),
        ]
        if explain is not None:
            texts = np.full(len(scores), None, object)
            if flagged.any():
                found = explain(chunk[flagged], scores[flagged]).top(reasons)
                texts[flagged] = ["; ".join(map(str, row)) for row in found]
            columns.append(pa.array(texts, pa.string()))
        yield pa.RecordBatch.from_arrays(columns, schema=answer_schema(reasons))
        first += len(scores)
