import json
import math
from copy import copy
from typing import Any

import numpy as np
import pytest
from flax import nnx

from jaxflow.detection import FlowDetector, GivenThreshold
from jaxflow.detection.explain import row_terms
from jaxflow.detection.scoring import score_in_chunks as scoring
from jaxflow.detection.scoring.frozen_model import FrozenModel
from jaxflow.detection.scoring.row_scorer import RowScorer
from jaxflow.detection.serving.score_records import RecordAnswers, adaptive_threshold
from jaxflow.errors import InputError
from jaxflow.models import MAF
from jaxflow.training import FitSpec


@pytest.fixture(scope="module")
def answer(detector):
    return RecordAnswers(detector)


@pytest.fixture(scope="module")
def flow():
    x = np.random.default_rng(0).normal(size=(150, 3))
    train = FitSpec(epochs=1, batch_size=64)
    return FlowDetector(MAF(layers=2, hidden=(4,)), train=train, calibration_folds=0).fit(x)


def test_a_record_is_answered_as_its_row(detector, answer, rows):
    for row in rows:
        record = {"weight": row[1], "note": "not looked at", "speed": row[0]}
        found = answer(record, "here")
        assert found == {
            "score": detector.anomaly_score(row[None])[0],
            "p_value": detector.p_values(row[None])[0],
            "anomaly": int(detector.predict(row[None])[0] == -1),
        }
        assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_flagged_rows_are_answered_with_reasons(detector, rows):
    answer = RecordAnswers(detector, 1)
    for row, label, (reason,) in zip(rows, detector.predict(rows), detector.explain(rows).top(1), strict=True):
        found = answer({"speed": row[0], "weight": row[1]}, "here")
        names = ("column", "value", "normal_low", "normal_high", "never_seen")
        expected = {name: getattr(reason, name) for name in names}
        assert found["reasons"] == ([expected] if label == -1 else [])
        assert json.loads(json.dumps(found, allow_nan=False)) == found
    far = {"speed": 50.0, "weight": 0.0}
    assert [reason["column"] for reason in RecordAnswers(detector, 5)(far, "here")["reasons"]] == ["speed", "weight"]


def test_no_answer_waits_for_a_program(flow):
    """What one row needs is compiled beforehand: its score, and its reasons if it is flagged."""
    answer = RecordAnswers(flow, 2)
    programs: list[Any] = [scoring._score, row_terms._terms]
    before = [program._cache_size() for program in programs]
    found = [answer(dict.fromkeys(flow.columns_, value), "here") for value in (0.0, 50.0)]
    assert [len(one["reasons"]) for one in found] == [0, 2]
    assert [program._cache_size() for program in programs] == before


def test_what_is_prepared_scores_the_same(flow):
    x = np.random.default_rng(1).normal(size=(5, 3))
    score = RowScorer(flow.model_, flow.inputs_)
    whole = flow.scores_of_rows(x)
    np.testing.assert_array_equal([score(row[None])[0] for row in x], whole)
    np.testing.assert_array_equal([flow.scores_of_rows(row[None])[0] for row in x], whole)


def test_structures_are_equal_where_their_models_are(flow):
    first, second = FrozenModel.of(flow.model_), FrozenModel.of(flow.model_)
    assert FrozenModel.of(first) is first
    assert first.structure == second.structure
    assert hash(first.structure) == hash(second.structure)
    other = FrozenModel.of(MAF(layers=2, hidden=(5,)).build(3, rngs=nnx.Rngs(0)))
    assert first.structure != other.structure
    assert first.structure != flow.model_


def test_what_becomes_of_the_detector_is_not_seen(detector, rows):
    before = detector.threshold_rule_
    answer = RecordAnswers(detector)
    record = {"speed": rows[0, 0], "weight": rows[0, 1]}
    first = answer(record, "here")
    detector.set_threshold(GivenThreshold(value=-1e9))
    assert answer(record, "here") == first
    assert RecordAnswers(detector)(record, "here")["anomaly"] == 1
    detector.set_threshold(before)


