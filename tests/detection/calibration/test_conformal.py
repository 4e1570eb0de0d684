import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from jaxflow.detection import GaussianDetector, benjamini_hochberg
from jaxflow.detection.calibration.conformal import conformal_p_values, least_selection
from jaxflow.errors import InputError

p_value_lists = st.lists(st.integers(1, 40).map(lambda count: count / 40), min_size=1, max_size=30)


def test_p_values_by_hand():
    p = conformal_p_values(np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.0, 2.0, 2.5, 9.0, np.inf]))
    np.testing.assert_array_equal(p, np.array([5, 4, 2, 1, 1]) / 5)


@given(p_value_lists, st.sampled_from([0.05, 0.1, 0.5]))
def test_selected_are_those_whose_adjusted_p_value_is_at_most_the_rate(values, rate):
    p = np.array(values)
    adjusted = scipy.stats.false_discovery_control(p, method="bh")
    np.testing.assert_array_equal(benjamini_hochberg(p, rate), adjusted <= rate * (1 + 1e-9))


def test_equality_counts():
    # 3 of 90 rows at 1 / 100: with a rate of 0.3 this is the bound, which in binary comes out below 0.01.
    p = np.r_[np.full(3, 1 / 100), np.ones(87)]
    assert 0.3 * 3 / 90 < 0.01
    assert benjamini_hochberg(p, 0.3).sum() == 3
    assert least_selection(99, 90, 0.3) == 3
    assert benjamini_hochberg(p[1:], 0.3).sum() == 0
    assert least_selection(99, 91, 0.3) == 4
    assert benjamini_hochberg(np.empty(0), 0.1).shape == (0,)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(InputError, match="expected more than 0 and less than 1"):
        benjamini_hochberg(np.ones(2), rate)


@pytest.mark.parametrize(("rate", "anomalies"), [(0.1, 20), (0.3, 20), (0.2, 0)])
def test_the_false_discovery_rate_is_kept(rate, anomalies):
    rng = np.random.default_rng(0)
    shares, found = [], []
    for _ in range(600):
        scores = np.r_[rng.normal(size=80), rng.normal(3.0, 1.0, size=anomalies)]
        selected = benjamini_hochberg(conformal_p_values(rng.normal(size=400), scores), rate)
        shares.append(selected[:80].sum() / max(1, selected.sum()))
        found.append(selected[80:].sum())
    error = 4 * np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= rate + error
    # It is not kept by selecting nothing: it is 80 / (80 + anomalies) of the rate exactly, up to 1 / (n + 1).
    assert np.mean(shares) == pytest.approx(rate * 80 / (80 + anomalies), rel=0.1, abs=error)
    assert np.mean(found) >= anomalies / 2


def test_a_detector_selects():
    rng = np.random.default_rng(0)
    detector = GaussianDetector(calibration_fraction=0.5).fit(rng.normal(size=(600, 2)))
    x = np.concatenate([rng.normal(size=(50, 2)), rng.normal(size=(10, 2)) + 9])
    selected = detector.select(x)
    np.testing.assert_array_equal(selected, benjamini_hochberg(detector.p_values(x), 0.1))
    assert selected[50:].all()
    assert selected[:50].sum() <= 3
    assert detector.select(x, rate=0.5).sum() >= selected.sum()


def test_a_detector_says_when_its_calibration_rows_are_too_few_to_select():
    rng = np.random.default_rng(0)
    detector = GaussianDetector(calibration_fraction=0.5).fit(rng.normal(size=(600, 2)))
    x = np.concatenate([np.zeros((299, 2)), np.full((1, 2), 9.0)])
    with pytest.warns(UserWarning, match="1 of 300 rows lie beyond all 300 calibration scores, .* it takes 10 such"):
        assert not detector.select(x).any()
    assert not detector.select(x[:299]).any()  # nothing lies beyond, and nothing is to be said
    assert detector.select(np.concatenate([x[:290], x[-1:].repeat(10, axis=0)])).sum() == 10
