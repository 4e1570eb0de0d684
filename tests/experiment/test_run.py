import numpy as np
import pytest

from jaxflow.config.spec import parse_spec
from jaxflow.data import Frame, load_dataset
from jaxflow.detection import GaussianDetector, GivenThreshold, Percentile
from jaxflow.errors import InputError
from jaxflow.experiment.run import experiment_rows, experiment_split, rows_for, run_experiment, score_run
from jaxflow.experiment.spec import Experiment

RINGS = {"name": "rings", "size": 200, "anomaly_fraction": 0.1}
BEST_F1 = {"threshold": {"kind": "best_f1"}, "labelled_fraction": 0.25}


def experiment(**sections):
    values = {"data": RINGS, "model": {"kind": "gaussian"}} | sections
    return parse_spec(Experiment, values, "a.yaml")


def sorted_rows(*parts):
    return sorted(map(tuple, np.concatenate(parts)))


def test_rows_are_those_of_the_split():
    rows, split = experiment_rows(experiment()), experiment_split(experiment())
    np.testing.assert_array_equal(rows.x_train.x, split.x_train)
    np.testing.assert_array_equal(rows.x_test.x, split.x_test)
    np.testing.assert_array_equal(rows.y_test, split.y_test)
    assert rows.y_train is None
    assert (rows.name, rows.feature_names) == ("rings", ("x0", "x1"))
    assert (len(rows.x_train), len(rows.x_test)) == (100, 120)


def test_best_f1_gets_a_share_of_the_anomalies_and_the_test_loses_it():
    rows, split = experiment_rows(experiment(detection=BEST_F1)), experiment_split(experiment())
    assert rows.y_train is not None
    assert rows.y_test is not None
    assert split.y_test is not None
    assert (len(rows.x_train), rows.y_train.sum()) == (105, 5)
    assert (len(rows.x_test), rows.y_test.sum()) == (115, 15)
    np.testing.assert_array_equal(rows.x_train.x[rows.y_train == 0], split.x_train)
    np.testing.assert_array_equal(rows.x_test.x[rows.y_test == 0], split.x_test[split.y_test == 0])
    # No anomaly is lost and none is on both sides.
    anomalies = sorted_rows(rows.x_train.x[rows.y_train == 1], rows.x_test.x[rows.y_test == 1])
    assert anomalies == sorted_rows(split.x_test[split.y_test == 1])
    again = experiment_rows(experiment(detection=BEST_F1))
    np.testing.assert_array_equal(again.x_train.x, rows.x_train.x)


def test_the_seed_chooses_the_anomalies_that_best_f1_gets():
    # Real data, because made data itself depends on the seed.
    chosen = []
    for seed in (0, 1):
        rows = experiment_rows(experiment(data={"name": "breast_cancer"}, detection=BEST_F1, seed=seed))
        chosen.append(sorted_rows(rows.x_train.x[rows.y_train == 1]))
    assert len(chosen[0]) == len(chosen[1]) > 10
    assert chosen[0] != chosen[1]


@pytest.mark.parametrize(
    ("data", "fraction", "sentence"),
    [
        (
            RINGS | {"anomaly_fraction": 0.0},
            0.5,
            "rings: labelled_fraction = 0.5 of 0 anomalies, expected one at least",
        ),
        (RINGS | {"size": 10}, 0.9, "rings: labelled_fraction = 0.9 of 1 anomalies, expected one at least"),
        (RINGS, 0.01, "rings: labelled_fraction = 0.01 of 20 anomalies, expected one at least for the threshold rule"),
    ],
)
def test_best_f1_without_enough_anomalies_is_refused(data, fraction, sentence):
    with pytest.raises(InputError) as error:
        run_experiment(experiment(data=data, detection=BEST_F1 | {"labelled_fraction": fraction}))
    assert str(error.value).startswith(sentence)


def test_best_f1_without_labels_is_refused(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(20)))
    with pytest.raises(InputError, match="mine has no labels, expected some, as the threshold rule best_f1 needs them"):
        run_experiment(experiment(data={"path": str(file), "label": None}, detection=BEST_F1))


