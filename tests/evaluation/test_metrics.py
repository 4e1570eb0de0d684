import json
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from jaxflow.errors import InputError
from jaxflow.evaluation.metrics import evaluate_scores, score_ranks, write_metrics

HAND_LABELS = np.array([0, 0, 0, 1, 1])
HAND_SCORES = np.array([0.1, 0.4, 0.35, 0.8, 0.3])


def test_hand_computed():
    metrics = evaluate_scores(HAND_LABELS, HAND_SCORES, 0.36, n_train=7)
    # Of the 3 x 2 pairs, 0.8 beats three normals and 0.3 beats one.
    assert metrics.roc_auc == pytest.approx(4 / 6)
    # Recall steps by 1/2 at rank 1 (precision 1) and at rank 4 (precision 2/4).
    assert metrics.pr_auc == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    assert (metrics.true_positives, metrics.false_positives) == (1, 1)
    assert (metrics.true_negatives, metrics.false_negatives) == (2, 1)
    assert metrics.precision == metrics.recall == metrics.f1 == 0.5
    assert metrics.false_positive_rate == pytest.approx(1 / 3)
    assert metrics.prevalence == metrics.random_baseline == 0.4
    assert metrics.pr_auc_lift == pytest.approx(0.75 / 0.4)
    assert (metrics.n_train, metrics.n_test, metrics.n_anomalies) == (7, 5, 2)
    assert metrics.threshold == 0.36


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(-4, 4)), min_size=2, max_size=40),
    threshold=st.integers(-5, 5),
)
def test_equal_to_scikit_learn(rows, threshold):
    labels, scores = np.array(rows).T
    labels[:2] = 0, 1
    flagged = scores > threshold
    zero: Any = 0  # scikit-learn's annotation knows only the strings it also takes
    metrics = evaluate_scores(labels, scores.astype(float), threshold, n_train=0)
    assert metrics.roc_auc == pytest.approx(reference.roc_auc_score(labels, scores))
    assert metrics.pr_auc == pytest.approx(reference.average_precision_score(labels, scores))
    assert metrics.precision == pytest.approx(reference.precision_score(labels, flagged, zero_division=zero))
    assert metrics.recall == pytest.approx(reference.recall_score(labels, flagged))
    assert metrics.f1 == pytest.approx(reference.f1_score(labels, flagged, zero_division=zero))
    expected = reference.confusion_matrix(labels, flagged, labels=[0, 1]).ravel().tolist()
    assert [
        metrics.true_negatives,
        metrics.false_positives,
        metrics.false_negatives,
        metrics.true_positives,
    ] == expected
    assert metrics.false_positive_rate == pytest.approx(expected[1] / (expected[0] + expected[1]))


def test_a_score_at_the_threshold_is_not_flagged():
    assert evaluate_scores(np.array([0, 1]), np.array([1.0, 2.0]), 2.0, n_train=1).true_positives == 0


def test_infinite_scores_rank_beyond_all_finite_ones():
    labels = np.array([0, 1, 0, 1, 0])
    infinite = np.array([-np.inf, np.inf, np.finfo(float).max, np.inf, 3.0])
    finite = np.array([-9.0, 9.0, 8.0, 9.0, 3.0])
    with_infinity = evaluate_scores(labels, infinite, 8.5, n_train=1)
    assert with_infinity.roc_auc == evaluate_scores(labels, finite, 8.5, n_train=1).roc_auc == 1.0
    assert with_infinity.true_positives == 2
    assert score_ranks(infinite).tolist() == [0, 3, 2, 3, 1]


def test_what_depends_on_an_absent_class_is_none():
    scores = np.array([0.0, 1.0, 2.0])
    only_normal = evaluate_scores(np.zeros(3, int), scores, 1.5, n_train=1)
    assert only_normal.roc_auc is only_normal.pr_auc is only_normal.pr_auc_lift is None
    assert only_normal.precision is only_normal.recall is only_normal.f1 is None
    assert only_normal.false_positive_rate == pytest.approx(1 / 3)
    only_anomalous = evaluate_scores(np.ones(3, int), scores, 1.5, n_train=1)
    assert only_anomalous.roc_auc is only_anomalous.pr_auc is only_anomalous.false_positive_rate is None
    assert only_anomalous.recall == pytest.approx(1 / 3)
    assert only_anomalous.prevalence == 1.0


def test_nothing_flagged_has_precision_zero():
    metrics = evaluate_scores(HAND_LABELS, HAND_SCORES, 1.0, n_train=1)
    assert metrics.precision == metrics.recall == metrics.f1 == metrics.false_positive_rate == 0.0


@pytest.mark.parametrize("labels", [HAND_LABELS.astype(bool), HAND_LABELS.astype(float), jnp.asarray(HAND_LABELS)])
def test_labels_and_scores_of_any_numeric_type(labels):
    metrics = evaluate_scores(labels, jnp.asarray(HAND_SCORES), np.float32(0.36), n_train=1)
    assert metrics.roc_auc == pytest.approx(4 / 6)
    json.dumps(metrics.to_dict())


@pytest.mark.parametrize(
    ("labels", "scores", "threshold", "message"),
    [
        ([0, 1, 0], [0.0, np.nan, np.nan], 0.0, "2 of 3 scores are NaN, the first in row 1: expected numbers"),
        ([0, 1], [0.0, 1.0, 2.0], 0.0, "2 labels for 3 scores: expected one of each a row"),
        ([0, 1, 2], [0.0, 1.0, 2.0], 0.0, "label = 2 in row 2: expected 0 for normal or 1 for anomaly"),
        ([1, -1], [0.0, 1.0], 0.0, "label = -1 in row 1"),
        ([0.0, 0.5], [0.0, 1.0], 0.0, "label = 0.5 in row 1"),
        ([0.0, np.nan], [0.0, 1.0], 0.0, "label = nan in row 1"),
        (["0", "1"], [0.0, 1.0], 0.0, "label = '0' in row 0"),
        ([0, 1], ["high", "low"], 0.0, "scores are of type <U4: expected numbers"),
        ([], [], 0.0, r"scores have shape \(0,\): expected one score a row and at least one row"),
        ([0, 1], [0.0, 1.0], np.nan, "threshold is NaN: expected a number"),
    ],
)
def test_refusals(labels, scores, threshold, message):
    with pytest.raises(InputError, match=message):
        evaluate_scores(np.array(labels), np.array(scores), threshold, n_train=1)


def _strict_json(path):
    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_the_file_is_json_and_complete(tmp_path):
    path = tmp_path / "metrics.json"
    write_metrics(evaluate_scores(HAND_LABELS, HAND_SCORES, 0.36, n_train=7), path)
    values = _strict_json(path)
    assert {"roc_auc", "pr_auc", "prevalence", "precision", "recall", "f1", "threshold"} < set(values)
    assert {"false_positive_rate", "n_train", "n_test", "n_anomalies", "pr_auc_lift"} < set(values)
    assert values["roc_auc"] == pytest.approx(4 / 6)
    assert values["n_train"] == 7


@pytest.mark.parametrize("threshold", [np.inf, -np.inf])
def test_an_infinite_threshold_and_missing_numbers_survive_json(tmp_path, threshold):
    path = tmp_path / "metrics.json"
    write_metrics(evaluate_scores(np.zeros(2, int), np.array([1.0, np.inf]), threshold, n_train=1), path)
    values = _strict_json(path)
    assert values["roc_auc"] is None
    assert math.isinf(float(values["threshold"]))
    assert float(values["threshold"]) == threshold
