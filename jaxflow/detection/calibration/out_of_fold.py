"""Calibration without rows set aside: each row is scored by a model that has not seen it (cross-conformal)."""

from copy import copy
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from jaxflow.data.columns.categories import UNSEEN
from jaxflow.data.columns.discrete_maps import Categorical
from jaxflow.detection.numbered_rows import NumberedRows
from jaxflow.detection.scoring.table_encoder import Inputs
from jaxflow.errors import InputError, NonFiniteLoss, counted
from jaxflow.training.ways.epochs import Fitting
from jaxflow.whole_numbers import whole_number

FOLDS = 5
ENOUGH_ROWS = 100  # held out, they know a rate of 1 %


class Fold(NamedTuple):
    """Row numbers, ascending: those that a model learns from, and those that it scores."""

    learn: Int64[np.ndarray, "n_learn"]
    score: Int64[np.ndarray, "n_score"]


def fold_count(n: int, calibration_fraction: float, calibration_folds: Any) -> int:
    """The number of folds for n rows; 0 where none are made, and rows held out or learned from calibrate.

    None for `calibration_folds` means 5 (of fewer rows, one for each) where the held-out part would have fewer than 100
    rows, and otherwise 0.
    """
    if calibration_folds is not None:
        return whole_number("calibration_folds", calibration_folds)
    if not calibration_fraction or round(calibration_fraction * n) >= ENOUGH_ROWS:
        return 0
    return min(FOLDS, n)


def divide_folds(n: int, folds: int, rng: np.random.Generator) -> list[Fold]:
    """Divide n rows at random so that each is scored in one fold.

    All folds learn from equally many rows, n - ceil(n / folds), and so share compiled programs: where a fold scores one
    row fewer than others, one that it could learn from is left out.

    Args:
        n: number of rows.
        folds: how many, from 2 to n.
        rng: where the choice comes from.
    """
    order = rng.permutation(n)
    parts = np.array_split(order, folds)
    learned = n - len(parts[0])
    return [
        Fold(np.sort(np.setdiff1d(order, part)[rng.permutation(n - len(part))[:learned]]), np.sort(part))
        for part in parts
    ]


def out_of_fold_scores(
    detector: Any, rows: NumberedRows, folds: int, rng: np.random.Generator
) -> Fitting[tuple[Float[np.ndarray, "n"], NonFiniteLoss | None]]:
    """The score of each row by a detector like this one that learned from rows of other folds.

    Args:
        detector: whose inputs were fitted to all rows. It is left as it is; its copies show no progress, keep no
            checkpoints and are not watched.
        rows: the rows.
        folds: how many there are.
        rng: where the choice comes from.

    Returns:
        The scores, and the first error that ended a fit early, if one did.

    Raises:
        InputError: if the rows of a fold cannot be fitted; it says how many there are.
    """
    scores, stopped = np.empty(len(rows)), None
    marked = _lone_as_never_seen(detector.inputs_, rows.codes)
    for fold in divide_folds(len(rows), folds, rng):
        quiet = copy(detector)
        vars(quiet).update({"progress": False, "checkpoints": None, "callbacks": ()})
        quiet.inputs_ = detector.inputs_.refitted(rows.codes, fold.learn)
        try:
            stopped = (yield from quiet._learn(rows[fold.learn], rng, reserve=rows.codes)) or stopped
        except InputError as error:
            left = f"{counted(len(rows) - len(fold.learn), 'row')} left out to calibrate, {len(fold.learn)} remain"
            raise InputError(f"{left}: {error}; with calibration_folds = 0 there are no folds") from None
        scores[fold.score] = quiet.scores_of_rows(marked[fold.score])
    return scores, stopped


def _lone_as_never_seen(inputs: Inputs, codes: Float[np.ndarray, "n columns"]) -> Float[np.ndarray, "n columns"]:
    """Codes of rows in which a category that only one of them has was never seen.

    The encoding knows the categories of all rows. A row to come may have one that none of them has, and then counts as
    never seen, about as often as a row here has one of its own (Good 1953, "The population frequencies of species").
    """
    marked = codes.copy()
    for index, column in enumerate(inputs.encoding.maps):
        if isinstance(column, Categorical):
            _, inverse, counts = np.unique(codes[:, index], return_inverse=True, return_counts=True)
            marked[(counts == 1)[inverse] & ~np.isnan(codes[:, index]), index] = UNSEEN
    return marked
