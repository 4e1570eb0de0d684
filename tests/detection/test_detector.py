import pickle
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats
from flax import nnx
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jaxflow.data import MinMax, Standardize
from jaxflow.detection import BestF1, Detector, FlowDetector, GaussianDetector, GivenThreshold, Percentile, load
from jaxflow.detection import TargetFalsePositiveRate as TargetRate
from jaxflow.detection.scoring.row_scorer import RowScorer
from jaxflow.errors import InputError
from jaxflow.models import MAF, Density, GaussianSpec
from jaxflow.training import FitSpec


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def normals(seed, n, dim=2):
    return np.random.default_rng(seed).normal(size=(n, dim))


def test_signs_follow_scikit_learn(fitted):
    detector, x = fitted.detector, np.concatenate([fitted.unseen, fitted.unseen + np.array([0, 1e4, 0])])
    scores = detector.anomaly_score(x)
    assert scores.dtype == np.float64
    assert scores.shape == (len(x),)
    # Higher = more anomalous: the rows far away have the highest scores.
    assert scores[:100].max() < scores[100:].min()
    np.testing.assert_array_equal(detector.score_samples(x), -scores)
    assert detector.offset_ == -detector.threshold_
    np.testing.assert_array_equal(detector.decision_function(x), detector.score_samples(x) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(x) == -1, scores > detector.threshold_)
    np.testing.assert_array_equal(detector.predict(x) == -1, detector.decision_function(x) < 0)
    assert set(detector.predict(x)) == {-1, 1}
    assert (detector.predict(x[100:]) == -1).all()


def test_a_row_whose_score_is_the_threshold_is_normal(fitted):
    detector, x = fitted.detector, fitted.unseen[:3]
    middle = float(np.sort(detector.anomaly_score(x))[1])
    detector.set_threshold(GivenThreshold(value=middle))
    assert sorted(detector.predict(x)) == [-1, 1, 1]
    assert 0.0 in detector.decision_function(x)


def test_an_infinite_threshold_flags_nothing_and_makes_no_nan(fitted, monkeypatch):
    detector = fitted.detector
    monkeypatch.setattr(detector, "scores_of_rows", lambda x: np.array([1.0, np.inf]))
    detector._decide(Percentile(percentile=50), np.array([np.inf, np.inf, 1.0]), None)
    assert detector.threshold_ == np.inf
    np.testing.assert_array_equal(detector.predict(fitted.x[:2]), [1, 1])
    np.testing.assert_array_equal(detector.decision_function(fitted.x[:2]), [np.inf, 0.0])


def test_the_threshold_comes_from_rows_held_out():
    x = normals(0, 200, 3)
    detector = GaussianDetector(calibration_fraction=0.25, calibration_folds=0).fit(x)
    assert detector.calibration_scores_.shape == (50,)
    assert detector.calibration_labels_ is None
    assert detector.calibration_source_ == "held_out"
    assert detector.n_train_ == 200
    assert detector.threshold_rule_ == TargetRate(rate=0.05)
    assert detector.threshold_ == np.sort(detector.calibration_scores_)[48]  # ceil(51 * 0.95) = 49th of 50
    # The scores are those of 50 of the rows, and the model was not fitted on these.
    scores = detector.anomaly_score(x)
    assert np.isin(detector.calibration_scores_, scores).all()
    held = np.isin(scores, detector.calibration_scores_)
    np.testing.assert_allclose(detector.preprocessing_.fitted[1].shift, x[~held].mean(axis=0), rtol=1e-12)  # type: ignore[union-attr]


def test_without_calibration_rows_the_training_rows_calibrate():
    x = normals(0, 200, 3)
    detector = GaussianDetector(calibration_fraction=0.0).fit(x)
    np.testing.assert_array_equal(detector.calibration_scores_, detector.anomaly_score(x))
    assert detector.calibration_source_ == "training"


def test_changing_the_threshold_changes_decisions_alone(fitted, monkeypatch):
    detector, x = fitted.detector, fitted.unseen
    scores, model, history = detector.anomaly_score(x), detector.model_, detector.history_
    calibration = detector.calibration_scores_
    monkeypatch.setattr(Detector, "scores_of_rows", lambda *_: pytest.fail("scored again"))
    assert detector.set_threshold(TargetRate(rate=0.5)) is detector
    assert detector.threshold_ == np.sort(calibration)[20]  # ceil(41 / 2) = 21st of 40
    monkeypatch.undo()
    assert (detector.model_, detector.history_) == (model, history)
    assert detector.threshold_rule_ == TargetRate(rate=0.5)
    np.testing.assert_array_equal(detector.anomaly_score(x), scores)
    few = np.sum(detector.predict(x) == -1)
    detector.set_threshold(Percentile(percentile=10))
    assert np.sum(detector.predict(x) == -1) > few


