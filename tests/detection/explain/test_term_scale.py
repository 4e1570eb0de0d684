import numpy as np
import pytest
import scipy.stats

from jaxflow.detection.explain.term_scale import TermScale


def drawn(seed, n=2000):
    """Terms of columns that differ in place, spread and form."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(n, 3))
    return np.stack([normal[:, 0] ** 2 / 2, 0.1 * normal[:, 1] ** 2 + 7, 5 * np.abs(normal[:, 2])], axis=1)


def test_unseen_normal_terms_are_standard_exponential_in_every_column():
    calibrated = TermScale.fit(drawn(0)).calibrated(drawn(1))
    for column in calibrated.T:
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            assert np.mean(column > -np.log(share)) == pytest.approx(share, abs=0.04)
        assert np.quantile(column, 0.999) < -np.log(0.001) + 2
    # The last scatters most, so its tail is on its own scale.
    assert scipy.stats.kstest(calibrated[:, 2], "expon").statistic < 0.05
    assert np.quantile(calibrated[:, 2], 0.999) == pytest.approx(-np.log(0.001), abs=2.0)


def test_terms_that_scatter_less_than_the_mean_are_not_magnified():
    """A column that is nearly constant does not come first for a rise that is nothing to the others."""
    rng = np.random.default_rng(4)
    scale = TermScale.fit(rng.exponential(size=(1000, 3)) * [1.0, 2.0, 1e-4])
    np.testing.assert_allclose(scale.excess[0], scale.excess[2])
    assert scale.excess[1] > 1.2 * scale.excess[0]
    odd = scale.calibrated(np.array([[12.0, 2.0, 0.2]]))[0]
    assert odd.argmax() == 0
    # Columns that are not judged, whose terms are all 0, say nothing about the others.
    padded = np.insert(scale.terms, 0, 0.0, axis=1)
    np.testing.assert_allclose(TermScale.fit(padded).excess[1:], scale.excess)


def test_calibrated_terms_never_fall_and_grow_beyond_the_largest():
    terms = drawn(2, 300)
    scale = TermScale.fit(terms)
    asked = np.linspace(terms.min(axis=0) - 1, 20 * terms.max(axis=0), 5000)
    calibrated = scale.calibrated(asked)
    assert np.all(np.diff(calibrated, axis=0) >= 0)
    beyond = asked > terms.max(axis=0)
    assert np.all(np.diff(calibrated, axis=0)[beyond[:-1]] > 0)
    # The tail begins where the rest ends, but for the one term that is the start itself.
    before, after = scale.calibrated(scale.start[None]), scale.calibrated(scale.start[None] + 1e-9)
    np.testing.assert_allclose(before, after, atol=0.04)
    np.testing.assert_allclose(before, -np.log(32 / 301), atol=1e-12)


def test_ties_count_as_reached():
    terms = np.repeat([0.0, 1.0], [60, 40])[:, None]
    scale = TermScale.fit(terms)
    np.testing.assert_allclose(scale.calibrated(np.array([[0.0], [1.0]])), [[0.0], [-np.log(41 / 101)]])


def test_what_few_normal_rows_have_is_rare_though_most_are_alike():
    """A flag that 5 % of the normal rows raise: raising it is as rare as that, not as common as the whole tail."""
    scale = TermScale.fit(np.repeat([0.0, 1.0], [95, 5])[:, None])
    none, raised, far = scale.calibrated(np.array([[0.0], [1.0], [30.0]]))[:, 0]
    assert none == 0
    assert raised == pytest.approx(1 - np.log(6 / 101) * (1 - np.exp(-1)))
    assert far == pytest.approx(30 - np.log(6 / 101))


def test_rounding_in_a_column_that_never_differs_is_no_anomaly():
    terms = np.stack([np.zeros(100), np.random.default_rng(3).exponential(size=100)], axis=1)
    scale = TermScale.fit(terms)
    rounding, real = scale.calibrated(np.array([[1e-7, 0.0], [5.0, 5.0]]))
    assert rounding[0] < 0.01
    assert real[0] > real[1] > 3
    np.testing.assert_array_equal(TermScale.fit(np.zeros((4, 2))).calibrated(np.zeros((3, 2))), 0)


def test_infinite_terms_stay_infinite():
    terms = np.array([[1.0, np.inf], [2.0, np.inf], [np.inf, np.inf]])
    calibrated = TermScale.fit(terms).calibrated(np.array([[np.inf, np.inf], [1.0, 0.0]]))
    assert np.isposinf(calibrated[0]).all()
    assert np.isfinite(calibrated[1]).all()
