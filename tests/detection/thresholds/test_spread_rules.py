import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from jaxflow.detection import InterquartileRange, MedianAbsoluteDeviation

INF = math.inf
numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


@given(numbers, st.floats(0.1, 10))
def test_they_are_what_scipy_and_numpy_compute(values, factor):
    scores = np.array(values)
    deviation = scipy.stats.median_abs_deviation(scores, scale=1 / 1.4826)
    low, high = np.quantile(scores, [0.25, 0.75])
    mad = MedianAbsoluteDeviation(factor=factor).derive(scores).value
    assert mad == pytest.approx(np.median(scores) + factor * deviation, rel=1e-12, abs=1e-6)
    iqr = InterquartileRange(factor=factor).derive(scores).value
    assert iqr == pytest.approx(high + factor * (high - low), rel=1e-12, abs=1e-6)


def test_by_hand():
    scores = np.array([1.0, 2, 3, 4, 100])
    assert MedianAbsoluteDeviation(factor=2).threshold(scores) == 3 + 2 * 1.4826 * 1
    assert InterquartileRange().threshold(scores) == 4 + 1.5 * 2


@pytest.mark.parametrize("rule", [MedianAbsoluteDeviation(), InterquartileRange()])
def test_anomalies_do_not_move_them(rule):
    scores = np.random.default_rng(0).normal(size=100)
    expected = rule.threshold(scores)
    labels = np.repeat([0, 1], [100, 30])
    assert rule.threshold(np.r_[scores, np.full(30, 1e9)], labels) == expected
    assert rule.threshold(np.r_[scores, np.full(20, INF)]) < 10


@pytest.mark.parametrize(
    ("scores", "mad", "iqr"),
    [
        ((1, 2, 3, INF), 2.5 + 3 * 1.4826 * 1, 3 + 1.5 * (3 - 1.75)),
        ((1, 2, INF, INF), 2.0 + 3 * 1.4826 * 1, INF),
        ((INF, INF), INF, INF),
        ((-INF, -INF), -INF, -INF),
        ((-INF, -INF, 5, 6, 7), 5 + 3 * 1.4826 * 2, INF),
        ((-1.7e308, 1.7e308, 1.7e308, 1.7e308), 1.7e308, INF),
    ],
)
def test_infinite_scores_are_legal(scores, mad, iqr):
    rules = MedianAbsoluteDeviation(), InterquartileRange()
    assert [rule.derive(np.array(scores, float)).value for rule in rules] == pytest.approx([mad, iqr])


@pytest.mark.parametrize("rule", [MedianAbsoluteDeviation(), InterquartileRange()])
def test_equal_scores_are_doubtful(rule):
    with pytest.warns(UserWarning, match="half of the 6 scores are equal"):
        assert rule.threshold(np.array([1.0, 2, 2, 2, 2, 9])) == 2
