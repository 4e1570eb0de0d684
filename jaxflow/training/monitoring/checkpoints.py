"""The state of a fit on disk, so that a fit that was interrupted can go on as if it had not been.

Orbax writes in the background into a directory of a temporary name and renames it when it is whole: whatever happens to
the process, the last checkpoint that was finished can be read.
"""

import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import Field

from jaxflow.config.spec import Spec
from jaxflow.errors import InputError, Preempted
from jaxflow.training.devices import preemption
from jaxflow.training.devices.hosts import any_host
from jaxflow.training.monitoring.history import COLUMNS, MAY_LACK, WHOLE, History
from jaxflow.training.monitoring.kept_checkpoints import (
    discard,
    discard_unfinished,
    has_checkpoints,
    require_place_for_checkpoints,
)

__all__ = ["CheckpointWriter", "Checkpoints", "Restored", "discard", "fit_identity", "has_checkpoints"]

DIGESTS = frozenset({"model", "training data", "held-out data", "random key"})
LONGEST_REASON = 200  # characters
LONGEST_WAIT = 3.0  # seconds for threads that write to a checkpoint that has failed
COMPARED_ROWS = 4096  # rows of the training data that are compared when a fit goes on


class Checkpoints(Spec):
    """Where, how often and for how long the state of a fit is saved."""

    directory: Path = Field(description="directory of the checkpoints")
    seconds: float = Field(
        default=60.0,
        ge=0,
        le=1e9,
        description="least time between two checkpoints; they are written at the end of an epoch, or of a block "
        "of rows that come from files",
    )
    keep: int = Field(default=2, ge=1, le=1_000_000, description="number of checkpoints that are kept")
    resume: bool = Field(default=False, description="go on from the last checkpoint, if there is one")


class Restored(NamedTuple):
    """Content of a checkpoint.

    Attributes:
        state: the state of the fit.
        histories: one for each member, or one.
    """

    state: Any
    histories: list[History]


