"""The divisions of labelled data sets by which detectors are compared."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64

from jaxflow.data.dataset import Dataset
from jaxflow.errors import InputError, counted

Protocol: TypeAlias = Literal["dte", "random", "contaminated"]
MOST_ROWS = 50_000  # of a data set that take part
FEWEST_ROWS = 1_000  # under the protocol "dte": smaller sets are drawn up to that


@dataclass(frozen=True, eq=False)
class BenchmarkSplit:
    """Rows to learn from, and rows to score with their labels.

    Attributes:
        x_train: taken as normal, whatever they are.
        x_test: the rows to score.
        y_test: 0 = normal, 1 = anomaly.
        copied: whether a test row equals a training row in every column.
        contamination: the share of anomalies among the training rows.
    """

    x_train: Float64[np.ndarray, "n_train dim"]
    x_test: Float64[np.ndarray, "n_test dim"]
    y_test: Int64[np.ndarray, "n_test"]
    copied: Bool[np.ndarray, "n_test"]
    contamination: float = 0.0


def benchmark_split(dataset: Dataset, protocol: Protocol, seed: int, contamination: float = 0.0) -> BenchmarkSplit:
    """Divide a labelled data set as a protocol says.

    dte: as in the published tables of Livernoche et al. 2024 (section 5 and their code), for comparison with them. Of a
    set of fewer than 1,000 rows 1,000 are drawn with replacement before it is divided, so that many test rows are
    copies of training rows; of one of more than 50,000 rows 50,000 are drawn. Training rows are the first half of the
    normal rows in the order of the file, which in sorted files differ from the second half.

    random: half of the normal rows, drawn at random, are the training rows; nothing is drawn twice. Of more than 50,000
    rows 50,000 are drawn first.

    contaminated: as random, but `contamination` of the training rows are anomalies that nobody knows of, in the place
    of as many normal ones. Half of all anomalies, always the same ones, are kept out of the test for that, so that all
    rates have one test set and one number of training rows.

    Args:
        dataset: the rows and their labels.
        protocol: the name.
        seed: the same seed gives the same split; under "dte" rows are drawn by the calls of the published code, whose
            cells agree to 0.05 points on sets of 1,000 to 50,000 rows, where nothing is drawn.
        contamination: wanted share of anomalies among the training rows, for "contaminated" only.

    Raises:
        InputError: when there are no labels, fewer than two normal rows or no anomaly, or fewer anomalies to mix in
            than are wanted.
    """
    if dataset.y is None:
        raise InputError(f"{dataset.name} has no labels, expected some to divide it by")
    if contamination and protocol != "contaminated":
        raise InputError(f"contamination = {contamination:g}: expected 0 for protocol {protocol}")
    if not 0 <= contamination <= 0.5:
        raise InputError(f"contamination = {contamination:g}: expected a share from 0 to 0.5")
    drawn = _drawn_for_dte(len(dataset.x), seed) if protocol == "dte" else _drawn(len(dataset.x), seed)
    labels = dataset.y[drawn]
    normal, anomalies = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    if len(normal) < 2 or not len(anomalies):
        raise InputError(
            f"{dataset.name}: {counted(len(normal), 'normal row')} and {len(anomalies)} anomalies, expected two and "
            "one at least"
        )
    if protocol != "dte":
        # The generator that drew the rows is not used up by data sets that are taken as they are.
        rng = np.random.default_rng((seed, 1))
        normal, anomalies = rng.permutation(normal), rng.permutation(anomalies)
    half = min(max(round(0.5 * len(normal)), 1), len(normal) - 1)
    train, test = normal[:half], np.concatenate([normal[half:], anomalies])
    if protocol == "contaminated":
        spare, known = anomalies[: len(anomalies) // 2], anomalies[len(anomalies) // 2 :]
        wanted = round(contamination * half)
        if wanted > len(spare):
            raise InputError(
                f"{dataset.name}: {wanted} anomalies among the training rows make a share of {contamination:g}, but "
                f"only {len(spare)} of {len(anomalies)} can be spared"
            )
        train, test = np.concatenate([train[: half - wanted], spare[:wanted]]), np.concatenate([normal[half:], known])
    x_train, x_test = dataset.x[drawn[train]], dataset.x[drawn[test]]
    return BenchmarkSplit(x_train, x_test, labels[test], copies(x_test, x_train), float(np.mean(labels[train])))


def copies(x: Float64[np.ndarray, "n dim"], among: Float64[np.ndarray, "m dim"]) -> Bool[np.ndarray, "n"]:
    """Whether each row equals some row of `among` in every column."""
    known = {row.tobytes() for row in among + 0.0}  # no row has a negative zero after that
    return np.array([row.tobytes() in known for row in x + 0.0], bool)


def _drawn(n: int, seed: int) -> Int64[np.ndarray, "_"]:
    """The numbers of the rows that take part."""
    if n <= MOST_ROWS:
        return np.arange(n, dtype=np.int64)
    return np.random.default_rng((seed, 0)).choice(n, MOST_ROWS, replace=False).astype(np.int64)


def _drawn_for_dte(n: int, seed: int) -> Int64[np.ndarray, "_"]:
    """Draw with numpy's former generator, as for the published tables."""
    if n < FEWEST_ROWS:
        return np.random.RandomState(seed).choice(n, FEWEST_ROWS, replace=True).astype(np.int64)
    if n > MOST_ROWS:
        return np.random.RandomState(seed).choice(n, MOST_ROWS, replace=False).astype(np.int64)
    return np.arange(n, dtype=np.int64)
