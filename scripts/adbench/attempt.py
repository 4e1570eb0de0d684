"""One fit of one detector on one division of a data set of ADBench."""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.detectors import DETECTORS
from adbench.splits import Protocol, benchmark_split
from jaxflow.data import Dataset
from jaxflow.data.splits import hold_out
from jaxflow.detection import ContaminationWarning, Detector, DoubtfulFit, TargetFalsePositiveRate, fit_alike
from jaxflow.errors import InputError
from jaxflow.evaluation.metrics import score_ranks

CALIBRATION_FRACTION, RATE = 0.2, 0.01


class Result(NamedTuple):
    """A line of `results.csv`.

    `f1` is that of flagging as many rows as there are anomalies. The figures that end in `_new` leave out test rows
    that equal a training row, the share `copied` of the normal ones. `false_positive_rate` and `recall` are those at
    the threshold for 1 %. What was not measured is empty; `error` says why.
    """

    dataset: str
    detector: str
    protocol: str
    contamination: float
    seed: int
    n_train: int | None = None
    n_test: int | None = None
    n_anomalies: int | None = None
    copied: float | None = None
    roc_auc: float | None = None
    pr_auc: float | None = None
    f1: float | None = None
    roc_auc_new: float | None = None
    pr_auc_new: float | None = None
    false_positive_rate: float | None = None
    recall: float | None = None
    fit_seconds: float | None = None
    score_seconds: float | None = None
    error: str = ""

    @property
    def cell(self) -> tuple[str, str, str, float, int]:
        """Return the cell of the study that this is the result of."""
        return self.dataset, self.detector, self.protocol, self.contamination, self.seed


def measure(runs: Sequence[tuple[Dataset, str, str, Any, float, int]]) -> list[Result]:
    """Measure detectors on divisions of data sets, those of jaxflow fitted together; an error is part of a result.

    Of fits made together each is said to have taken an equal share of the time.
    """
    attempts = [Attempt(*run) for run in runs]
    started = time.perf_counter()
    with warnings.catch_warnings():
        for known in (ContaminationWarning, DoubtfulFit):
            warnings.simplefilter("ignore", known)
        ours, detectors = [], []
        for attempt in attempts:
            if attempt.result.error:
                continue
            if isinstance(attempt.competitor, Detector):
                ours.append(attempt)
                detectors.append(attempt.competitor)
            else:
                attempt.fit()
        errors = fit_alike(detectors, [attempt.rows for attempt in ours], return_errors=True)
        for attempt, error in zip(ours, errors, strict=True):
            attempt.note(error)
    seconds = (time.perf_counter() - started) / len(attempts)
    for attempt in attempts:
        attempt.score(seconds)
    return [attempt.result for attempt in attempts]


class Attempt:
    """One detector with one division of a data set.

    Attributes:
        result: what is known so far; with an error, nothing more is tried.
    """

    def __init__(self, dataset: Dataset, name: str, detector: str, protocol: Protocol, contamination: float, seed: int):
        self.result = Result(name, detector, protocol, contamination, seed)
        with self._noting():
            self.split = benchmark_split(dataset, protocol, seed, contamination)
            self.learn, self.held = np.arange(len(self.split.x_train)), None
            if protocol != "dte":
                rng = np.random.default_rng((seed, 2))
                self.learn, self.held = hold_out(len(self.learn), CALIBRATION_FRACTION, rng)
            self.competitor = DETECTORS[detector].make(seed)

    @property
    def rows(self) -> Float[np.ndarray, "n features"]:
        """The rows to learn from."""
        return self.split.x_train[self.learn]

    def fit(self) -> None:
        """Learn."""
        with self._noting():
            self.competitor.fit(self.rows)

    def score(self, fit_seconds: float) -> None:
        """Score the test rows, and those that were held out for a threshold."""
        if self.result.error:
            return
        with self._noting():
            started = time.perf_counter()
            scores = self.competitor.anomaly_score(self.split.x_test)
            scored = time.perf_counter()
            if np.isnan(scores).any():
                raise InputError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are not numbers")
            y, normal, new = self.split.y_test, self.split.y_test == 0, ~self.split.copied
            found: dict[str, Any] = {
                "n_train": len(self.learn),
                "n_test": len(y),
                "n_anomalies": int(y.sum()),
                "copied": float(self.split.copied[normal].mean()),
                "fit_seconds": fit_seconds,
                "score_seconds": scored - started,
                "f1": oracle_f1(y, scores),
                **areas(y, scores),
                **areas(y[new], scores[new], "_new"),
            }
            if self.held is not None:
                rule = TargetFalsePositiveRate(rate=RATE, beyond="tail")
                known = self.competitor.anomaly_score(self.split.x_train[self.held])
                flagged = scores > rule.derive(known).value
                found |= {
                    "false_positive_rate": float(flagged[normal].mean()),
                    "recall": float(flagged[~normal].mean()),
                }
            self.result = self.result._replace(**found)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the libraries compared raise whatever they like
            self.note(error)

    def note(self, error: Exception | None) -> None:
        """Put an error into the result, if there is one."""
        if error is not None:
            said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            self.result = self.result._replace(error=said)


def oracle_f1(y: np.ndarray, scores: np.ndarray) -> float:
    """The F1 of flagging as many rows as there are anomalies, in expectation over the order of equal scores."""
    count = int(y.sum())
    ranks = score_ranks(scores)
    last = np.sort(ranks)[-count]
    above, level = ranks > last, ranks == last
    return float((y[above].sum() + (count - above.sum()) * y[level].mean()) / count)


def areas(y: np.ndarray, scores: np.ndarray, suffix: str = "") -> dict[str, float | None]:
    """The areas under both curves, named as in `Result`; None where there are not both kinds of rows."""
    if not 0 < y.sum() < len(y):
        return {f"roc_auc{suffix}": None, f"pr_auc{suffix}": None}
    ranks = score_ranks(scores)
    return {
        f"roc_auc{suffix}": float(roc_auc_score(y, ranks)),
        f"pr_auc{suffix}": float(average_precision_score(y, ranks)),
    }
