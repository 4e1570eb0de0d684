import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from jaxflow.config.spec import parse_spec
from jaxflow.detection.thresholds import (
    AnyThresholdRule,
    BestF1,
    GivenThreshold,
    Percentile,
    TargetFalsePositiveRate,
    ThresholdRule,
)
from jaxflow.errors import InputError

RULES = [Percentile(), TargetFalsePositiveRate(rate=0.2), BestF1(), GivenThreshold(value=1.5)]
INF = math.inf


def scores_of(*values):
    return np.array(values, float)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_rules_come_back_from_plain_values(rule):
    assert isinstance(rule, ThresholdRule)
    assert parse_spec(AnyThresholdRule, rule.model_dump(mode="json"), "here") == rule


@pytest.mark.parametrize(
    ("percentile", "expected"),
    [(0, 1.0), (24, 1.0), (25, 2.0), (50, 3.0), (74.9, 3.0), (75, 4.0), (99, 4.0), (100, 5.0)],
)
def test_percentile_is_the_score_at_or_below_it(percentile, expected):
    scores = scores_of(3, 1, 5, 2, 4)
    assert Percentile(percentile=percentile).threshold(scores) == expected
    # numpy's definition; on these few scores its rounding does no harm.
    assert np.percentile(scores, percentile, method="lower") == expected


@given(percent=st.integers(0, 100))
def test_percentile_counts_as_it_is_written(percent):
    # Of 101 scores 0 .. 100 the p-th percentile is p, whatever p / 100 is in binary.
    assert Percentile(percentile=percent).threshold(np.arange(101.0)) == percent


def test_percentile_takes_all_scores_whatever_their_label():
    assert Percentile(percentile=100).threshold(scores_of(1, 9), np.array([0, 1])) == 9


def test_percentile_beside_infinite_scores_is_a_score():
    assert Percentile(percentile=60).threshold(scores_of(1, 2, INF, INF)) == 2
    assert Percentile(percentile=70).threshold(scores_of(1, 2, INF, INF)) == INF
    assert Percentile(percentile=0).threshold(scores_of(1, -INF)) == -INF


@pytest.mark.parametrize(
    ("n", "rate", "rank"),
    [(19, 0.05, 19), (99, 0.05, 95), (100, 0.05, 96), (9, 0.5, 5), (99, 0.29, 71), (9, 0.7, 3), (99, 0.57, 43)],
)
def test_target_fpr_is_the_conformal_quantile(n, rate, rank):
    scores = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert TargetFalsePositiveRate(rate=rate).threshold(scores) == rank


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (37, 0.1), (50, 0.3), (4, 0.5)])
def test_target_fpr_is_kept_on_average_over_calibration_sets(n, rate):
    rng = np.random.default_rng(7)
    rule = TargetFalsePositiveRate(rate=rate)
    # Scores uniform on [0, 1]: a threshold t flags the share 1 - t of all normal rows.
    realised = 1 - np.array([rule.threshold(rng.uniform(size=n)) for _ in range(4000)])
    error = 5 * realised.std() / np.sqrt(realised.size)
    assert realised.mean() <= rate + error
    assert realised.mean() >= rate - 1 / (n + 1) - error
    # What is flagged on average is known exactly; the bounds above alone would let one rank too many pass.
    assert realised.mean() == pytest.approx(math.floor(round((n + 1) * rate, 9)) / (n + 1), abs=error)


def test_target_fpr_is_kept_where_scores_are_tied():
    rng = np.random.default_rng(3)
    rule = TargetFalsePositiveRate(rate=0.2)
    # Scores 0 .. 9 alike: a threshold t flags the share (9 - t) / 10.
    realised = np.array([(9 - rule.threshold(rng.integers(0, 10, 30).astype(float))) / 10 for _ in range(2000)])
    assert realised.mean() <= 0.2


def test_target_fpr_leaves_labelled_anomalies_out():
    scores, labels = np.r_[np.arange(1.0, 20), 1e6, 1e7], np.r_[np.zeros(19, int), 1, 1]
    assert TargetFalsePositiveRate(rate=0.05).threshold(scores, labels) == 19


def test_target_fpr_says_when_there_are_too_few_scores():
    rule = TargetFalsePositiveRate(rate=0.05)
    expected = "18 held-out scores cannot promise a false-positive rate of 0.05: the smallest they support is 0.053"
    with pytest.warns(UserWarning, match=expected):
        assert rule.threshold(np.arange(18.0)) == 17
    # One more is enough, and no warning comes (warnings are errors here).
    assert rule.threshold(np.arange(19.0)) == 18