def test_calibrate_replaces_scores_and_threshold(fitted):
    detector, x = fitted.detector, fitted.unseen
    model = detector.model_
    scores = detector.anomaly_score(x)
    assert detector.calibrate(x, rule=Percentile(percentile=90)) is detector
    np.testing.assert_array_equal(detector.calibration_scores_, scores)
    assert detector.calibration_source_ == "given"
    assert detector.threshold_ == np.sort(scores)[89]
    assert detector.model_ is model
    # The rule stays in use.
    detector.calibrate(x[:10])
    assert detector.threshold_ == np.sort(scores[:10])[8]
    labels = np.zeros(100, int)
    labels[scores.argmax()] = 1
    detector.calibrate(x, labels, BestF1())
    assert list(detector.predict(x)).count(-1) == 1
    np.testing.assert_array_equal(detector.calibration_labels_, labels)


@pytest.mark.parametrize("change", [{"y": None}, {"y": np.zeros(100, int)}, {"y": np.ones(3, int)}])
def test_a_refused_calibration_leaves_the_detector_as_it_was(fitted, change):
    before = dict(vars(fitted.detector))
    with pytest.raises(InputError):
        fitted.detector.calibrate(fitted.unseen, rule=BestF1(), **change)
    assert vars(fitted.detector) == before


def test_best_f1_learns_from_normal_rows_alone():
    x = np.concatenate([normals(0, 100), normals(1, 10) + 8.0])
    y = np.repeat([0, 1], [100, 10])
    detector = GaussianDetector(threshold=BestF1(), calibration_fraction=0.3, calibration_folds=0).fit(x, y)
    np.testing.assert_array_equal(detector.calibration_labels_, np.repeat([0, 1], [30, 10]))
    np.testing.assert_array_equal(detector.calibration_scores_[30:], detector.anomaly_score(x[100:]))
    np.testing.assert_array_equal(detector.predict(x) == -1, y == 1)
    assert abs(detector.preprocessing_.fitted[1].shift).max() < 0.5  # type: ignore[union-attr]
    # The labels stay out of the p-values: no anomaly counts as normal.
    assert detector.p_values(x[100:]).max() == 1 / 31


def test_p_values_by_hand(fitted):
    detector = fitted.detector
    detector._decide(Percentile(percentile=50), np.array([4.0, 1.0, 2.0, 2.0]), None)
    asked = np.array([0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, np.inf])
    expected = np.array([5, 5, 4, 4, 2, 2, 1, 1]) / 5
    np.testing.assert_array_equal(detector._p_values_of_scores(asked), expected)
    detector._decide(Percentile(percentile=50), np.array([4.0, 1.0, 2.0, 2.0]), np.array([1, 0, 0, 0]))
    np.testing.assert_array_equal(detector._p_values_of_scores(np.array([0.0, 2.0, 3.0])), np.array([4, 3, 1]) / 4)


def shares_of_low_p_values(calibration_fraction, rows, fits, folds=0):
    """Share of unseen normal rows with p <= 0.1, 0.2, ..., for many fits; 10 features and few rows to learn from."""
    shares = []
    for seed in range(fits):
        x = normals(seed, rows + 40, 10)
        detector = GaussianDetector(
            threshold=Percentile(percentile=50), calibration_fraction=calibration_fraction, calibration_folds=folds
        ).fit(x[:rows])
        p = detector.p_values(x[rows:])
        shares.append([np.mean(p <= level + 1e-9) for level in np.arange(0.1, 1, 0.1)])
    return np.mean(shares, axis=0), 5 * np.std(shares, axis=0) / np.sqrt(len(shares))


def test_p_values_are_uniform_on_unseen_normal_rows():
    # 19 calibration rows: p-values are multiples of 1/20, and 0.1, 0.2, ... are among them.
    shares, error = shares_of_low_p_values(19 / 99, rows=99, fits=150)
    assert error.max() < 0.06
    assert (abs(shares - np.arange(0.1, 1, 0.1)) <= error).all()


def test_p_values_from_training_rows_are_too_low():
    # This is why rows are held out, and that the test above can fail.
    shares, error = shares_of_low_p_values(0.0, rows=39, fits=30)
    assert shares[0] > 0.1 + error[0]