def test_reasons_need_normal_rows(detector):
    bare = copy(detector)
    del bare.normal_rows_
    RecordAnswers(bare)
    with pytest.raises(InputError, match="saved without normal rows"):
        RecordAnswers(bare, 1)


def test_whole_numbers_are_numbers(answer):
    assert answer({"speed": 1, "weight": 2}, "here") == answer({"speed": 1.0, "weight": 2.0}, "here")


@pytest.mark.parametrize(("score", "text"), [(math.inf, "Infinity"), (-math.inf, "-Infinity")])
def test_an_infinite_score_is_text_that_float_reads(detector, monkeypatch, score, text):
    monkeypatch.setattr(RowScorer, "__call__", lambda self, x: np.array([score]))
    found = RecordAnswers(detector)({"speed": 1, "weight": 2}, "here")
    assert found["score"] == text
    assert float(found["score"]) == score
    assert found["anomaly"] == (score > 0)


def test_a_row_at_the_threshold_is_no_anomaly(detector, rows):
    score = float(detector.anomaly_score(rows[:1])[0])
    before = detector.threshold_rule_
    detector.set_threshold(GivenThreshold(value=score))
    assert RecordAnswers(detector)({"speed": rows[0, 0], "weight": rows[0, 1]}, "here")["anomaly"] == 0
    detector.set_threshold(before)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ([1, 2], "line 3: expected an object of column names and numbers, got [1, 2]"),
        (5, "line 3: expected an object of column names and numbers, got 5"),
        ({"weight": 2}, "line 3: column speed is missing"),
        ({"speed": "1", "weight": 2}, "line 3: column speed is '1', expected a finite number"),
        ({"speed": None, "weight": 2}, "line 3: column speed is None, expected a finite number"),
        ({"speed": 1, "weight": math.nan}, "line 3: column weight is nan, expected a finite number"),
        ({"speed": 1, "weight": -math.inf}, "line 3: column weight is -inf, expected a finite number"),
        ({"speed": 10**400, "weight": 2}, f"line 3: column speed is 1{'0' * 56}..., expected a finite number"),
        ([0] * 1000, f"line 3: expected an object of column names and numbers, got {str([0] * 1000)[:57]}..."),
    ],
)
def test_a_record_that_cannot_be_scored(answer, record, sentence):
    with pytest.raises(InputError) as error:
        answer(record, "line 3")
    assert str(error.value) == sentence


@pytest.mark.parametrize("kind", ["spot", "drift_spot"])
def test_an_adaptive_threshold_judges_and_learns(detector, kind):
    options = {"rate": 0.05, "level": 0.8} | ({"depth": 10} if kind == "drift_spot" else {})
    adaptive, alone = (adaptive_threshold(detector, kind, **options) for _ in range(2))
    answer = RecordAnswers(detector, adaptive=adaptive)
    rows = np.random.default_rng(3).normal(size=(60, 2)) * [1.0, 1.3]
    rows[50] = 50.0
    thresholds = []
    for row in rows:
        score, threshold = detector.anomaly_score(row[None])[0], alone.threshold
        found = answer({"speed": row[0], "weight": row[1]}, "here")
        assert found == {
            "score": score,
            "p_value": alone.p_value(score),
            "anomaly": int(alone.step(score)),
            "threshold": threshold,
        }
        assert (found["p_value"] < 0.05) == found["anomaly"]
        thresholds.append(threshold)
        with pytest.raises(InputError, match="column weight is missing"):
            answer({"speed": row[0]}, "here")  # learns nothing
    assert len(set(thresholds)) > 5
    assert adaptive.threshold == alone.threshold


def test_values_never_seen_have_no_part_in_the_first_tail(detector):
    known = copy(detector)
    known.calibration_scores_ = np.append(detector.calibration_scores_, [1e6, 2e6])
    expected = adaptive_threshold(detector, "spot").threshold
    assert adaptive_threshold(known, "spot").threshold == pytest.approx(expected, rel=0.1)
