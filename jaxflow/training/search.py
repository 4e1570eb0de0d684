"""Search for continuous hyperparameters, all trials in one program."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import ValidationError

from jaxflow.errors import InputError
from jaxflow.models import Density, FlowSpec
from jaxflow.training.fit_ensemble import fit_ensemble
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.monitoring.history import History
from jaxflow.whole_numbers import whole_number

SEARCHED = ("learning_rate", "weight_decay", "input_noise")


class Trial(NamedTuple):
    """One choice of hyperparameters.

    Attributes:
        values: of the hyperparameters, by name.
        valid_loss: the lowest mean negative log-density of the held-out rows, in nats; nan if it was never finite.
        history: of its fit.
    """

    values: dict[str, float]
    valid_loss: float
    history: History


class SearchResult(NamedTuple):
    """Result of `search`.

    Attributes:
        model: the flow of the best trial, with its best parameters.
        trials: all trials, the best first; those whose loss was never finite last.
    """

    model: Density
    trials: list[Trial]


def search(
    spec: FlowSpec,
    train: Any,
    valid: Any,
    ranges: Mapping[str, tuple[float, float]],
    *,
    key: PRNGKeyArray,
    trials: Any = 16,
    fit_spec: FitSpec | None = None,
    progress: bool = False,
) -> SearchResult:
    """Fit flows with different hyperparameters in one compiled program and rank them by held-out normal likelihood.

    The hyperparameters tried are spread evenly over the logarithms of the ranges by a scrambled Sobol sequence, which
    covers a few dimensions with fewer trials than a grid or independent draws (Bergstra and Bengio 2012, section 4).
    Anomalies play no part: `valid` holds normal rows, and the rank is their log-density alone. All trials begin
    from different seeds, so that a small difference between two of them may be chance.

    Args:
        spec: of the flow.
        train: rows (n, dim), or a `Batch`.
        valid: held-out rows of the same form.
        ranges: the lowest and highest value of each hyperparameter: "learning_rate", "weight_decay" or "input_noise".
        key: the random key; the same key gives the same result.
        trials: number of flows; powers of two are spread most evenly.
        fit_spec: of each fit; what `ranges` names is taken from there instead.
        progress: show a progress bar on standard error.

    Raises:
        InputError: if a name is unknown, a range is empty or not positive, there are no trials, or the data is not as
            `fit` wants it.
        FloatingPointError: if no trial had a finite loss.
    """
    trials = whole_number("trials", trials, least=1)
    _check(ranges)
    if valid is None:
        raise InputError("a search needs held-out rows to rank by, and valid is None")
    draw_key, fit_key = jax.random.split(key)
    points = _points(ranges, trials, draw_key)
    own: dict[str, Any] = {f"{name}s": tuple(points[:, index].tolist()) for index, name in enumerate(ranges)}
    fitted = fit_ensemble(spec, train, trials, fit_key, valid=valid, fit_spec=fit_spec, progress=progress, **own)

    histories = fitted.history.members
    losses = [_lowest(history) for history in histories]
    order = sorted(range(trials), key=lambda index: math.inf if math.isnan(losses[index]) else losses[index])
    ranked = [
        Trial(dict(zip(ranges, points[index].tolist(), strict=True)), losses[index], histories[index])
        for index in order
    ]
    return SearchResult(fitted.model.take(order[0]), ranked)


def _check(ranges: Mapping[str, tuple[float, float]]) -> None:
    if not ranges:
        raise InputError(f"ranges names no hyperparameter; known are {', '.join(SEARCHED)}")
    for name, (low, high) in ranges.items():
        if name not in SEARCHED:
            raise InputError(f"ranges names {name}, which cannot be searched; known are {', '.join(SEARCHED)}")
        if not 0 < low <= high < math.inf:
            raise InputError(f"the range of {name} must be two positive numbers in order, got {low} and {high}")
        try:
            FitSpec.model_validate({name: high})
        except ValidationError as error:
            raise InputError(f"the range of {name} reaches to {high:g}: {error.errors()[0]['msg']}") from error


def _points(
    ranges: Mapping[str, tuple[float, float]], trials: int, key: PRNGKeyArray
) -> Float[np.ndarray, "trials hyperparameters"]:
    seed: Array = jax.random.bits(key)
    from scipy.stats import qmc  # takes most of a second

    sobol = qmc.Sobol(len(ranges), rng=int(seed))
    # A whole power of two is drawn, which is what the sequence is even for.
    unit = sobol.random_base2(math.ceil(math.log2(trials)))[:trials]
    low, high = np.log(np.array(list(ranges.values()), float).T)
    return np.exp(low + unit * (high - low))


def _lowest(history: History) -> float:
    losses = np.array(history.column("valid_loss"), float)
    return float(np.nanmin(losses)) if np.isfinite(losses).any() else math.nan
