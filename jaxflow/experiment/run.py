"""An experiment carried out: data, fit, calibration, scores, metrics."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxflow.data import DataSpec, Frame, Split, load_dataset, split_dataset
from jaxflow.data.tables.read_table import table_columns
from jaxflow.detection import ContaminationWarning, Detector
from jaxflow.errors import InputError, NonFiniteLoss, counted
from jaxflow.evaluation.metrics import Metrics, evaluate_scores
from jaxflow.experiment.spec import Experiment
from jaxflow.experiment.streamed import streamed_rows
from jaxflow.old_names import with_old_keywords
from jaxflow.training import Callback, Checkpoints

LABELLED_FRACTION = 0.2  # of the anomalies, for a rule that needs labels, unless the config says otherwise


@dataclass(frozen=True)
class Run:
    """Results of a detector on a test set.

    Attributes:
        detector: the fitted detector.
        x: the test rows as the detector's codes, see `Detector.codes`.
        y: their labels; None for data without labels.
        scores: their anomaly scores.
        metrics: what scores and threshold achieve; None without labels.
        fit_seconds: wall time of the fit, compilation included; None if the detector was fitted before.
        score_seconds: wall time of scoring, compilation included.
        n_train: rows given to `fit`, those that calibrate and validate included.
        numbers: the number of each test row in the user's data, from 1; None where they are numbered as they come.
        contamination: the warning that the rows given to `fit` do not look clean; None without one.
    """

    detector: Detector
    x: Float[np.ndarray, "n dim"]
    y: Int[np.ndarray, "n"] | None
    scores: Float[np.ndarray, "n"]
    metrics: Metrics | None
    fit_seconds: float | None
    score_seconds: float
    n_train: int
    numbers: Int[np.ndarray, "n"] | None = None
    contamination: ContaminationWarning | None = None

    @property
    def n_flagged(self) -> int:
        """Number of test rows whose score is above the threshold."""
        return int(np.sum(self.scores > self.detector.threshold_))


class ExperimentRows(NamedTuple):
    """The rows of an experiment, from `experiment_rows`.

    Attributes:
        name: the data set's name.
        x_train: rows to fit, a `Frame`; a `Source` where the data is streamed.
        y_train: their labels, where the threshold rule needs them; otherwise None, and all count as normal.
        x_test: rows to score.
        y_test: 0 = normal, 1 = anomaly for each of them; None when the data set has no labels.
        feature_names: the columns.
        train_rows: the numbers, in the data set and from 0, of the training rows that are taken as normal, which come
            first; None for a source.
        test_rows: likewise of the rows to score.
    """

    name: str
    x_train: Any
    y_train: Int[np.ndarray, "n_train"] | None
    x_test: Frame
    y_test: Int[np.ndarray, "n_test"] | None
    feature_names: tuple[str, ...]
    train_rows: Int[np.ndarray, "n_normal"] | None
    test_rows: Int[np.ndarray, "n_test"] | None


class StoppedRun(InputError):
    """A fit ended at a loss that was not finite, and its best parameters were judged.

    Attributes:
        run: what they achieve.
    """

    def __init__(self, message: str, run: Run):
        super().__init__(message)
        self.run = run


@with_old_keywords(watchers="callbacks")
def run_experiment(
    experiment: Experiment,
    *,
    progress: bool = False,
    devices: int = 1,
    checkpoints: Checkpoints | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Load the data, fit and calibrate the detector, score the test rows.

    Args:
        experiment: what to do.
        progress: show a progress bar on standard error.
        devices: number of devices to fit on; -1 for all.
        checkpoints: where the state of the fit is saved now and then.
        callbacks: are told of every epoch while the fit lasts.

    Raises:
        InputError: if the data is missing or does not suit the experiment, there are not as many devices, the
            checkpoints are of another fit, or the fit diverges; in particular a `StoppedRun` if there are parameters
            to keep.
        Preempted: if SIGTERM came while fitting with checkpoints, once the state is saved.
    """
    how = {"progress": progress, "devices": devices, "checkpoints": checkpoints, "callbacks": callbacks}
    detector = experiment.detector(**how)
    rows = experiment_rows(experiment)
    started, stopped = time.perf_counter(), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ContaminationWarning)  # given below, with the data set's own row numbers
            detector.fit(rows.x_train, rows.y_train)
    except NonFiniteLoss as error:
        if rows.train_rows is not None:
            error = error.renamed(rows.train_rows[list(error.rows)] + 1, f"{rows.name}, counted from 1")
        stopped = f"{rows.name}: {error}"
        if error.result is None:
            raise InputError(stopped) from error
    except FloatingPointError as error:
        # Of all that can go wrong in a computation, this is in the hands of whoever chose the hyperparameters.
        raise InputError(f"{rows.name}: {error}") from error
    fit_seconds = time.perf_counter() - started
    numbers = None if rows.test_rows is None else rows.test_rows + 1
    times = {"fit_seconds": fit_seconds, "n_train": detector.n_train_}
    run = score_run(detector, rows.x_test, rows.y_test, **times, numbers=numbers)
    contamination = detector.contamination_
    if contamination is not None:
        if rows.train_rows is not None:
            numbers = rows.train_rows[list(contamination.rows)] + 1
            contamination = contamination.renamed(numbers, f"{rows.name}, counted from 1")
        warnings.warn(contamination, stacklevel=2)
        run = replace(run, contamination=contamination)
    if stopped is not None:
        raise StoppedRun(stopped, run)
    return run


