"""How detectors fit their models, and what they make of a fit that ends early."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxflow.data.splits import hold_out
from jaxflow.errors import NonFiniteLoss
from jaxflow.models.model import Model
from jaxflow.training.engine.batch import Batch
from jaxflow.training.fit import FitResult, fit
from jaxflow.training.fit_spec import FitSpec


def fit_keeping_best(
    fit_model: Callable[[], FitResult], number: Callable[[int], Any], source: str | None = None
) -> tuple[FitResult, NonFiniteLoss | None]:
    """The result of a fit, and the error that ended it early if there are parameters to keep all the same.

    Args:
        fit_model: carries it out.
        number: what the caller's caller calls a row of the fit.
        source: what these rows are rows of; None for what the error says itself.

    Raises:
        NonFiniteLoss: if there is nothing to keep.
    """
    try:
        return fit_model(), None
    except NonFiniteLoss as error:
        renamed = error.renamed(number, source)
        if error.result is None:
            raise renamed from None
        return error.result, renamed


def fit_by_gradient(
    model: Model,
    rows: Float[np.ndarray, "n dim"],
    context: Float[np.ndarray, "n context_dim"] | None,
    spec: FitSpec | None,
    validation_fraction: float,
    rng: np.random.Generator,
    **how: Any,
) -> FitResult:
    """Fit with some rows held out to choose the epoch; with a fraction of 0 the training loss chooses it.

    `how` is what `fit` wants to know besides: progress, mesh, checkpoints, watchers.

    Raises:
        NonFiniteLoss: as `fit`; it speaks of `rows`.
    """
    valid, learn = None, np.arange(len(rows))

    def batch(numbers: np.ndarray) -> Batch:
        return Batch(jnp.asarray(rows[numbers]), None, None if context is None else jnp.asarray(context[numbers]))

    if validation_fraction:
        learn, held = hold_out(len(rows), validation_fraction, rng)
        valid = batch(held)
    key = jax.random.key(int(rng.integers(2**31)))
    try:
        return fit(model, batch(learn), valid, spec, key=key, **how)
    except NonFiniteLoss as error:
        raise error.renamed(learn.__getitem__) from None