def test_p_values_from_rows_out_of_fold_are_not_too_low():
    shares, error = shares_of_low_p_values(0.2, rows=40, fits=60, folds=5)
    levels = np.arange(0.1, 1, 0.1)
    assert (shares <= levels + error).all()
    # Nor are they of no use: a tenth of the rows is not far from a tenth.
    assert shares[0] > 0.05


def test_a_score_does_not_depend_on_the_rows_beside_it(fitted):
    detector, x = fitted.detector, fitted.unseen
    alone = np.array([detector.anomaly_score(row[None])[0] for row in x[:20]])
    np.testing.assert_array_equal(detector.anomaly_score(x[:7]), alone[:7])
    # 1 and 7 rows run through one compiled program, 100 through another, which may add up in another order: float32
    # then differs in its last digits.
    np.testing.assert_allclose(detector.anomaly_score(x)[:20], alone, rtol=3e-6, atol=3e-6)
    np.testing.assert_array_equal(detector.anomaly_score(x[::-1])[::-1], detector.anomaly_score(x))


def test_the_same_seed_gives_the_same_scores(fresh, unfitted, fitted):
    again = fresh(unfitted).fit(fitted.x)
    np.testing.assert_array_equal(again.anomaly_score(fitted.unseen), fitted.detector.anomaly_score(fitted.unseen))
    assert again.threshold_ == fitted.detector.threshold_
    other = fresh(unfitted, random_state=1).fit(fitted.x)
    assert (other.anomaly_score(fitted.unseen) != fitted.detector.anomaly_score(fitted.unseen)).any()


def test_gaussian_density_is_in_data_units(float64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3)) * [1e2, 1.0, 1e-2] + [1e4, 0.0, 1.0]
    asked = x[:50] + 1e-3
    for steps in ((Standardize(),), (MinMax(),), (MinMax(), Standardize()), ()):
        detector = GaussianDetector(
            GaussianSpec(regularization=0.0), preprocessing=steps, calibration_fraction=0.0, threshold=Percentile()
        ).fit(x)
        covariance: Any = np.cov(x.T, ddof=0)
        reference = scipy.stats.multivariate_normal(x.mean(axis=0), covariance)
        np.testing.assert_allclose(detector.score_samples(asked), reference.logpdf(asked), rtol=1e-9)


def test_constant_columns_have_no_part_in_the_density(fresh, float64):
    x = normals(0, 200, 2)
    wider = np.column_stack([x[:, 0], np.full(200, 7.0), x[:, 1]])
    detector = GaussianDetector(threshold=Percentile())
    expected = fresh(detector).fit(x).score_samples(x)
    np.testing.assert_array_equal(fresh(detector).fit(wider).score_samples(wider), expected)
    draws = detector.fit(wider).sample(5, random_state=0)
    np.testing.assert_array_equal(draws[:, 1], np.full(5, 7.0))


def test_flow_density_integrates_to_one_in_data_units():
    x = normals(0, 400) * [3.0, 0.02] + [10.0, -5.0]
    x[:, 1] += 0.01 * np.sin(x[:, 0])
    detector = FlowDetector(MAF(layers=2, hidden=(8,)), train=FitSpec(epochs=20, learning_rate=0.01)).fit(x)
    axes = [np.linspace(column.mean() - 9 * column.std(), column.mean() + 9 * column.std(), 300) for column in x.T]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert np.exp(detector.score_samples(grid)).sum() * cell == pytest.approx(1, abs=2e-3)


FAR = {
    "one cell": [1e30, 0.0, 0.0],
    "all cells": [1e30, -1e30, 1e30],
    "the end of float64": [0.0, -1.7e308, 0.0],
    "both ends": [-1e300, 1e300, 1e308],
    "beyond float64 after scaling": [1.0, 1.0, 1.7e308],
}


@pytest.mark.parametrize("place", FAR)
def test_rows_far_outside_rank_last(fitted, place):
    far = fitted.unseen[:1].copy()
    far[0] = np.where(np.array(FAR[place]) == 0, far[0], FAR[place])
    # Nearer ones for comparison: 30 standard deviations away.
    near = fitted.unseen + 30 * fitted.x.std(axis=0)
    scores = fitted.detector.anomaly_score(np.concatenate([near, far, fitted.unseen]))
    assert not np.isnan(scores).any()
    assert np.isfinite(scores[:100]).all()
    assert scores[100] > np.delete(scores, 100).max()
    assert fitted.detector.predict(far)[0] == -1
    assert fitted.detector.p_values(far)[0] == 1 / 41