def score_run(
    detector: Detector,
    x: Any,
    y: Int[np.ndarray, "n"] | None = None,
    *,
    fit_seconds: float | None = None,
    n_train: int,
    numbers: Int[np.ndarray, "n"] | None = None,
) -> Run:
    """Score rows with a fitted detector and compare with their labels, if there are any.

    Args:
        detector: the fitted detector.
        x: rows, as `Detector.anomaly_score` takes them.
        y: their labels, 0 = normal and 1 = anomaly.
        fit_seconds: how long the fit took, if it was part of this run.
        n_train: number of rows the detector was fitted on.
        numbers: the number of each row in the user's data, from 1; by default they are numbered as they come.
    """
    started = time.perf_counter()
    codes = detector.codes(x)
    scores = detector.scores_of_rows(codes)
    score_seconds = time.perf_counter() - started
    metrics = None if y is None else evaluate_scores(y, scores, detector.threshold_, n_train=n_train)
    return Run(detector, codes, y, scores, metrics, fit_seconds, score_seconds, n_train, numbers)


def rows_for(detector: Detector, frame: Frame, source: str) -> Frame:
    """The detector's columns of a table, found by name.

    Raises:
        InputError: if the table lacks one of them.
    """
    known = set(frame.names)
    missing = [column for column in detector.columns_ if column not in known]
    if missing:
        raise InputError(
            f"{source}: {len(missing)} of the {len(detector.columns_)} columns that the detector needs are missing, "
            f"the first is {missing[0]}; the data has {counted(len(frame.names), 'column')}"
        )
    return frame.pick(detector.columns_)


def data_for(detector: Detector, data: DataSpec) -> DataSpec:
    """Return `data` without the columns of its file that the detector does not look at, which may hold anything.

    Raises:
        InputError: if the file is missing, of another format or damaged.
    """
    if data.path is None or data.features is not None or data.stream:
        return data
    present = set(table_columns(data.path, data.csv))
    known = tuple(name for name in detector.columns_ if name in present and name != data.label)
    # A file that has none of them is read as it is, for `rows_for` to say so.
    return data.model_copy(update={"features": known}) if known else data


def experiment_split(experiment: Experiment) -> Split:
    """The training and test rows of an experiment; the same for every model."""
    dataset = load_dataset(experiment.data, seed=experiment.seed, columns=experiment.columns)
    return split_dataset(dataset, experiment.split, seed=experiment.seed)


def experiment_rows(experiment: Experiment) -> ExperimentRows:
    """The rows an experiment fits and tests, and the labels that its threshold rule may see.

    They are those of `experiment_split`, except for rules that need labelled anomalies, as best_f1: a share of
    them, `labelled_fraction`, changes from the test to the training side.

    Raises:
        InputError: if the data is missing or does not suit the experiment.
    """
    if experiment.data.stream:
        source, x_test, source_rows = streamed_rows(experiment)
        test = Frame(x_test, source.columns)
        return ExperimentRows(str(experiment.data.path), source, None, test, None, source.columns, None, source_rows)
    split = experiment_split(experiment)
    rows = ExperimentRows(
        split.name,
        split.train,
        None,
        split.test,
        split.y_test,
        split.feature_names,
        split.train_rows,
        split.test_rows,
    )
    rule = experiment.detection.threshold
    if not rule.needs_labels:
        return rows
    if split.y_test is None:
        raise InputError(f"{split.name} has no labels, expected some, as the threshold rule {rule.kind} needs them")
    anomalies = np.flatnonzero(split.y_test == 1)
    fraction = experiment.detection.labelled_fraction or LABELLED_FRACTION
    count = round(fraction * len(anomalies))
    if not 0 < count < len(anomalies):
        raise InputError(
            f"{split.name}: labelled_fraction = {fraction:g} of {len(anomalies)} anomalies, expected one at least for "
            f"the threshold rule {rule.kind} and one for the test"
        )
    chosen = np.sort(np.random.default_rng(experiment.seed).permutation(anomalies)[:count])
    tested = np.setdiff1d(np.arange(len(split.y_test)), chosen)
    return rows._replace(
        x_train=replace(split.train, x=np.concatenate([split.x_train, split.x_test[chosen]])),
        y_train=np.repeat([0, 1], [len(split.x_train), count]),
        x_test=split.test[tested],
        y_test=split.y_test[tested],
        test_rows=split.test_rows[tested],
    )
