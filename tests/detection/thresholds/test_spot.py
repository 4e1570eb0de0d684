from typing import Any

import numpy as np
import pytest
import scipy.stats

from jaxflow.detection import DriftSpot, Spot
from jaxflow.detection.thresholds import spot as streaming_rules
from jaxflow.detection.thresholds.generalized_pareto import Tail, fit_generalized_pareto
from jaxflow.detection.thresholds.truncated_tail import fit_truncated
from jaxflow.errors import InputError


def stream(seed, n=8_000):
    """Scores of normal rows, exponential in the tail."""
    return np.random.default_rng(seed).exponential(size=n) + 5.0


def drift(n=8_000):
    return np.linspace(0.0, 60.0, n) + 4 * np.sin(np.arange(n) / 1000)


def test_the_tail_begins_as_the_paper_says():
    scores = stream(0, 1000)
    spot = Spot(scores)
    assert spot.level == np.sort(scores)[979]
    np.testing.assert_array_equal(np.sort(spot.excesses), np.sort(scores)[980:] - spot.level)
    shape, scale = fit_generalized_pareto(spot.excesses)
    beyond = scipy.stats.genpareto.sf(spot.threshold - spot.level, shape, scale=scale)
    assert 0.02 * beyond == pytest.approx(1e-3)


def test_infinite_first_scores_are_forgotten_as_alarms_are():
    scores = stream(0, 1000)
    clean, mixed = (Spot(given, rate=0.01, level=0.9).arrays() for given in (scores, np.r_[np.inf, scores, np.inf]))
    for name, array in clean.items():
        np.testing.assert_array_equal(mixed[name], array)


def test_alarms_come_at_about_the_rate():
    shares = [Spot(scores[:1000], rate=0.01, level=0.9).run(scores[1000:]).mean() for scores in map(stream, range(3))]
    assert np.mean(shares) == pytest.approx(0.01, rel=0.3)


def test_alarms_come_at_about_the_rate_while_the_scores_drift():
    shares, without = [], []
    for seed in range(3):
        scores = stream(seed) + drift()
        shares.append(DriftSpot(scores[:1000], depth=50, rate=0.01, level=0.9).run(scores[1000:]).mean())
        without.append(Spot(scores[:1000], rate=0.01, level=0.9).run(scores[1000:]).mean())
    assert np.mean(shares) == pytest.approx(0.01, rel=0.3)
    assert min(without) > 0.5  # without looking at the drift everything is an alarm in the end


@pytest.mark.parametrize("kind", [Spot, DriftSpot])
def test_anomalies_are_alarms_and_are_forgotten(kind):
    scores = stream(1)
    anomalies = np.arange(1050, 8_000, 100)
    clean, mixed = kind(scores[:1000]), kind(scores[:1000])
    expected = clean.run(np.delete(scores[1000:], anomalies - 1000))
    scores[anomalies] = np.r_[np.inf, np.full(len(anomalies) - 1, 1e6)]
    alarms = mixed.run(scores[1000:])
    assert alarms[anomalies - 1000].all()
    np.testing.assert_array_equal(np.delete(alarms, anomalies - 1000), expected)
    assert mixed.threshold == clean.threshold


def test_a_mean_is_that_of_the_last_scores_that_were_no_alarms():
    scores = stream(2, 700)
    spot = DriftSpot(scores[:500], depth=20, rate=0.01, level=0.9)
    alarms = spot.run(scores[500:])
    assert 0 < alarms.sum() < 20
    assert spot.mean == pytest.approx(scores[500:][~alarms][-20:].mean(), rel=1e-12)
    assert spot.threshold == spot.mean + spot.spot.threshold
    before = spot.mean
    assert not spot.step(-np.inf)
    assert spot.mean == before


def test_a_first_difference_is_from_the_mean_of_those_before_it():
    scores = stream(7, 300) + drift(300)
    depth = 20
    spot = DriftSpot(scores, depth=depth, rate=0.01, level=0.9)
    differences = [scores[place] - scores[place - depth : place].mean() for place in range(depth, len(scores))]
    expected = Spot(np.array(differences), rate=0.01, level=0.9)
    assert spot.spot.count == len(scores) - depth
    np.testing.assert_allclose(spot.spot.excesses, expected.excesses, rtol=1e-9)
    np.testing.assert_allclose(spot.spot.arrays()["below"], expected.arrays()["below"], rtol=1e-9)
    assert spot.threshold == pytest.approx(scores[-depth:].mean() + expected.threshold, rel=1e-9)


def test_the_threshold_goes_on_with_the_tail():
    spot = Spot(stream(3, 1000), rate=0.001)
    before, count = spot.threshold, spot.count
    assert not spot.step(spot.level)  # not beyond the level
    assert (spot.threshold, spot.count) == (before, count + 1)
    for _ in range(5):
        assert not spot.step(spot.threshold)
    assert spot.excesses.size == 25
    assert spot.threshold > before
    # Of all scores a little more are in the tail than of those learned from, which lack the ones above the threshold.
    tail = Tail(spot.level, 25 / 1006 * 0.999 + 0.001, *spot.arrays()["numbers"][3:])
    assert spot.threshold == tail.quantile(0.001)


