"""How detectors fit their models, and what they make of a fit that ends early."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int64

from jaxflow.data.splits import hold_out
from jaxflow.errors import NonFiniteLoss
from jaxflow.models.model import Model
from jaxflow.training.devices.mesh import mesh_for
from jaxflow.training.engine.batch import Batch
from jaxflow.training.fit import fitting
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.monitoring.callbacks import Callback
from jaxflow.training.monitoring.checkpoints import Checkpoints
from jaxflow.training.ways.epochs import Fitting
from jaxflow.training.ways.request import FitRequest, FitResult


@dataclass(frozen=True, eq=False)
class FitOptions:
    """How a model is fitted, shown and saved; to one that fits itself the defaults alone mean something.

    Attributes:
        spec: how gradient steps are taken; None for what `fit` takes.
        progress: whether a progress bar is shown on standard error.
        devices: number of devices to fit on; -1 for all.
        checkpoints: where the state of the fit is saved now and then.
        callbacks: are told of every epoch.
    """

    spec: FitSpec | None = None
    progress: bool = False
    devices: int = 1
    checkpoints: Checkpoints | None = None
    callbacks: Sequence[Callback] = ()

    def fit(self, model: Model, train: Any, valid: Batch | None, rng: np.random.Generator) -> Fitting[FitResult]:
        """Fit the model, with a key from `rng`.

        Raises:
            NonFiniteLoss: as `jaxflow.training.fit`; it speaks of the rows of `train`.
        """
        return fitting(
            FitRequest(
                model,
                train,
                valid,
                self.spec,
                key=jax.random.key(int(rng.integers(2**31))),
                progress=self.progress,
                mesh=mesh_for(model, self.devices),
                checkpoints=self.checkpoints,
                callbacks=self.callbacks,
            )
        )


class ModelRows(ABC):
    """Rows as a model takes them, of which errors know the numbers in the user's data."""

    @abstractmethod
    def fit(self, model: Model, options: FitOptions, rng: np.random.Generator) -> Fitting[FitResult]:
        """Fit the model to these rows.

        Raises:
            NonFiniteLoss: as `jaxflow.training.fit`; it speaks of rows of the user's data.
        """


@dataclass(frozen=True, eq=False)
class ModelRowsInMemory(ModelRows):
    """Rows in memory; some are held out to choose the best epoch, or with a fraction of 0 the training loss chooses it.

    Attributes:
        z: the features.
        context: the context features.
        numbers: the number of each row in the user's data.
        data: what the numbers are of, and where they begin.
        validation_fraction: share of the rows that is held out.
    """

    z: Float[np.ndarray, "n dim"]
    context: Float[np.ndarray, "n context_dim"] | None
    numbers: Int64[np.ndarray, "n"]
    data: str
    validation_fraction: float

    def fit(self, model, options, rng):
        """Fit the model to the rows that are not held out."""
        learn, valid = np.arange(len(self.z)), None
        if self.validation_fraction:
            learn, held = hold_out(len(self.z), self.validation_fraction, rng)
            valid = self._batch(held)
        try:
            return (yield from options.fit(model, self._batch(learn), valid, rng))
        except NonFiniteLoss as error:
            raise error.renamed(self.numbers[learn[list(error.rows)]], self.data) from None

    def _batch(self, places: Int64[np.ndarray, "m"]) -> Batch:
        context = None if self.context is None else jnp.asarray(self.context[places])
        return Batch(jnp.asarray(self.z[places]), None, context)


def fit_keeping_best(
    model: Model, rows: ModelRows, options: FitOptions, rng: np.random.Generator
) -> Fitting[tuple[FitResult, NonFiniteLoss | None]]:
    """The result of a fit, and the error that ended it early if there are parameters to keep all the same.

    Raises:
        NonFiniteLoss: if there is nothing to keep.
    """
    try:
        return (yield from rows.fit(model, options, rng)), None
    except NonFiniteLoss as error:
        if error.result is None:
            raise
        return error.result, error
