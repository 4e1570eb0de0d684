from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from jaxflow.compat import PyODAdapter
from jaxflow.detection import BestF1, GaussianDetector, GivenThreshold, Percentile
from jaxflow.errors import InputError


def rows(seed, n=200):
    return np.random.default_rng(seed).normal(size=(n, 3)) * [1.0, 100.0, 0.1]


@pytest.fixture(scope="module")
def x():
    return np.concatenate([rows(0), rows(1, 10) + np.array([8.0, 0.0, 0.0])])


@pytest.fixture(scope="module")
def adapter(x):
    return PyODAdapter(GaussianDetector(threshold=Percentile())).fit(x)


def test_scores_and_labels_are_those_of_the_training_rows(adapter, x):
    scores = adapter.detector_.anomaly_score(x)
    np.testing.assert_array_equal(adapter.decision_scores_, scores)
    np.testing.assert_array_equal(adapter.decision_function(x), scores)
    assert scores[200:].min() > np.median(scores[:200])  # higher is more anomalous
    # As in PyOD, which interpolates: the same rows are flagged.
    np.testing.assert_array_equal(adapter.labels_, scores > np.percentile(scores, 90))
    assert adapter.labels_.sum() == 21
    np.testing.assert_array_equal(adapter.predict(x), adapter.labels_)
    assert adapter.labels_.dtype == adapter.predict(x).dtype == np.int64
    assert adapter.n_features_in_ == 3


@pytest.mark.parametrize(("contamination", "flagged"), [(0.07, 7), (0.29, 29), (0.5, 50), (0.005, 1)])
def test_the_contamination_is_the_share_that_is_flagged(contamination, flagged):
    labels = PyODAdapter(GaussianDetector(threshold=Percentile()), contamination).fit_predict(rows(0, 100))
    assert labels.sum() == flagged


@pytest.mark.parametrize("none", [None, 0, 0.0])
def test_without_a_contamination_the_threshold_is_the_calibrated_one(x, none):
    adapter = PyODAdapter(GaussianDetector(calibration_fraction=0.5), none).fit(x)
    assert adapter.threshold_ == adapter.detector_.threshold_
    unseen = rows(2)
    np.testing.assert_array_equal(adapter.predict(unseen), adapter.detector_.predict(unseen) == -1)
    given = PyODAdapter(GaussianDetector(threshold=GivenThreshold(value=-1e9)), none)
    assert given.fit_predict(x).all()


def test_labels_reach_a_rule_that_needs_them(x):
    y = np.repeat([0, 1], [200, 10])
    adapter = PyODAdapter(GaussianDetector(threshold=BestF1()), None).fit(x, y)
    assert adapter.predict(x[200:]).mean() > 0.9


def test_probabilities_are_conformal(adapter, x):
    probabilities = adapter.predict_proba(x)
    assert probabilities.shape == (210, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(probabilities[:, 0], adapter.detector_.p_values(x))
    assert probabilities[200:, 1].min() > 0.8


def test_confidence_by_hand(adapter, x, monkeypatch):
    # n = 210, of which 21 are flagged: a row above all of them, one in the middle, and one at the threshold.
    scores = np.array([np.inf, np.median(adapter.decision_scores_), adapter.threshold_])
    monkeypatch.setattr(adapter.detector_, "anomaly_score", lambda _: scores)
    confidence = adapter.predict_confidence(x[:3])
    rng = np.random.default_rng(0)
    shares = np.array([211, 106, 190]) / 212
    drawn = rng.binomial(210, shares, size=(100_000, 3)) > 210 - 21
    above, middle, at = drawn.mean(axis=0)
    np.testing.assert_allclose(confidence, [above, 1 - middle, 1 - at], atol=0.01)
    assert confidence[2] < 0.62 < 0.99 < confidence[1]


def test_parameters_and_clones(x):
    adapter = PyODAdapter(GaussianDetector(threshold=Percentile()), contamination=0.2)
    assert adapter.get_params()["detector__calibration_fraction"] == 0.2
    copy: Any = clone(adapter.set_params(detector__calibration_fraction=0.4, contamination=0.3))
    assert isinstance(copy, PyODAdapter)
    assert (copy.contamination, copy.detector.calibration_fraction) == (0.3, 0.4)
    assert copy.detector is not adapter.detector
    copy.fit(x)
    assert not hasattr(copy.detector, "threshold_")
    unfitted: Any = clone(copy)
    with pytest.raises(NotFittedError):
        unfitted.predict(x)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (
            {"contamination": 0.6},
            "contamination = 0.6: expected a number from 0 to 0.5, or None for the detector's own",
        ),
        ({"contamination": -0.1}, "contamination = -0.1: expected a number from 0 to 0.5"),
        ({"contamination": float("nan")}, "contamination = nan: expected a number"),
        ({"contamination": True}, "contamination = True: expected a number"),
        ({"contamination": "auto"}, "contamination = 'auto': expected a number"),
        ({"detector": "gaussian"}, "detector = 'gaussian': expected one such as FlowDetector()"),
    ],
)
def test_wrong_parameters_are_refused(parameters, sentence):
    with pytest.raises(InputError) as error:
        PyODAdapter(GaussianDetector()).set_params(**parameters).fit(rows(0))
    assert str(error.value).startswith(sentence)


def test_takes_its_place_in_ensembles_of_pyod(x):
    lscp = pytest.importorskip("pyod.models.lscp")
    members = [
        PyODAdapter(GaussianDetector(threshold=Percentile(percentile=50), random_state=seed)) for seed in range(3)
    ]
    ensemble = lscp.LSCP(members, n_bins=3, random_state=0).fit(x)
    assert ensemble.labels_[200:].mean() > 0.5


def test_its_scores_serve_a_library_of_thresholds(adapter):
    thresholds = pytest.importorskip("pythresh.thresholds.iqr")
    labels = thresholds.IQR().eval(adapter.decision_scores_)
    assert labels[200:].mean() > 0.5