@pytest.mark.parametrize("kind", [Spot, DriftSpot])
def test_what_was_learned_can_be_kept(kind):
    scores = stream(4, 6000)
    spot = kind(scores[:1000], rate=0.01, level=0.95)
    spot.run(scores[1000:3000])
    arrays = {name: array.copy() for name, array in spot.arrays().items()}
    again = kind.from_arrays(arrays)
    assert again.threshold == spot.threshold
    np.testing.assert_array_equal(again.run(scores[3000:]), spot.run(scores[3000:]))
    assert again.threshold == spot.threshold
    for name in arrays:
        with pytest.raises(InputError, match=f"the array {name} is missing"):
            kind.from_arrays({other: array for other, array in arrays.items() if other != name})
        for wrong in (arrays[name][None], arrays[name] * np.nan):
            with pytest.raises(InputError, match="the arrays of a "):
                kind.from_arrays(arrays | {name: wrong})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda x: Spot(x, level=1.0), "level = 1.0: expected more than 0 and less than 1"),
        (lambda x: Spot(x, rate=0.05, level=0.98), "rate = 0.05: expected more than 0 and less than 1 - level = 0.02"),
        (lambda x: Spot(x[:1]), "1 score has no tail to learn, expected several different finite ones"),
        (lambda x: Spot(np.array([1.0, np.nan])), "1 of 2 scores are NaN, the first in row 2"),
        (lambda x: DriftSpot(x, depth=100), "100 finite scores: expected more than depth = 100"),
        (lambda x: DriftSpot(x, depth=0), "depth = 0: expected at least 1"),
        (lambda x: Spot(x).step(np.nan), "score = nan: expected a number"),
        (lambda x: DriftSpot(x, depth=10).step(np.nan), "score = nan: expected a number"),
    ],
)
def test_what_cannot_be_used_is_refused(make, sentence):
    with pytest.raises(InputError) as error:
        make(stream(0, 100))
    assert str(error.value) == sentence


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.4])
def test_a_truncated_sample_gives_the_whole_tail_back(shape):
    y: Any = scipy.stats.genpareto.rvs(shape, scale=3.0, size=8000, random_state=np.random.default_rng(0))
    limits = np.resize(scipy.stats.genpareto.isf([0.2, 0.1, 0.05], shape, scale=3.0), y.shape)
    kept = y < limits
    whole = fit_truncated(y, np.full(y.size, np.inf), (0.1, 1.0))
    assert whole == pytest.approx(fit_generalized_pareto(y), abs=2e-3)
    found = fit_truncated(y[kept], limits[kept], (0.0, 1.0))
    assert found == pytest.approx((shape, 3.0), abs=0.15)
    # As if nothing were missing, the tail is taken to end where the limits are.
    assert fit_generalized_pareto(y[kept])[0] < shape - 0.1


@pytest.mark.parametrize("kind", [Spot, DriftSpot])
def test_p_values_are_below_the_rate_for_alarms_alone(kind):
    scores = stream(5, 3000)
    spot = kind(scores[:1000], rate=0.01, level=0.9)
    found, alarms = [], []
    for score in scores[1000:]:
        found.append(spot.p_value(score))
        alarms.append(spot.step(score))
    p = np.array(found)
    np.testing.assert_array_equal(p < 0.01, alarms)
    for rate in (0.02, 0.1, 0.5):
        assert np.mean(p <= rate) == pytest.approx(rate, abs=0.02)
    assert spot.p_value(spot.threshold) == pytest.approx(0.01, rel=1e-9)
    assert spot.p_value(np.inf) == 0 < spot.p_value(-np.inf)
    assert spot.p_value(-np.inf) == 1


def test_p_values_go_on_where_the_tail_begins():
    spot = Spot(stream(5, 1000), rate=0.01, level=0.9)
    assert spot.p_value(spot.level) == pytest.approx(spot.p_value(np.nextafter(spot.level, np.inf)), rel=1e-9)
    lowest = spot.arrays()["below"][0]
    assert spot.p_value(lowest) < spot.p_value(np.nextafter(lowest, -np.inf)) == 1


def test_the_tail_is_fitted_again_when_it_has_grown_by_a_fiftieth():
    scores = stream(3, 1000)
    spot = Spot(scores, rate=0.001, level=0.8)
    middle = (spot.level + spot.threshold) / 2
    expected = 200
    for size in range(201, 221):
        spot.step(middle)
        expected = size if size >= 1.02 * expected else expected
        assert spot.arrays()["counts"].tolist() == [800 + size, size, expected]
    assert expected == 219  # after 204, 209 and 214


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(streaming_rules, "MOST_EXCESSES", 60)
    scores = stream(6)
    spot = Spot(scores[:1000], rate=0.01, level=0.9)
    first = spot.excesses
    alarms = spot.run(scores[1000:])
    learned = scores[1000:][~alarms & (scores[1000:] > spot.level)] - spot.level
    np.testing.assert_array_equal(spot.excesses[first.size :], learned[first.size - spot.excesses.size :])
    assert first.size + 30 <= spot.excesses.size < first.size + 61
    assert spot._tail.shape[1] <= 2 * (first.size + 61)
    np.testing.assert_array_equal(spot.excesses[: first.size], first)
    assert alarms.mean() == pytest.approx(0.01, rel=0.4)
    again = Spot.from_arrays(spot.arrays())
    assert (again.threshold, again.p_value(7.0)) == (spot.threshold, spot.p_value(7.0))