def test_draws_are_in_data_units_and_repeatable(fitted):
    detector = fitted.detector
    if not isinstance(detector.model_, Density):
        sentence = "AutoencoderDetector cannot draw rows: AutoEncoder is no density"
        with pytest.raises(InputError, match=sentence):
            detector.sample(3)
        return
    draws = detector.sample(1000, random_state=3)
    assert draws.shape == (1000, 3)
    np.testing.assert_array_equal(draws, detector.sample(1000, random_state=3))
    assert (draws != detector.sample(1000, random_state=4)).any()
    assert (detector.sample(5) != detector.sample(5)).any()
    deviation = fitted.x.std(axis=0)
    assert (abs(draws.mean(axis=0) - fitted.x.mean(axis=0)) < 0.3 * deviation).all()
    assert (abs(draws.std(axis=0) / deviation - 1) < 0.3).all()
    assert detector.sample(0).shape == (0, 3)
    with pytest.raises(InputError, match="count = -1: expected a whole number of at least 0"):
        detector.sample(-1)


def test_draws_are_scored_as_likely_as_the_data():
    x = normals(0, 2000)
    detector = GaussianDetector(threshold=Percentile()).fit(x)
    draws = detector.sample(2000, random_state=0)
    result: Any = scipy.stats.ks_2samp(detector.anomaly_score(draws), detector.anomaly_score(normals(1, 2000)))
    assert result.pvalue > 1e-3


def test_names_of_columns():
    x = normals(0, 40, 3)
    assert GaussianDetector(threshold=Percentile()).fit(x).columns_ == ("x0", "x1", "x2")


def test_works_in_a_pipeline():
    x = normals(0, 200, 3) * 1e6
    pipeline: Any = make_pipeline(StandardScaler(), GaussianDetector(threshold=Percentile())).fit(x)
    assert (pipeline.predict(x) == -1).mean() < 0.3
    np.testing.assert_array_equal(pipeline.predict(x) == -1, pipeline.decision_function(x) < 0)
    pipeline.set_params(gaussiandetector__calibration_folds=4).fit(x)
    assert pipeline[-1].calibration_scores_.size == 200


def test_works_in_a_grid_search():
    x = normals(0, 300) @ np.array([[1.0, 2.0], [0.0, 0.3]])
    search = GridSearchCV(
        GaussianDetector(threshold=Percentile()),
        {"model": [GaussianSpec(covariance="diagonal"), GaussianSpec(covariance="full")]},
        scoring=lambda detector, x, y=None: detector.score_samples(x).mean(),
        cv=3,
    ).fit(x)
    assert search.best_params_ == {"model": GaussianSpec(covariance="full")}
    assert search.best_score_ == pytest.approx(-np.log(0.3) - np.log(2 * np.pi) - 1, abs=0.1)


def test_parameters_are_those_of_the_constructor(fresh, unfitted):
    parameters = unfitted.get_params(deep=False)
    for name, value in fresh(unfitted).get_params(deep=False).items():
        assert value == parameters[name]
    changed = fresh(unfitted, random_state=5, threshold=BestF1())
    assert changed.get_params(deep=False) == parameters | {"random_state": 5, "threshold": BestF1()}
    with pytest.raises(ValueError, match="Invalid parameter 'epochs'"):
        changed.set_params(epochs=3)