class CheckpointWriter:
    """Saves one fit, and finds what was saved of it before; a context, at whose end all has been written.

    Args:
        checkpoints: where and how often.
        identity: what makes the fit this one and no other, by name; values that JSON can hold.

    Raises:
        InputError: if the directory holds checkpoints and they are not to be resumed, or are of another fit; or it is
            a file, or holds what has a checkpoint's name and is none.
    """

    def __init__(self, checkpoints: Checkpoints, identity: dict[str, Any]):
        self.place = checkpoints.directory.absolute()
        self.checkpoints, self.identity = checkpoints, identity
        self.saved_at, self.saved_position, self.stopping = time.perf_counter(), -1, False
        self.failed = False  # to write
        require_place_for_checkpoints(checkpoints.directory)
        if not checkpoints.resume and has_checkpoints(self.place):
            raise InputError(
                f"{checkpoints.directory} holds checkpoints of an earlier fit: resume it, or remove the directory"
            )

    @cached_property
    def _orbax(self) -> Any:
        import orbax.checkpoint  # takes half a second, which a fit shorter than its first checkpoint need not wait

        return orbax.checkpoint

    @cached_property
    def _manager(self) -> Any:
        options = self._orbax.CheckpointManagerOptions(max_to_keep=self.checkpoints.keep)
        return self._orbax.CheckpointManager(self.place, options=options)

    def __enter__(self) -> "CheckpointWriter":
        """Begin."""
        logging.getLogger("absl").addFilter(_not_of_orbax)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait until all is written, and leave nothing that is not.

        Raises:
            InputError: if the last checkpoint could not be written, unless an error ends the fit already.
        """
        try:
            if "_manager" in self.__dict__:
                with self._in_one_sentence():
                    self._manager.close()
        except InputError:
            if error is None:
                raise
        finally:
            if self.failed:
                discard_unfinished(self.place, patience=LONGEST_WAIT)
            logging.getLogger("absl").removeFilter(_not_of_orbax)

    @contextmanager
    def _in_one_sentence(self) -> Iterator[None]:
        """Say what Orbax has to say of files as an `InputError`."""
        try:
            yield
        except Exception as error:  # whatever its many parts raise
            gone = not self.place.is_dir()
            self.failed = True
            why = "it was removed while the fit lasted" if gone else _reason(error)
            raise InputError(f"{self.checkpoints.directory}: a checkpoint cannot be written: {why}") from error

    def restore(self, state: Any, members: int = 1) -> Restored | None:
        """The last checkpoint; None if there is none.

        Args:
            state: a state of the same structure, such as the first; its arrays may be given up.
            members: number of histories.

        Raises:
            InputError: if the checkpoint is of another fit, or cannot be read.
        """
        position = self._manager.latest_step() if has_checkpoints(self.place) else None
        if position is None:
            return None
        where = f"checkpoint {self.checkpoints.directory / str(position)}"
        args = self._orbax.args
        try:
            about = self._manager.restore(position, args=args.Composite(fit=args.JsonRestore()))["fit"]
            _require_same(where, about["identity"], self.identity)
            histories = _histories(about["histories"], members)
            like = jax.tree.map(_description, _storable(state))
            arrays = self._manager.restore(position, args=args.Composite(state=args.StandardRestore(like)))
        except InputError:
            raise
        except Exception as error:  # Orbax raises whatever its many parts do.
            raise InputError(f"{where} cannot be read, remove it to go on from the one before: {error}") from error
        self.saved_position = position
        return Restored(_put_back(arrays["state"], state), histories)

    @property
    def due(self) -> bool:
        """Whether it is time to save: a while has passed, or the process has been asked to stop.

        Where several processes fit together, whether it is for any of them; all must ask at the same point.
        """
        waited = time.perf_counter() - self.saved_at >= self.checkpoints.seconds
        self.stopping, waited = any_host(preemption.asked_to_stop(), waited)
        return self.stopping or waited

    def save(self, position: int, state: Any, histories: list[History], when: str) -> None:
        """Save the state, when that is due; in the background, so its arrays may be given up at once.

        Args:
            position: epochs done, or parts of epochs; the checkpoint's name.
            state: the state of the fit.
            histories: up to the last epoch that is done.
            when: the same in words.

        Raises:
            Preempted: when it is written, if the process has been asked to stop.
            InputError: if this one, or the one before, cannot be written.
        """
        args = self._orbax.args
        if position != self.saved_position:
            # Copied, as the fit goes on and adds rows while these are written.
            rows = [list(history.rows) for history in histories]
            about = {"identity": self.identity, "histories": rows}
            arguments = {"state": args.StandardSave(_storable(state)), "fit": args.JsonSave(about)}
            with self._in_one_sentence():
                self.place.mkdir(parents=True, exist_ok=True)  # who removed it since may have had reasons
                self._manager.save(position, args=args.Composite(**arguments), force=True)
        self.saved_at, self.saved_position = time.perf_counter(), position
        if self.stopping:
            with self._in_one_sentence():
                self._manager.wait_until_finished()
            raise Preempted(f"stopped {when}, saved in {self.checkpoints.directory}")


def fit_identity(spec: Any, model: Any, train: Any, valid: Any, key: Any) -> dict[str, Any]:
    """Return what makes a fit this one and no other, in a form that JSON can hold.

    Args:
        spec: the `FitSpec`.
        model: the model as it was built, an `nnx.Module`.
        train: the training rows.
        valid: the held-out rows.
        key: the random key.
    """
    graph, variables = nnx.split(model)
    # The addresses of functions such as activations say nothing.
    structure = re.sub(r" at 0x[0-9a-f]+", "", repr(graph))
    built = f"{hashlib.sha256(structure.encode()).hexdigest()}{_digest(variables)}"
    arrays = {"training data": train, "held-out data": valid, "random key": key}
    return {**spec.model_dump(mode="json"), "model": built, **{name: _digest(tree) for name, tree in arrays.items()}}


def _digest(tree: Any) -> str:
    """A short text that tells pytrees apart: their structure, their shapes, and evenly spaced rows of their arrays."""
    leaves = jax.tree.leaves(tree)
    digest = hashlib.sha256(str([(leaf.shape, str(leaf.dtype)) for leaf in leaves]).encode())
    for leaf in leaves:
        values = _plain(leaf).reshape(-1, leaf.shape[-1]) if leaf.ndim > 1 else _plain(leaf).reshape(-1, 1)
        step = max(1, -(-len(values) // COMPARED_ROWS))
        digest.update(np.asarray(values[::step]).tobytes())
    return digest.hexdigest()


def _require_same(where: str, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in wanted:
        if saved.get(name) != wanted[name]:
            difference = "differs" if name in DIGESTS else f"was {saved.get(name)!r} and is {wanted[name]!r}"
            raise InputError(f"{where} is of another fit: {name} {difference}; remove the directory to begin anew")


def _histories(found: Any, members: int) -> list[History]:
    """The histories that a checkpoint holds.

    Raises:
        ValueError: if they are not one of each member, with a row for each epoch from the first on.
    """
    if not isinstance(found, list) or len(found) != members or not all(isinstance(rows, list) for rows in found):
        raise ValueError(f"its histories are {found!r:.80}, expected a list of rows for each of {members}")
    for rows in found:
        for epoch, row in enumerate(rows, start=1):
            if not isinstance(row, dict) or row.keys() != COLUMNS or row["epoch"] != epoch:
                raise ValueError(f"its histories have {row!r:.80} as row {epoch}, expected columns of that epoch")
            for name, value in row.items():
                kinds = (int,) if name in WHOLE else (int, float)
                if isinstance(value, bool) or not (isinstance(value, kinds) or (value is None and name in MAY_LACK)):
                    raise ValueError(f"its histories have {name} = {value!r:.80} in epoch {epoch}, expected a number")
    return [History(rows) for rows in found]


def _storable(state: Any) -> dict[str, jax.Array]:
    """The arrays of a pytree in the order of its leaves; copies, so that the originals may be given up.

    Orbax knows no arrays without elements, and there is nothing in them to keep.
    """
    leaves = enumerate(jax.tree.leaves(state))
    return {f"{index:05d}": jnp.copy(_plain(leaf)) for index, leaf in leaves if leaf.size}


def _put_back(arrays: dict[str, jax.Array], like: Any) -> Any:
    """The pytree whose arrays `_storable` took."""
    leaves, structure = jax.tree.flatten(like)
    for name, array in arrays.items():
        old = leaves[int(name)]
        leaves[int(name)] = jax.random.wrap_key_data(array, impl=jax.random.key_impl(old)) if _is_key(old) else array
    return jax.tree.unflatten(structure, leaves)


def _description(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _not_of_orbax(record: logging.LogRecord) -> bool:
    """Whether a record is none of Orbax's errors, which its threads report at length besides raising them."""
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


def _reason(error: Exception) -> str:
    """Why a file cannot be written, in the words of the operating system where they are in the message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    found = re.search(r"OS error \d+: ([^\]]*)", str(error))
    return found[1] if found else f"{error}"[:LONGEST_REASON]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    """A random key as the numbers it consists of; any other array as it is."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf
