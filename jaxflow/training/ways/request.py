"""A fit as it is asked for, and its result."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from jaxflow.config.compiled_programs import make_room_for_programs
from jaxflow.errors import InputError, shown
from jaxflow.models.model import Model
from jaxflow.training.engine.batch import Batch, as_batch
from jaxflow.training.engine.plan import Loss
from jaxflow.training.feeding.sources import Source
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.monitoring.callbacks import Callback, Callbacks
from jaxflow.training.monitoring.checkpoints import Checkpoints, CheckpointWriter, fit_identity
from jaxflow.training.monitoring.history import History
from jaxflow.training.monitoring.progress import FitProgress


class FitResult(NamedTuple):
    """Result of `fit`.

    >>> result = fit(Gaussian(1), jnp.array([[1.0], [3.0]]), key=jax.random.key(0))
    >>> type(result).__name__, result.model.mean[...]
    ('FitResult', Array([2.], dtype=float32))

    Attributes:
        model: a new model with the best parameters; the one given to `fit` is left as it was.
        history: one row an epoch; of an ensemble, means over the members that have not stopped, and in
            `history.members` that of each member.
    """

    model: Any
    history: History


class FitRequest(NamedTuple):
    """The arguments of `fit`, which describes them."""

    model: Any
    train: Any
    valid: Any
    spec: FitSpec | None
    key: PRNGKeyArray
    progress: bool = False
    mesh: Mesh | None = None
    checkpoints: Checkpoints | None = None
    callbacks: Sequence[Callback] = ()
    optimizer: optax.GradientTransformation | None = None
    loss: Loss | None = None

    def begun(self, members: int = 0) -> tuple[Any, Batch | Source, Batch | None]:
        """Return a copy of the model, which the fit may change, and the rows, checked and on the device.

        Programs of other shapes are let go of where they are many, as those of these rows are about to be compiled.

        Args:
            members: number of the model's members, for each of which there may be rows; 0 if there are none.

        Raises:
            InputError: if the rows are none, or not as the model wants them.
        """
        for name, value in (("train", self.train), ("valid", self.valid)):
            if isinstance(value, FitSpec):
                raise InputError(f"{name} is a FitSpec, expected rows: fit(model, train, valid, spec, key=key)")
        if isinstance(self.valid, Source):
            raise InputError("valid is a source, expected rows in memory")
        expected = {"dim": self.model.dim, "context_dim": self.model.context_dim, "members": members}
        train = None if isinstance(self.train, Source) else as_batch(self.train, "train", **expected)
        valid = None if self.valid is None else as_batch(self.valid, "valid", **expected)
        shapes = [None if rows is None else jax.tree.map(np.shape, rows) for rows in (train, valid)]
        make_room_for_programs(nnx.graphdef(self.model), str(shapes), repr(self.spec))
        return nnx.clone(self.model), self.train if train is None else train, valid

    def begun_in_memory(self, refusal: str, members: int = 0) -> tuple[Any, Batch, Batch | None]:
        """Return what `begun` does, of rows in memory.

        Raises:
            InputError: saying `refusal`, if they come from a source; or as `begun`.
        """
        if isinstance(self.train, Source):
            raise InputError(refusal)
        model, train, valid = self.begun(members)
        assert isinstance(train, Batch)
        return model, train, valid

    def refuse_own(self) -> None:
        """Refuse an optimiser and a loss of the caller's own, where nothing could be done with them."""
        self.require_usable()
        for name, value in (("optimizer", self.optimizer), ("loss", self.loss)):
            if value is not None:
                kind = type(self.model).__name__
                raise InputError(f"{kind} takes no {name}: it is for models fitted alone, by gradient steps")

    def require_usable(self) -> None:
        """Check that an optimiser and a loss of the caller's own are such."""
        if not isinstance(self.optimizer, optax.GradientTransformation | None):
            raise InputError(
                f"optimizer = {shown(self.optimizer)}: expected a gradient transformation of optax, as optax.adam(1e-3)"
            )
        if self.loss is not None and not callable(self.loss):
            raise InputError(f"loss = {shown(self.loss)}: expected a function of model, batch and rngs")

    def all_callbacks(self, epochs: int) -> Callbacks:
        """Return the callbacks of a fit of at most so many epochs, its progress bar among them."""
        return Callbacks([*([FitProgress(epochs)] if self.progress else []), *self.callbacks])

    def checkpoint_writer(self, spec: FitSpec, model: Model, rows: Any, valid: Batch | None) -> CheckpointWriter | None:
        """Return what saves the state of the fit, if anything is to.

        Args:
            spec: of the fit, with its defaults.
            model: what is fitted.
            rows: what tells its rows from others.
            valid: the held-out rows.
        """
        if self.checkpoints is None:
            return None
        return CheckpointWriter(self.checkpoints, fit_identity(spec, model, rows, valid, self.key))