@pytest.mark.parametrize("method", ["anomaly_score", "score_samples", "decision_function", "predict", "p_values"])
def test_what_is_not_fitted_cannot_score(method):
    x = normals(0, 3)
    with pytest.raises(NotFittedError):
        getattr(GaussianDetector(), method)(x)
    # A fit that failed half-way is no fit.
    detector = GaussianDetector()
    with pytest.raises(InputError):
        detector.fit(np.ones((30, 2)))
    with pytest.raises(NotFittedError):
        getattr(detector, method)(x)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"calibration_fraction": 1.0}, "calibration_fraction = 1.0: expected a number of at least 0 and less than 1"),
        (
            {"calibration_fraction": -0.1},
            "calibration_fraction = -0.1: expected a number of at least 0 and less than 1",
        ),
        ({"calibration_folds": 1}, "calibration_folds = 1: expected None, 0 or a whole number of at least 2"),
        ({"calibration_folds": 2.5}, "calibration_folds = 2.5: expected None, 0 or a whole number of at least 2"),
        ({"calibration_folds": True}, "calibration_folds = True: expected None, 0 or a whole number of at least 2"),
        ({"calibration_folds": 51}, "calibration_folds = 51: expected at most one for each of 50 normal rows"),
        ({"validation_fraction": 1.5}, "validation_fraction = 1.5: expected a number of at least 0 and less than 1"),
        ({"threshold": 0.95}, "threshold = 0.95: expected a rule such as Percentile(percentile=95)"),
        (
            {"preprocessing": ("standardize",)},
            "preprocessing holds 'standardize': expected steps such as Standardize()",
        ),
        ({"train": 100}, "train = 100: expected a FitSpec"),
        ({"model": "maf"}, "model of FlowDetector = 'maf': expected FlowSpec, EnsembleSpec or CommitteeSpec"),
        (
            {"model": MAF(context_dim=2)},
            "context_dim = 2 of the model, but columns.context makes 0 context features: leave it out",
        ),
        ({"columns": "infer"}, "columns = 'infer': expected a ColumnsSpec"),
        (
            {"threshold": BestF1()},
            "the threshold rule best_f1 needs labels: fit(X, y) with y = 0 (normal) or 1 (anomaly)",
        ),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_fitted(parameters, sentence):
    with pytest.raises(InputError) as error:
        FlowDetector().set_params(**parameters).fit(normals(0, 50))
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (np.zeros(20, int), "the threshold rule best_f1 needs anomalies, and all 20 labels are 0"),
        (np.ones(20, int), "the threshold rule best_f1 needs normal rows, and all 20 labels are 1"),
        (np.zeros(19, int), "labels have shape (19,), expected one label for each of 20 rows"),
        (np.full(20, 2), "label = 2 in row 1, expected 0 for normal or 1 for anomaly"),
    ],
)
def test_wrong_labels_are_refused_before_anything_is_fitted(y, sentence):
    with pytest.raises(InputError) as error:
        GaussianDetector(threshold=BestF1()).fit(normals(0, 20), y)
    assert str(error.value) == sentence


def test_too_few_rows_are_refused():
    with pytest.raises(InputError) as error:
        FlowDetector().fit(normals(0, 2))
    sentence = "n_samples = 2: expected at least 3 normal rows, to fit and to calibrate and to choose the best epoch"
    assert str(error.value) == sentence
    with pytest.raises(InputError, match=r"n_samples = 1: expected at least 2 normal rows, to fit$"):
        GaussianDetector(calibration_fraction=0.0).fit(normals(0, 1))
    with pytest.raises(InputError) as error:
        GaussianDetector(calibration_fraction=0.999).fit(normals(0, 300))
    sentence = "calibration_fraction = 0.999: leaves 1 of 300 rows to learn from, expected at least 2"
    assert str(error.value) == sentence


def test_rows_of_another_width_are_refused(fitted):
    with pytest.raises(ValueError, match=r"X has 2 features, but .* is expecting 3"):
        fitted.detector.anomaly_score(np.zeros((4, 2)))
    with pytest.raises(InputError, match="the data has 2 columns, expected 3"):
        fitted.detector.scores_of_rows(np.zeros((4, 2)))


def test_a_scorer_is_made_once_and_sees_what_becomes_of_the_model(fitted, tmp_path, monkeypatch):
    made, original = [], RowScorer.__init__
    monkeypatch.setattr(RowScorer, "__init__", lambda self, *args: (made.append(args), original(self, *args))[1])
    fitted.detector.save(tmp_path / "model")
    for detector in (fitted.detector, load(tmp_path / "model"), pickle.loads(pickle.dumps(fitted.detector))):
        made.clear()
        first = detector.anomaly_score(fitted.x)
        np.testing.assert_array_equal(detector.anomaly_score(fitted.x), first)
        assert len(made) == (detector is not fitted.detector)
    made.clear()
    graph, state = nnx.split(detector.model_)
    doubled = jax.tree.map(lambda array: 2 * array if array.dtype.kind == "f" else array, state)
    detector.model_ = nnx.merge(graph, doubled)  # another one
    other = detector.anomaly_score(fitted.x)
    assert np.any(other != first)
    detector.model_ = nnx.merge(graph, state)
    np.testing.assert_array_equal(detector.anomaly_score(fitted.x), first)
    nnx.update(detector.model_, doubled)  # in place
    np.testing.assert_array_equal(detector.anomaly_score(fitted.x), other)
    assert len(made) == 3


def test_former_methods_work_on_with_a_warning(fitted):
    scores = fitted.detector.calibration_scores_
    with pytest.warns(DeprecationWarning, match="normal_calibration_scores is no public name any more"):
        np.testing.assert_array_equal(fitted.detector.normal_calibration_scores(), scores)
    with pytest.warns(DeprecationWarning, match="p_values_of_scores is no public name any more"):
        np.testing.assert_array_equal(
            fitted.detector.p_values_of_scores(scores=scores), fitted.detector._p_values_of_scores(scores)
        )
