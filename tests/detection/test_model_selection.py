"""Detectors in scikit-learn's pipelines and searches."""

import pickle
import re
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from jaxflow.compat import PyODAdapter
from jaxflow.data import ColumnsSpec, MinMax, Standardize
from jaxflow.detection import AutoencoderDetector, FlowDetector, GaussianDetector, Percentile, TargetFalsePositiveRate
from jaxflow.models import MAF, AutoEncoderSpec, CommitteeSpec, GaussianSpec, StudentTBase
from jaxflow.training import FitSpec
from jaxflow.training.many.committee import COMMITTEE_FIT

TRAIN = FitSpec(epochs=2, batch_size=64)


@pytest.fixture(scope="module")
def x():
    """Two features of which one follows the other closely."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(240, 2)) @ np.array([[1.0, 2.0], [0.0, 0.1]]) + [5.0, -3.0]


def test_score_is_the_mean_over_rows(fitted):
    detector, asked = fitted.detector, fitted.unseen
    assert isinstance(detector.score(asked), float)
    assert detector.score(asked) == np.mean(detector.score_samples(asked))
    assert detector.score(asked, np.zeros(len(asked))) == detector.score(asked)
    assert detector.score(asked + np.array([0, 1e4, 0])) < detector.score(asked)


def test_a_search_compares_densities_by_their_likelihood(x):
    grid = {
        "model": [GaussianSpec(covariance="diagonal"), GaussianSpec(covariance="full")],
        "preprocessing": [None, (MinMax(),)],
        "calibration_fraction": [0.0, 0.2],
    }
    search = GridSearchCV(GaussianDetector(threshold=Percentile()), grid, cv=3).fit(x)
    assert search.best_params_["model"] == GaussianSpec(covariance="full")
    # In data units, so preprocessing hardly matters; and not a sum, so the number of rows does not either.
    expected = -np.log(0.1) - np.log(2 * np.pi) - 1
    assert search.best_score_ == pytest.approx(expected, abs=0.1)
    means = search.cv_results_["mean_test_score"].reshape(2, 2, 2)  # calibration, model, preprocessing
    np.testing.assert_allclose(means[..., 0], means[..., 1], atol=1e-2)
    assert set(search.best_estimator_.predict(x)) == {-1, 1}


def test_a_search_compares_autoencoders_by_their_error(x):
    wide = np.column_stack([x, x[:, ::-1] ** 2])
    specs = [AutoEncoderSpec(hidden=(), latent=latent) for latent in (1, 3)]
    detector = AutoencoderDetector(train=FitSpec(epochs=40, batch_size=64, learning_rate=0.02), threshold=Percentile())
    search = GridSearchCV(detector, {"model": specs}, cv=2).fit(wide)
    assert search.best_params_["model"] == specs[1]
    assert search.best_score_ < 0


def test_a_search_reaches_what_is_nested(x):
    pipeline = Pipeline(
        [
            ("scale", StandardScaler()),
            ("detector", FlowDetector(MAF(layers=1, hidden=(4,)), train=TRAIN, threshold=Percentile(percentile=50))),
        ]
    )
    grid: dict[str, Any] = {
        "detector__train__epochs": [2, 30],
        "detector__train__learning_rate": [0.02],
        "detector__calibration_fraction": [0.1],
        "detector__calibration_folds": [0],
        "scale__with_mean": [False],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(x)
    assert search.best_params_["detector__train__epochs"] == 30
    best = search.best_estimator_
    assert best[-1].train == FitSpec(epochs=30, batch_size=64, learning_rate=0.02)
    assert FitSpec(epochs=2, batch_size=64) == TRAIN
    assert best[-1].calibration_scores_.size == 24
    np.testing.assert_array_equal(best.predict(x) == -1, best.decision_function(x) < 0)
    assert best.score(x) == np.mean(best.score_samples(x))


def test_a_search_within_an_adapter(x):
    adapter = PyODAdapter(GaussianDetector(threshold=Percentile()), contamination=None)
    rules = [Percentile(percentile=50), Percentile(percentile=90)]
    flagged = GridSearchCV(
        adapter, {"detector__threshold": rules}, scoring=lambda fitted, x, y=None: fitted.predict(x).mean(), cv=2
    ).fit(x)
    assert flagged.best_params_ == {"detector__threshold": rules[0]}


def test_scores_over_folds(x):
    scores = cross_val_score(GaussianDetector(threshold=Percentile()), x, cv=4)
    assert scores.shape == (4,)
    assert np.std(scores) < 0.5


@pytest.mark.parametrize(
    "parameters",
    [
        {"preprocessing": (MinMax(), Standardize()), "threshold": TargetFalsePositiveRate(rate=0.1)},
        {"train": FitSpec(epochs=7, weight_decay=0.0), "model": MAF(hidden=(3, 3)), "devices": -1},
    ],
)
def test_clones_and_copies_have_the_same_parameters(parameters):
    detector = FlowDetector(**parameters)
    within: Any = clone(Pipeline([("d", detector)]))
    copies: list[Any] = [clone(detector), pickle.loads(pickle.dumps(detector)), within["d"]]
    for copy in copies:
        assert copy is not detector
        assert copy.get_params() == detector.get_params()


def test_behind_a_step_that_names_its_columns(x):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(x, columns=["speed", "heat"])
    pipeline: Any = Pipeline(
        [("scale", QuantileTransformer(n_quantiles=50)), ("d", GaussianDetector(threshold=Percentile()))]
    ).set_output(transform="pandas")
    pipeline.fit(frame)
    assert list(pipeline[-1].feature_names_in_) == ["speed", "heat"]
    assert pipeline[-1].columns_ == ("speed", "heat")
    assert isinstance(pipeline.score_samples(frame), np.ndarray)
    with pytest.raises(ValueError, match="feature names should match"):
        pipeline.predict(frame[["heat", "speed"]])


def test_what_specs_hold_has_names(fresh):
    detector = FlowDetector(MAF(layers=2, base=StudentTBase(degrees_of_freedom=3.0)), random_state=5)
    parameters = detector.get_params()
    assert parameters["model__layers"] == 2
    assert parameters["model__base__degrees_of_freedom"] == 3.0
    assert not any("__" in name for name in detector.get_params(deep=False))
    shared = detector.model
    assert detector.set_params(model__layers=3, model__base__degrees_of_freedom=7.0, calibration_folds=0) is detector
    assert detector.model == MAF(layers=3, base=StudentTBase(degrees_of_freedom=7.0))
    assert shared == MAF(layers=2, base=StudentTBase(degrees_of_freedom=3.0))
    assert fresh(detector).model == detector.model
    # A spec that is set with one of its values comes first, in whatever order they are given.
    assert fresh(detector).set_params(model__layers=4, model=MAF(hidden=(8,))).model == MAF(layers=4, hidden=(8,))


def test_defaults_can_be_reached_into():
    detector = FlowDetector().set_params(model__layers=2, train__epochs=3, threshold__rate=0.2, columns__infer=False)
    assert detector.model == MAF(layers=2)
    assert detector.train == FitSpec(epochs=3)
    assert detector.threshold == TargetFalsePositiveRate(rate=0.2)
    assert detector.columns == ColumnsSpec(infer=False)
    committee = FlowDetector(CommitteeSpec()).set_params(train__steps=50)
    assert committee.train == COMMITTEE_FIT.model_copy(update={"steps": 50})
    adapter = PyODAdapter(GaussianDetector()).set_params(detector__model__regularization=0.1)
    assert adapter.detector.model == GaussianSpec(regularization=0.1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model__layers", 0, "model of FlowDetector: layers = 0: "),
        ("model__layres", 1, "model of FlowDetector: unknown key layres; did you mean layers?"),
        ("modle__layers", 1, "FlowDetector has no parameter modle; its parameters are "),
        ("model__layers__more", 1, "model of FlowDetector: layers holds no parameters such as more"),
        ("preprocessing__kind", 1, "preprocessing__kind: preprocessing = None of FlowDetector holds no parameters"),
        ("modle", None, "Invalid parameter 'modle' for estimator FlowDetector"),
    ],
)
def test_wrong_names_and_values_within_specs_are_refused(name, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        FlowDetector().set_params(**{name: value})
