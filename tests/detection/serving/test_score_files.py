import numpy as np
import pytest

from jaxflow.detection.serving.score_files import SCHEMA, answer_chunks, answer_schema


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [3, 0, 6, 1]])
def test_answers_do_not_depend_on_the_chunks(detector, rows, sizes):
    chunks = np.split(rows, np.cumsum(sizes)[:-1])
    batches = list(answer_chunks(detector, chunks))
    assert [batch.num_rows for batch in batches] == sizes
    assert all(batch.schema == SCHEMA for batch in batches)
    columns = {name: np.concatenate([batch.column(name).to_numpy() for batch in batches]) for name in SCHEMA.names}
    np.testing.assert_array_equal(columns["row"], np.arange(1, 11))
    np.testing.assert_array_equal(columns["score"], detector.anomaly_score(rows))
    np.testing.assert_array_equal(columns["p_value"], detector.p_values(rows))
    np.testing.assert_array_equal(columns["anomaly"], detector.predict(rows) == -1)
    assert 0 < columns["anomaly"].sum() < 10


def test_chunks_are_asked_for_one_at_a_time(detector, rows):
    asked = []

    def chunks():
        for row in rows:
            asked.append(len(asked))
            yield row[None]

    batches = answer_chunks(detector, chunks())
    next(batches)
    assert asked == [0]


def test_rows_with_names_make_no_warning(detector, rows):
    # A detector fitted on a table with names is asked with matrices here; scikit-learn would warn of that.
    detector.feature_names_in_ = np.array(["speed", "weight"], dtype=object)
    next(answer_chunks(detector, [rows]))
    del detector.feature_names_in_


def test_reasons_of_flagged_rows_are_a_column_of_texts(detector, rows):
    (batch,) = answer_chunks(detector, [rows], reasons=1)
    assert batch.schema == answer_schema(1)
    assert batch.schema.names == [*SCHEMA.names, "reasons"]
    flagged = detector.predict(rows) == -1
    found = batch.column("reasons").to_pylist()
    assert [text is None for text in found] == (~flagged).tolist()
    expected = [str(*row) for row in detector.explain(rows[flagged]).top(1)]
    assert [text for text in found if text is not None] == expected
    (batch,) = answer_chunks(detector, [rows], reasons=2)
    (text,) = {text for text in batch.column("reasons").to_pylist()[: 1 + flagged.argmax()] if text is not None}
    assert text.startswith(expected[0] + "; ")
    (batch,) = answer_chunks(detector, [rows[~flagged]], reasons=2)
    assert batch.column("reasons").null_count == (~flagged).sum()