def test_target_fpr_with_infinite_scores():
    assert TargetFalsePositiveRate(rate=0.5).threshold(scores_of(0, 1, INF, INF, INF)) == INF
    assert TargetFalsePositiveRate(rate=0.5).threshold(scores_of(0, 1, 2, INF, INF)) == 2


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ((1, 2, 3, 4), (0, 0, 1, 1), 2.5),
        ((4, 3, 2, 1), (1, 1, 0, 0), 2.5),
        ((1, 2, 3, 4), (1, 0, 0, 0), math.nextafter(1, -INF)),  # nothing is better than flagging all
        ((1, 2, 2, 3), (0, 1, 0, 1), 1.5),  # F1: 2/3 above 2.5, 4/5 above 1.5
        ((1, 2, 2, 2, 3), (0, 0, 0, 1, 1), 2.5),  # the tie cannot be cut: 2/3 above 2.5 and above 1.5, fewest flagged
        ((1, 5, INF), (0, 0, 1), 5.0),
        ((1, INF, INF), (0, 1, 1), 1.0),
        ((-INF, 1, 2), (0, 1, 1), -INF),
        ((-INF, 3), (1, 0), -INF),  # no threshold lies below minus infinity
        ((1, math.nextafter(1, 2)), (0, 1), 1.0),  # no number lies between the two
        ((-1.7e308, 1.7e308), (0, 1), 0.0),
        ((1.6e308, 1.7e308), (0, 1), 1.65e308),  # their sum would overflow
    ],
)
def test_best_f1_by_hand(scores, labels, expected):
    assert BestF1().threshold(scores_of(*scores), np.array(labels)) == pytest.approx(expected, rel=1e-15)


NEIGHBOURS = [1.0, math.nextafter(1, 2), math.nextafter(math.nextafter(1, 2), 2)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([-INF, -2.0, 0.0, *NEIGHBOURS, 3.0, 1.7e308, INF]), st.integers(0, 1)),
        min_size=2,
        max_size=9,
    ).filter(lambda pairs: {label for _, label in pairs} == {0, 1})
)
def test_best_f1_is_the_best_of_all_cuts(pairs):
    scores, labels = np.array([score for score, _ in pairs]), np.array([label for _, label in pairs])

    zero: Any = 0

    def f1(cut):
        return f1_score(labels, scores > cut, zero_division=zero)

    # A cut at each score and one below all of them: every set of rows that a threshold can flag.
    every = max(f1(cut) for cut in [-INF, math.nextafter(scores.min(), -INF), *scores])
    assert f1(BestF1().threshold(scores, labels)) == every


def test_best_f1_takes_truth_values_and_floats_for_labels():
    scores = scores_of(1, 2, 3)
    assert BestF1().threshold(scores, np.array([False, False, True])) == 2.5
    assert BestF1().threshold(scores, np.array([0.0, 0.0, 1.0])) == 2.5


def test_a_given_threshold_is_that():
    assert GivenThreshold(value=-3.5).threshold(scores_of(1, 2)) == -3.5


@pytest.mark.parametrize("rule", RULES[:3], ids=lambda rule: rule.kind)
@pytest.mark.parametrize(
    ("scores", "labels", "sentence"),
    [
        ([], [], "scores have shape (0,), expected one score a row and at least one row"),
        ([[1.0]], [0], "scores have shape (1, 1), expected one score a row and at least one row"),
        ([1.0, math.nan, 2.0], [0, 1, 0], "1 of 3 scores are NaN, the first in row 2"),
    ],
)
def test_scores_that_no_rule_can_use(rule, scores, labels, sentence):
    with pytest.raises(InputError) as error:
        rule.threshold(np.array(scores, float), np.array(labels, int))
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("rule", "labels", "sentence"),
    [
        (BestF1(), None, "best_f1 needs labels: give it a labelled validation set"),
        (BestF1(), [0, 0, 0], "best_f1 needs normal rows and anomalies, and all 3 labels are 0"),
        (BestF1(), [1, 1, 1], "best_f1 needs normal rows and anomalies, and all 3 labels are 1"),
        (BestF1(), [0, 1], "labels have shape (2,), expected one label for each of 3 rows"),
        (BestF1(), [[0, 1, 1]], "labels have shape (1, 3), expected one label for each of 3 rows"),
        (BestF1(), [0, 2, 1], "label = 2 in row 2, expected 0 for normal or 1 for anomaly"),
        (BestF1(), [0, 1, -1], "label = -1 in row 3, expected 0 for normal or 1 for anomaly"),
        (BestF1(), [0, math.nan, 1], "label = nan in row 2, expected 0 for normal or 1 for anomaly"),
        (BestF1(), ["0", "1", "1"], "label = '0' in row 1, expected 0 for normal or 1 for anomaly"),
        (
            TargetFalsePositiveRate(),
            [1, 1, 1],
            "target_fpr needs scores of normal rows, and none of the 3 labels is 0",
        ),
        (TargetFalsePositiveRate(), [0, 3, 1], "label = 3 in row 2, expected 0 for normal or 1 for anomaly"),
    ],
)
def test_labels_that_no_rule_can_use(rule, labels, sentence):
    with pytest.raises(InputError) as error:
        rule.threshold(scores_of(1, 2, 3), None if labels is None else np.array(labels))
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"kind": "percentile", "percentile": 101}, "less than or equal to 100"),
        ({"kind": "percentile", "percentile": -1}, "greater than or equal to 0"),
        ({"kind": "target_fpr", "rate": 0}, "greater than 0"),
        ({"kind": "target_fpr", "rate": 1}, "less than 1"),
        ({"kind": "given"}, "value is missing"),
        ({"kind": "given", "value": INF}, "expected a finite number"),
        ({"kind": "best_f2"}, "expected one of"),
        ({"kind": "best_f1", "rate": 0.1}, "unknown key rate"),
    ],
)
def test_rules_refuse_what_is_out_of_range(values, sentence):
    with pytest.raises(InputError, match=sentence):
        parse_spec(AnyThresholdRule, values, "here")
