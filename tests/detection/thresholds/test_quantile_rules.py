import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from jaxflow.detection import GivenThreshold, PeaksOverThreshold, Percentile, TargetFalsePositiveRate
from jaxflow.detection.thresholds.generalized_pareto import fit_tail

INF = math.inf


def scores_of(*values):
    return np.array(values, float)


@pytest.mark.parametrize(
    ("percentile", "expected"),
    [(0, 1.0), (24, 1.0), (25, 2.0), (50, 3.0), (74.9, 3.0), (75, 4.0), (99, 4.0), (100, 5.0)],
)
def test_percentile_is_the_score_at_or_below_it(percentile, expected):
    scores = scores_of(3, 1, 5, 2, 4)
    assert Percentile(percentile=percentile).derive(scores).value == expected
    # numpy's definition; on these few scores its rounding does no harm.
    assert np.percentile(scores, percentile, method="lower") == expected


@given(percent=st.integers(0, 100))
def test_percentile_counts_as_it_is_written(percent):
    # Of 101 scores 0 .. 100 the p-th percentile is p, whatever p / 100 is in binary.
    assert Percentile(percentile=percent).derive(np.arange(101.0)).value == percent


def test_percentile_takes_all_scores_whatever_their_label():
    assert Percentile(percentile=50).threshold(scores_of(9, 8, 1), np.array([0, 0, 1])) == 8


def test_percentile_beside_infinite_scores_is_a_score():
    assert Percentile(percentile=60).threshold(scores_of(1, 2, INF, INF)) == 2
    assert Percentile(percentile=70).threshold(scores_of(1, 2, INF, INF)) == INF
    assert Percentile(percentile=0).threshold(scores_of(1, -INF)) == -INF


@pytest.mark.parametrize(("percentile", "n"), [(95, 19), (99.9, 999), (99.99, 100), (100, 5), (71, 3)])
def test_a_percentile_beyond_the_scores_is_doubted(percentile, n):
    rule = Percentile(percentile=percentile)
    (doubt,) = rule.derive(np.arange(float(n))).doubts
    assert doubt.startswith(f"percentile {percentile} leaves a share of ")
    assert doubt.endswith(f" above it, less than 1 in {n} scores: on average more normal rows than that are flagged")
    with pytest.warns(UserWarning, match=f"percentile {percentile} leaves a share of"):
        rule.threshold(np.arange(float(n)))
    if percentile < 100:
        assert rule.derive(np.arange(100 / (100 - percentile) + 0.5)).doubts == ()


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


def test_target_fpr_says_which_way_it_went():
    few, enough = np.arange(18.0), np.arange(19.0)
    rule = TargetFalsePositiveRate(rate=0.05)
    assert rule.beyond == "tail"
    assert rule.derive(enough) == (18.0, 19, "conformal", ())
    too_few = "18 held-out scores cannot promise a false-positive rate of 0.05: the smallest they support is 0.053"
    value, count, branch, doubts = rule.derive(few)
    assert (count, branch) == (18, "tail")
    extrapolated = "; the threshold is extrapolated from their tail, without a guarantee: if it is heavy, several times"
    assert doubts == (f"{too_few}{extrapolated} the rate may be flagged",)
    assert 17 < value < 30
    largest = TargetFalsePositiveRate(rate=0.05, beyond="largest")
    assert largest.derive(few) == (17.0, 18, "largest", (f"{too_few}, which the threshold now has",))
    assert largest.derive(enough) == (18.0, 19, "conformal", ())
    # The doubts of `derive` are the warnings of `threshold`; without doubts none comes (warnings are errors here).
    with pytest.warns(UserWarning, match=too_few):
        assert rule.threshold(few) == value
    assert rule.threshold(enough) == 18


@pytest.mark.parametrize(("n", "rate"), [(20, 0.01), (48, 0.01), (200, 0.001)])
def test_the_tail_is_about_the_rate_where_the_largest_score_is_far_from_it(n, rate):
    rng = np.random.default_rng(5)
    rule, simple = TargetFalsePositiveRate(rate=rate), TargetFalsePositiveRate(rate=rate, beyond="largest")
    for distribution in (scipy.stats.chi2(5), scipy.stats.norm(), scipy.stats.expon()):
        draws = distribution.rvs((200, n), random_state=rng)
        realised = [np.mean(distribution.sf([r.derive(s).value for s in draws])) for r in (rule, simple)]
        assert realised[0] < 2 * rate
        assert realised[1] == pytest.approx(1 / (n + 1), rel=0.3)
        assert realised[1] > 1.3 * realised[0]


@pytest.mark.parametrize(
    ("n", "rate", "bands"),
    [(20, 0.01, ((0.2, 0.7), (1.8, 3.6), (2.2, 4.2))), (20, 0.001, ((0.0, 0.8), (5.0, 15.0), (11.0, 24.0)))],
)
def test_how_much_is_flagged_beyond_the_scores_depends_on_their_tail(n, rate, bands):
    rng = np.random.default_rng(3)
    rule = TargetFalsePositiveRate(rate=rate)
    for distribution, (low, high) in zip(
        (scipy.stats.norm(), scipy.stats.lognorm(1), scipy.stats.cauchy()), bands, strict=True
    ):
        draws = distribution.rvs((150, n), random_state=rng)
        assert low < np.mean(distribution.sf([rule.derive(scores).value for scores in draws])) / rate < high


