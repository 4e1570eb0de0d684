import numpy as np
import pytest

from jaxflow.data import ColumnsSpec
from jaxflow.detection import GaussianDetector, GivenThreshold, Percentile
from jaxflow.errors import InputError
from jaxflow.models import GaussianSpec


def rows(seed, n):
    """Two columns that go together, an independent one, and a count that is independent too."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=n)
    second = first + 0.1 * rng.normal(size=n)
    return np.stack([first, 100 * second, rng.normal(size=n), rng.integers(0, 4, n)], axis=1)


def test_flagged_rows_are_moved_until_they_pass_and_no_further(fitted):
    detector = fitted.detector
    x = fitted.unseen + np.where(np.arange(100)[:, None] % 2, 4, 0) * fitted.x.std(axis=0)
    flagged = detector.predict(x) == -1
    found = detector.counterfactual(x)
    assert flagged.sum() > 30
    assert np.all(found.scores <= detector.threshold_)
    assert np.all(detector.anomaly_score(found.rows) <= detector.threshold_ + 1e-4 * np.abs(detector.threshold_))
    np.testing.assert_array_equal(found.rows[~flagged], x[~flagged])
    assert np.all(np.any(found.changes[flagged] != 0, axis=1))
    # A little further along the line, and the row is flagged.
    beyond = detector.anomaly_score(found.rows - 0.01 * found.changes) > detector.threshold_
    assert np.mean(beyond[flagged]) > 0.95


@pytest.fixture(scope="module")
def gaussian():
    return GaussianDetector(threshold=Percentile(percentile=99)).fit(rows(0, 2000))


def test_columns_without_blame_stay_as_they_are(gaussian):
    x = rows(1, 40)
    x[:, 2] += 8
    found = gaussian.counterfactual(x)
    # Only where the nearest normal value is itself so rare that the rest would have to be more usual.
    assert np.mean(np.any(found.changes[:, [0, 1, 3]] != 0, axis=1)) < 0.3
    assert np.all(found.changes[:, 2] < -2)
    records = found.records()
    assert {record["column"] for record in records[:1]} == {"x2"}
    first = records[0]
    assert first == {"row": 0, "column": "x2", "value": x[0, 2], "becomes": found.rows[0, 2]}
    assert len(records) == np.sum(found.changes != 0)


def test_what_changes_most_comes_first(gaussian):
    x = rows(4, 20)
    x[:, 2] += 8
    x[:, 1] += 300  # less than the other in its own unit's deviations
    found = gaussian.counterfactual(x)
    moved = np.abs(gaussian.preprocessing_.transform(found.rows) - gaussian.preprocessing_.transform(x))
    np.testing.assert_allclose(found.distances, moved)
    for row, changes in enumerate(found.top(2)):
        assert [change.distance for change in changes] == sorted(moved[row], reverse=True)[: len(changes)]
        assert len(changes) == min(2, found.changed[row].sum())
        first = changes[0]
        assert str(first) == f"{first.column} = {first.value:.4g} becomes {first.becomes:.4g}"
    with pytest.raises(InputError, match="count = 0"):
        found.top(0)


def test_whole_numbers_stay_whole(gaussian):
    x = rows(2, 40)
    x[:, 3] = 40
    found = gaussian.counterfactual(x)
    np.testing.assert_array_equal(found.rows[:, 3], found.rows[:, 3].round())
    assert found.rows[:, 3].max() <= 3


def test_it_is_nearer_than_any_normal_row(gaussian):
    x = rows(3, 30) * 4
    found = gaussian.counterfactual(x)
    z, kept = gaussian.preprocessing_.transform(x), gaussian.preprocessing_.transform(gaussian.normal_rows_)
    passing = kept[gaussian.anomaly_score(gaussian.normal_rows_) <= gaussian.threshold_]
    nearest = np.linalg.norm(z[:, None] - passing, axis=-1).min(axis=1)
    ours = np.linalg.norm(gaussian.preprocessing_.transform(found.rows) - z, axis=-1)
    assert np.all(ours <= nearest + 1e-9)
    assert np.mean(ours) < 0.95 * np.mean(nearest)


def test_without_a_normal_row_that_passes_there_is_none():
    detector = GaussianDetector(GaussianSpec(), threshold=GivenThreshold(value=-1e6)).fit(rows(0, 100))
    with pytest.raises(InputError, match="none of the 100 normal rows at hand has a score of at most -1e\\+06"):
        detector.counterfactual(rows(1, 3))


@pytest.mark.parametrize("missing", ["median", "model"])
def test_no_value_has_to_go_missing(missing):
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 1000)
    x[rng.random(x.shape) < 0.1] = np.nan
    detector = GaussianDetector(columns=ColumnsSpec(missing=missing)).fit(x)
    asked = np.array([[2.0, -2.0], [2.0, -3.0], [3.0, 0.0], [np.nan, 9.0]])
    found = detector.counterfactual(asked)
    assert np.all(found.scores <= detector.threshold_)
    assert not np.isnan(found.rows[:3]).any()
    assert not np.isnan(found.rows[3, 1])
