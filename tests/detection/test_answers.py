import json
import math

import numpy as np
import pytest

from jaxflow.detection import GaussianDetector, GivenThreshold, Percentile
from jaxflow.detection.answers import SCHEMA, answer_chunks, answer_record
from jaxflow.errors import InputError


@pytest.fixture(scope="module")
def detector():
    x = np.random.default_rng(0).normal(size=(50, 2)) * [1.0, 100.0]
    detector = GaussianDetector(threshold=Percentile(percentile=80)).fit(x)
    detector.columns_ = ("speed", "weight")
    return detector


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(1).normal(size=(10, 2)) * [2.0, 200.0]


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


def test_a_record_is_answered_as_its_row(detector, rows):
    for row in rows:
        record = {"weight": row[1], "note": "not looked at", "speed": row[0]}
        answer = answer_record(detector, record, "here")
        assert answer == {
            "score": detector.anomaly_score(row[None])[0],
            "p_value": detector.p_values(row[None])[0],
            "anomaly": int(detector.predict(row[None])[0] == -1),
        }
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_whole_numbers_are_numbers(detector):
    assert answer_record(detector, {"speed": 1, "weight": 2}, "here") == answer_record(
        detector, {"speed": 1.0, "weight": 2.0}, "here"
    )


@pytest.mark.parametrize(("score", "text"), [(math.inf, "Infinity"), (-math.inf, "-Infinity")])
def test_an_infinite_score_is_text_that_float_reads(detector, monkeypatch, score, text):
    monkeypatch.setattr(GaussianDetector, "scores_of_rows", lambda self, x: np.array([score]))
    answer = answer_record(detector, {"speed": 1, "weight": 2}, "here")
    assert answer["score"] == text
    assert float(answer["score"]) == score
    assert answer["anomaly"] == (score > 0)


def test_a_row_at_the_threshold_is_no_anomaly(detector, rows):
    score = float(detector.anomaly_score(rows[:1])[0])
    before = detector.threshold_rule_
    detector.set_threshold(GivenThreshold(value=score))
    assert answer_record(detector, {"speed": rows[0, 0], "weight": rows[0, 1]}, "here")["anomaly"] == 0
    detector.set_threshold(before)


def test_rows_with_names_make_no_warning(detector, rows):
    # A detector fitted on a table with names is asked with matrices here; scikit-learn would warn of that.
    detector.feature_names_in_ = np.array(["speed", "weight"], dtype=object)
    next(answer_chunks(detector, [rows]))
    del detector.feature_names_in_


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ([1, 2], "line 3: expected an object of column names and numbers, got [1, 2]"),
        (5, "line 3: expected an object of column names and numbers, got 5"),
        ({"weight": 2}, "line 3: column speed is missing"),
        ({"speed": "1", "weight": 2}, "line 3: column speed is '1', expected a finite number"),
        ({"speed": None, "weight": 2}, "line 3: column speed is None, expected a finite number"),
        ({"speed": True, "weight": 2}, "line 3: column speed is True, expected a finite number"),
        ({"speed": 1, "weight": math.nan}, "line 3: column weight is nan, expected a finite number"),
        ({"speed": 1, "weight": -math.inf}, "line 3: column weight is -inf, expected a finite number"),
        ({"speed": 10**400, "weight": 2}, f"line 3: column speed is 1{'0' * 59}, expected a finite number"),
        ([0] * 1000, f"line 3: expected an object of column names and numbers, got {str([0] * 1000)[:60]}"),
    ],
)
def test_a_record_that_cannot_be_scored(detector, record, sentence):
    with pytest.raises(InputError) as error:
        answer_record(detector, record, "line 3")
    assert str(error.value) == sentence
