import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from jaxflow.detection import BestF1, TargetPrecision, TargetRecall

INF = math.inf


def scores_of(*values):
    return np.array(values, float)


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
labelled_scores = st.lists(
    st.tuples(st.sampled_from([-INF, -2.0, 0.0, *NEIGHBOURS, 3.0, 1.7e308, INF]), st.integers(0, 1)),
    min_size=2,
    max_size=9,
).filter(lambda pairs: {label for _, label in pairs} == {0, 1})


def every_cut(scores):
    """A cut at each score and one below all of them: every set of rows that a threshold can flag."""
    return [-INF, math.nextafter(scores.min(), -INF), *scores]


@settings(max_examples=150, deadline=None)
@given(labelled_scores)
def test_best_f1_is_the_best_of_all_cuts(pairs):
    scores, labels = np.array([score for score, _ in pairs]), np.array([label for _, label in pairs])
    zero: Any = 0

    def f1(cut):
        return f1_score(labels, scores > cut, zero_division=zero)

    assert f1(BestF1().threshold(scores, labels)) == max(map(f1, every_cut(scores)))


@settings(max_examples=150, deadline=None)
@given(labelled_scores, st.sampled_from([0.25, 1 / 3, 0.5, 0.6, 0.9, 1.0]))
def test_target_rules_flag_the_most_or_fewest_rows_that_reach_the_target(pairs, wanted):
    scores, labels = np.array([score for score, _ in pairs]), np.array([label for _, label in pairs])

    def precision(cut):
        return labels[scores > cut].mean()

    def recall(cut):
        return labels[scores > cut].sum() / labels.sum()

    for rule, quality, most in (
        (TargetPrecision(precision=wanted), precision, True),
        (TargetRecall(recall=wanted), recall, False),
    ):
        derived = rule.derive(scores, labels)
        cuts = [cut for cut in every_cut(scores) if np.any(scores > cut)]
        reachable = max(map(quality, cuts), default=0.0)
        assert bool(derived.doubts) == (reachable < wanted)
        if cuts:
            assert quality(derived.value) >= min(wanted, reachable)
            flagged = [np.sum(scores > cut) for cut in cuts if quality(cut) >= min(wanted, reachable)]
            assert np.sum(scores > derived.value) == (max(flagged) if most else min(flagged))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (TargetPrecision(precision=1.0), 6.5),
        (TargetPrecision(precision=0.75), 4.5),  # 3 of 4
        (TargetPrecision(precision=0.6), 3.5),  # 3 of 5 exactly
        (TargetPrecision(precision=0.5), 1.5),  # 4 of 7 is more, 4 of 8 no longer there: 8 rows, all flagged
        (TargetRecall(recall=0.25), 7.5),
        (TargetRecall(recall=0.5), 6.5),
        (TargetRecall(recall=0.51), 4.5),
        (TargetRecall(recall=1.0), 1.5),
    ],
)
def test_targets_by_hand(rule, expected):
    scores, labels = np.arange(1.0, 9), np.array([0, 1, 0, 0, 1, 0, 1, 1])
    if rule == TargetPrecision(precision=0.5):
        expected = math.nextafter(1, -INF)  # 4 of 8
    assert rule.threshold(scores, labels) == expected


def test_a_target_out_of_reach_is_said():
    scores, labels = scores_of(1, 2, 3, 4), np.array([0, 1, 1, 0])
    with pytest.warns(UserWarning, match=r"no threshold reaches a precision of 0.9 on the labelled rows: the highest"):
        assert TargetPrecision().threshold(scores, labels) == 1.5  # 2 of 3 is the highest, 0 and 1 of 2 are not
    with pytest.warns(UserWarning, match=r"no threshold reaches a recall of 0.9 on the labelled rows: .* is 0.5"):
        assert TargetRecall().threshold(scores_of(-INF, 2, 3), np.array([1, 1, 0])) == -INF


def test_best_f1_takes_truth_values_and_floats_for_labels():
    scores = scores_of(1, 2, 3)
    assert BestF1().threshold(scores, np.array([False, False, True])) == 2.5
    assert BestF1().threshold(scores, np.array([0.0, 0.0, 1.0])) == 2.5
