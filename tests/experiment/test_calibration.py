import json
from typing import Any

import numpy as np
import pytest

from jaxflow.detection import BestF1, GaussianDetector, GivenThreshold, Percentile, TargetFalsePositiveRate
from jaxflow.experiment.calibration import calibration_facts, threshold_origin


def rows(n):
    return np.random.default_rng(0).normal(size=(n, 2))


def fitted(n, **parameters):
    return GaussianDetector(**parameters).fit(rows(n))


@pytest.mark.parametrize(
    ("n", "parameters", "expected"),
    [
        (600, {}, "120 held-out calibration scores, as their conformal quantile"),
        (90, {}, "90 out-of-fold calibration scores, as their conformal quantile"),
        (90, {"calibration_fraction": 0.0}, "90 training rows' own calibration scores, as their conformal quantile"),
    ],
)
def test_whose_scores_and_which_way(n, parameters, expected):
    origin, doubts = threshold_origin(fitted(n, **parameters))
    assert origin == f"the rule target_fpr (rate = 0.05, beyond = tail) took that threshold from {expected}"
    assert doubts == []


def test_what_is_doubtful():
    ways: dict[Any, str] = {"tail": "extrapolated from their tail", "largest": "as the largest of them"}
    for beyond, way in ways.items():
        with pytest.warns(UserWarning, match="cannot promise a false-positive rate of 0.001"):
            detector = fitted(90, threshold=TargetFalsePositiveRate(rate=0.001, beyond=beyond))
        origin, doubts = threshold_origin(detector)
        assert origin.endswith(f"from 90 out-of-fold calibration scores, {way}")
        facts = calibration_facts(detector)
        assert json.loads(json.dumps(facts)) == facts == {
            "rule": "target_fpr",
            "options": {"rate": 0.001, "beyond": beyond},
            "source": "out_of_fold",
            "n_scores": 90,
            "branch": beyond,
            "warnings": doubts,
        }  # fmt: skip
        assert doubts[0].startswith("90 held-out scores cannot promise a false-positive rate of 0.001: ")


def test_a_percentile_beyond_the_scores_is_doubtful():
    with pytest.warns(UserWarning, match=r"percentile 99 leaves a share of 0.01 above it, less than 1 in 90 scores"):
        detector = fitted(90, threshold=Percentile(percentile=99))
    (doubt,) = threshold_origin(detector)[1]
    assert doubt.startswith("percentile 99 leaves")
    assert calibration_facts(detector)["warnings"] == [doubt]


def test_given_thresholds_and_given_rows():
    detector = fitted(90)
    detector.calibrate(rows(30), np.repeat([0, 1], [25, 5]), BestF1())
    assert threshold_origin(detector)[0] == "the rule best_f1 took that threshold from 30 calibration scores"
    assert calibration_facts(detector)["branch"] is None
    detector.set_threshold(GivenThreshold(value=2.0))
    assert threshold_origin(detector) == ("that threshold was given", [])
    assert calibration_facts(detector)["n_scores"] == 0