def test_a_rate_that_few_scores_cannot_promise_is_said_in_one_sentence():
    (doubt,) = TargetFalsePositiveRate(rate=0.001).derive(np.random.default_rng(0).normal(size=20)).doubts
    assert doubt.startswith("20 held-out scores cannot promise a false-positive rate of 0.001: the smallest they ")
    (doubt,) = TargetFalsePositiveRate(rate=0.001).derive(np.array([1.0])).doubts
    assert doubt.startswith(
        "1 held-out score cannot promise a false-positive rate of 0.001: the smallest it supports is"
    )


def test_a_lower_rate_never_has_a_lower_threshold():
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(size=37)  # of some the tail alone would be below the largest
        thresholds = [TargetFalsePositiveRate(rate=rate).derive(scores).value for rate in (0.1, 0.03, 0.02, 1e-3, 1e-9)]
        assert thresholds == sorted(thresholds)
        assert thresholds[2] >= scores.max()


def test_beyond_the_scores_the_threshold_stays_finite():
    rule = TargetFalsePositiveRate(rate=1e-6)
    for scores in (scores_of(1, 2, 3, INF), scores_of(-INF, 1, 2), scores_of(5), scores_of(2, 2, 2), scores_of(1, INF)):
        assert rule.derive(scores).value < INF
    assert rule.derive(scores_of(2, 2, 2)).branch == "largest"
    assert rule.derive(scores_of(2, 2, 2)).value == 2
    assert rule.derive(scores_of(1e308, -1.7e308, 0.0, 1.7e308)).value == pytest.approx(1.7e308, rel=0.1)
    assert rule.derive(scores_of(1, 2, INF, INF)).doubts[1].startswith("2 of 4 held-out scores are infinite and above")
    # Nothing finite was seen, so nothing finite can be told.
    assert rule.derive(scores_of(INF, INF)).value == INF
    assert rule.derive(scores_of(-INF, -INF)).value == -INF


def test_target_fpr_with_infinite_scores():
    assert TargetFalsePositiveRate(rate=0.5).threshold(scores_of(0, 1, INF, INF, INF)) == INF
    assert TargetFalsePositiveRate(rate=0.5).threshold(scores_of(0, 1, 2, INF, INF)) == 2


def test_a_given_threshold_is_that():
    assert GivenThreshold(value=-3.5).threshold(scores_of(1, 2)) == -3.5


def test_pot_is_the_quantile_of_the_tail_by_hand():
    scores = np.random.default_rng(1).exponential(size=1000)
    ranked = np.sort(scores)
    excesses = ranked[950:] - ranked[949]
    shape, _, scale = scipy.stats.genpareto.fit(excesses, floc=0)
    expected = ranked[949] + scale / shape * ((0.001 * 1000 / 50) ** -shape - 1)
    value, count, branch, doubts = PeaksOverThreshold(rate=0.001, tail=0.05).derive(scores)
    assert value == pytest.approx(expected, rel=1e-3)
    assert (count, branch, doubts) == (1000, "tail", ())


def test_pot_is_between_the_scores_for_a_rate_they_support():
    scores = np.random.default_rng(2).normal(size=500)
    for rate in (0.05, 0.02, 0.01):
        threshold = PeaksOverThreshold(rate=rate).threshold(scores)
        assert np.mean(scores > threshold) == pytest.approx(rate, abs=0.006)


def test_pot_says_what_is_doubtful():
    scores = np.random.default_rng(3).normal(size=99)
    assert PeaksOverThreshold(rate=0.0102).derive(scores).doubts == ()
    with pytest.warns(UserWarning, match="a false-positive rate of 0.01 is less than 1 in 99 held-out scores"):
        PeaksOverThreshold().threshold(scores)
    value, _, branch, doubts = PeaksOverThreshold().derive(np.repeat([1.0, 2.0], [100, 100]))
    assert (value, branch) == (2.0, "largest")
    assert doubts[0].startswith("the scores have no tail; the largest finite score is the threshold")


def test_pot_leaves_labelled_anomalies_and_infinite_scores_out():
    scores = np.random.default_rng(4).normal(size=300)
    expected = PeaksOverThreshold().threshold(scores)
    labels = np.repeat([0, 1], [300, 5])
    assert PeaksOverThreshold().threshold(np.r_[scores, np.full(5, 99.0)], labels) == expected
    with pytest.warns(UserWarning, match="2 of 302 held-out scores are infinite"):
        assert PeaksOverThreshold().threshold(np.r_[scores, INF, INF]) == expected


def test_few_scores_have_at_least_ten_in_their_tail():
    scores = np.arange(1.0, 61) ** 2
    tail = fit_tail(scores, 0.1)
    assert tail is not None
    assert (tail.level, tail.share) == (50.0**2, 10 / 60)
    assert PeaksOverThreshold(rate=0.05).derive(scores).value == tail.quantile(0.05)