@pytest.fixture(scope="module")
def run():
    return run_experiment(experiment())


def test_a_run_is_what_the_detector_does(run):
    rows = experiment_rows(experiment())
    np.testing.assert_array_equal(run.x, rows.x_test.x)
    np.testing.assert_array_equal(run.scores, run.detector.anomaly_score(rows.x_test))
    assert run.n_train == run.detector.n_train_ == 100
    assert run.metrics is not None
    assert run.metrics.threshold == run.detector.threshold_
    assert run.metrics.n_train == 100
    flagged = run.detector.predict(rows.x_test) == -1
    assert run.n_flagged == flagged.sum() == run.metrics.true_positives + run.metrics.false_positives
    assert run.detector.columns_ == ("x0", "x1")
    assert run.fit_seconds is not None
    assert run.fit_seconds > 0
    assert run.score_seconds > 0


def test_the_same_experiment_gives_the_same_run(run):
    again = run_experiment(experiment())
    np.testing.assert_array_equal(again.scores, run.scores)
    assert again.metrics == run.metrics


def test_best_f1_runs_on_labels():
    run = run_experiment(experiment(detection=BEST_F1))
    assert run.detector.calibration_labels_ is not None
    assert run.detector.calibration_labels_.sum() == 5
    assert run.metrics is not None
    assert run.metrics.n_anomalies == 15
    assert run.n_train == run.detector.n_train_ == 105


def test_the_names_of_a_files_columns_go_to_the_detector(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "mine.csv"
    file.write_text("speed,label,weight\n" + "".join(f"{a},0,{b}\n" for a, b in rng.normal(size=(60, 2))))
    run = run_experiment(experiment(data={"path": str(file)}, detection={"threshold": {"kind": "percentile"}}))
    assert run.detector.columns_ == ("speed", "weight")


def test_a_run_without_labels_has_no_metrics(run):
    blind = score_run(run.detector, run.x, n_train=7)
    assert blind.metrics is None
    assert blind.y is None
    assert blind.fit_seconds is None
    assert blind.n_flagged == run.n_flagged
    assert blind.n_train == 7


def test_a_row_at_the_threshold_is_not_flagged(run):
    detector = GaussianDetector(threshold=Percentile()).fit(run.x)
    detector.set_threshold(GivenThreshold(value=float(np.sort(detector.anomaly_score(run.x))[-2])))
    assert score_run(detector, run.x, n_train=1).n_flagged == 1


def test_a_fit_that_diverges_ends_in_one_sentence():
    # So many standard deviations of noise are more than float32 holds once they are squared.
    diverging = experiment(
        model={"kind": "autoencoder", "hidden": [2]},
        train={"epochs": 1, "input_noise": 1e30},
        detection={"validation_fraction": 0.0},
    )
    with pytest.raises(InputError) as error:
        run_experiment(diverging)
    assert str(error.value).startswith(
        "rings: the loss or its gradient was not finite in epoch 1, step 1, for every row"
    )
    assert "\n" not in str(error.value)


def test_columns_are_found_by_name():
    detector = GaussianDetector(threshold=Percentile())
    detector.columns_ = ("b", "a")
    x = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(rows_for(detector, Frame(x, ("a", "b", "c")), "mine").x, [[2.0, 1.0]])
    with pytest.raises(InputError) as error:
        rows_for(detector, Frame(x, ("a", "c", "d")), "mine")
    sentence = "mine: 1 of the 2 columns that the detector needs are missing, the first is b; the data has 3 columns"
    assert str(error.value) == sentence


def test_the_data_set_decides_the_split_as_everywhere():
    dataset = load_dataset(experiment().data, seed=0)
    rows = experiment_rows(experiment(split={"protocol": "unsupervised"}))
    np.testing.assert_array_equal(rows.x_train.x, dataset.x)
    np.testing.assert_array_equal(rows.x_test.x, dataset.x)
    np.testing.assert_array_equal(rows.y_test, dataset.y)
