"""An experiment carried out: data, fit, calibration, scores, metrics."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxflow.config.experiment import Experiment
from jaxflow.data import Split, load_dataset, split_dataset
from jaxflow.detection import BestF1, Detector
from jaxflow.errors import InputError
from jaxflow.evaluation.metrics import Metrics, evaluate_scores

LABELLED_FRACTION = 0.2  # share of the anomalies that best_f1 may see, unless the config says otherwise


@dataclass(frozen=True)
class Run:
    """What a detector did on a test set.

    Attributes:
        detector: the fitted detector.
        x: the test rows.
        y: their labels; None for data without labels.
        scores: their anomaly scores.
        metrics: what scores and threshold achieve; None without labels.
        fit_seconds, score_seconds: wall time, compilation included.
        n_train: rows given to `fit`, calibration and validation included.
    """

    detector: Detector
    x: Float[np.ndarray, "n dim"]
    y: Int[np.ndarray, "n"] | None
    scores: Float[np.ndarray, "n"]
    metrics: Metrics | None
    fit_seconds: float
    score_seconds: float
    n_train: int


def run_experiment(experiment: Experiment, *, progress: bool = False) -> Run:
    """Load the data, fit and calibrate the detector, score the test rows.

    Raises:
        InputError: if the data is missing or does not suit the experiment.
    """
    split = experiment_split(experiment)
    x_train, y_train, x_test, y_test = _with_labelled_anomalies(experiment, split)
    detector = experiment.detector(progress=progress)
    started = time.perf_counter()
    detector.fit(x_train, y_train)
    fit_seconds = time.perf_counter() - started
    detector.columns_ = split.feature_names
    return score_run(detector, x_test, y_test, fit_seconds=fit_seconds, n_train=len(x_train))


def score_run(
    detector: Detector,
    x: Float[np.ndarray, "n dim"],
    y: Int[np.ndarray, "n"] | None,
    *,
    fit_seconds: float = 0.0,
    n_train: int,
) -> Run:
    """Score rows with a fitted detector and compare with their labels, if there are any."""
    started = time.perf_counter()
    scores = detector.anomaly_score(x)
    score_seconds = time.perf_counter() - started
    metrics = None if y is None else evaluate_scores(y, scores, detector.threshold_, n_train=n_train)
    return Run(detector, x, y, scores, metrics, fit_seconds, score_seconds, n_train)


def rows_for(
    detector: Detector, x: Float[np.ndarray, "n columns"], names: Sequence[str], source: str
) -> Float[np.ndarray, "n dim"]:
    """The detector's columns of a table, found by name.

    Raises:
        InputError: if the table lacks one of them.
    """
    missing = [column for column in detector.columns_ if column not in names]
    if missing:
        raise InputError(
            f"{source}: {len(missing)} of the {len(detector.columns_)} columns that the detector needs are missing, "
            f"the first is {missing[0]}; the data has {len(names)} columns"
        )
    return x[:, [list(names).index(column) for column in detector.columns_]]


def experiment_split(experiment: Experiment) -> Split:
    """The training and test rows of an experiment; the same for every model."""
    dataset = load_dataset(experiment.data, seed=experiment.seed)
    return split_dataset(dataset, experiment.split, seed=experiment.seed)


def _with_labelled_anomalies(experiment: Experiment, split: Split):
    """Move a share of the test anomalies to the training side, labelled, where the threshold rule needs some."""
    if not isinstance(experiment.detection.threshold, BestF1):
        return split.x_train, None, split.x_test, split.y_test
    if split.y_test is None or experiment.split.protocol != "normal_only":
        raise InputError(
            "best_f1 needs labelled data and the protocol normal_only, which keeps some labels for the test"
        )
    anomalies = np.flatnonzero(split.y_test == 1)
    fraction = experiment.detection.labelled_fraction or LABELLED_FRACTION
    count = round(fraction * len(anomalies))
    if not 0 < count < len(anomalies):
        raise InputError(
            f"best_f1 cannot set aside {fraction:g} of {len(anomalies)} anomalies: none would be on one side"
        )
    chosen = np.random.default_rng(experiment.seed).permutation(anomalies)[:count]
    kept = np.setdiff1d(np.arange(len(split.y_test)), chosen)
    x_train = np.concatenate([split.x_train, split.x_test[chosen]])
    y_train = np.concatenate([np.zeros(len(split.x_train), int), np.ones(count, int)])
    return x_train, y_train, split.x_test[kept], split.y_test[kept]
