"""A detector's answers to the rows of a file: the score, its p-value, the decision, and the reasons for it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from jaxflow.data.columns.discrete_maps import UNSEEN
from jaxflow.data.columns.unseen_texts import KeptTexts
from jaxflow.data.tables.csv.dialect import CsvOptions
from jaxflow.data.tables.read_table import read_chunks
from jaxflow.detection.detector import Detector
from jaxflow.detection.explain.explainer import Explainer
from jaxflow.detection.explain.explanation import OtherTexts, categories_of

SCHEMA = pa.schema([("row", pa.int64()), ("score", pa.float64()), ("p_value", pa.float64()), ("anomaly", pa.int8())])


def kept_texts(detector: Detector) -> dict[str, KeptTexts]:
    """The categories of the detector's columns, which are to keep the texts that `detector_chunks` finds besides."""
    return {name: KeptTexts(texts) for name, texts in categories_of(detector).items()}


def detector_chunks(
    detector: Detector,
    file: Path,
    chunk_rows: int,
    kept: Mapping[str, KeptTexts] | None = None,
    csv: CsvOptions | None = None,
) -> Iterator[Float64[np.ndarray, "rows columns"]]:
    """The detector's columns of a CSV or Parquet file as codes, some rows at a time.

    Args:
        detector: whose columns they are.
        file: the file.
        chunk_rows: rows of every chunk but the last.
        kept: what keeps texts that are no categories, for `answer_chunks`, which has to be given the same.
        csv: what is known of how a CSV file is written; the rest is found out.

    Raises:
        InputError: as `read_chunks` does.
    """
    return read_chunks(
        file,
        features=detector.columns_,
        chunk_rows=chunk_rows,
        categories=categories_of(detector) if kept is None else kept,
        missing=detector.inputs_.encoding.missing != "refuse",
        csv=csv,
    )


def answer_schema(reasons: int = 0) -> pa.Schema:
    """The columns of the answers."""
    return SCHEMA.append(pa.field("reasons", pa.string())) if reasons else SCHEMA


def answer_chunks(
    detector: Detector,
    chunks: Iterable[np.ndarray],
    reasons: int = 0,
    kept: Mapping[str, KeptTexts] | None = None,
    method: str = "auto",
) -> Iterator[pa.RecordBatch]:
    """Score chunks of rows, each (rows, n_features), as codes, with the columns in the order of `detector.columns_`.

    Args:
        detector: the detector that answers.
        chunks: the rows.
        reasons: how many columns to name at most that carry most of the score of a flagged row; naming them takes many
            times as long as scoring, see `Detector.explain`.
        kept: the texts that reasons are to show where they are no categories, as `detector_chunks` has kept them.
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
    for given in chunks:
        chunk, others = _known(detector, given, kept or {})
        scores = detector.scores_of_rows(chunk)
        flagged = scores > detector.threshold_
        columns = [
            pa.array(np.arange(first, first + len(scores))),
            pa.array(scores),
            pa.array(detector._p_values_of_scores(scores)),
            pa.array(flagged.astype(np.int8)),
        ]
        if explain is not None:
            texts = np.full(len(scores), None, object)
            if flagged.any():
                places = np.cumsum(flagged) - 1
                shown = {(int(places[row]), column): text for (row, column), text in others.items() if flagged[row]}
                found = explain(chunk[flagged], scores[flagged], shown).top(reasons)
                texts[flagged] = ["; ".join(map(str, row)) for row in found]
            columns.append(pa.array(texts, pa.string()))
        yield pa.RecordBatch.from_arrays(columns, schema=answer_schema(reasons))
        first += len(scores)


def _known(
    detector: Detector, chunk: Float64[np.ndarray, "rows columns"], kept: Mapping[str, KeptTexts]
) -> tuple[Float64[np.ndarray, "rows columns"], OtherTexts]:
    """The rows with one code for all texts that are no categories, and these."""
    others = {
        (row, column): kept[name].other(chunk[row, column])
        for column, name in enumerate(detector.columns_)
        if name in kept
        for row in np.flatnonzero(chunk[:, column] < UNSEEN).tolist()
    }
    if others:
        chunk = chunk.copy()
        chunk[tuple(np.array(list(others)).T)] = UNSEEN
    return chunk, others
