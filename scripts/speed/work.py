"""The work that `benchmark_speed.py` gives to every library, and jaxflow doing it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from jaxflow.models import MAF, NSF, AutoregressiveNSF
from jaxflow.training import Batch, FitSpec, fit
from jaxflow.training.engine.epoch import run_epoch, start

STEPS_PER_EPOCH = 100
FIT_EPOCHS = 10  # epochs of a whole fit
HELD_OUT_STEPS = 10  # batches that a whole fit holds out
FIRST_EPOCH_STEPS = 10  # length of the epoch by which jaxflow's first step is timed
LOG_PROB_ROWS = 10_000
SAMPLE_ROWS = 1_000
LEARNING_RATE = 1e-3
CLIP_NORM = 5.0


BINS = 8  # pieces of a spline
BOUND = 5.0  # splines act on [-BOUND, BOUND]: what zuko has built in

# What can be built; the names are those of jaxflow's specs.
FLOWS = {
    "maf": "An affine masked autoregressive flow",
    "nsf_autoregressive": f"A masked autoregressive flow of rational-quadratic splines ({BINS} bins)",
    "nsf": f"A coupling flow of rational-quadratic splines ({BINS} bins)",
}


@dataclass(frozen=True, eq=False)
class Work:
    """Work that every library is given: a flow, and rows.

    Attributes:
        flow: which one, a key of FLOWS.
        dim: number of features.
        hidden: widths of the hidden layers of each network, with ReLU between them.
        layers: number of transforming layers.
        batch: rows a training step.
        train_rows: rows to train on, STEPS_PER_EPOCH batches.
        new_rows: rows to score.
    """

    flow: str
    dim: int
    hidden: tuple[int, ...]
    layers: int
    batch: int
    train_rows: Float[np.ndarray, "n dim"]
    new_rows: Float[np.ndarray, "m dim"]

    @classmethod
    def random(
        cls, dim: int, hidden: tuple[int, ...], layers: int, batch: int, flow: str = "maf", *, seed: int
    ) -> "Work":
        """Work on standard normal rows, in float32: how long a step takes does not depend on their distribution."""
        rng = np.random.default_rng(seed)
        train_rows = rng.standard_normal((STEPS_PER_EPOCH * batch, dim), np.float32)
        new_rows = rng.standard_normal((LOG_PROB_ROWS, dim), np.float32)
        return cls(flow, dim, hidden, layers, batch, train_rows, new_rows)


class Library(ABC):
    """A library with its flow for some work. A task returns once its last result is there.

    Attributes:
        name: what the command line and the tables call it.
        packages: the distributions it needs; each has a module of the same name.
        fits: whether it has a training function.
        step_name: what the tables call its compiled step alone; None where a step is all there is.
        equal_widths: whether its hidden layers are all of one width.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    fits: ClassVar[bool] = False
    step_name: ClassVar[str | None] = None
    equal_widths: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, work: Work):
        """Build the flow, untrained, and put the rows on the device."""

    @abstractmethod
    def parameter_count(self) -> int:
        """Number of trained parameters; masked ones count, as all libraries store them and compute with them."""

    @abstractmethod
    def first_step(self) -> None:
        """All that lies between an untrained flow and its first finished training step; forgotten afterwards."""

    @abstractmethod
    def train(self) -> int:
        """Train on, over rows in a new order for each pass; return the number of steps."""

    @abstractmethod
    def log_prob(self) -> int:
        """Score the new rows in one call; return their number."""

    @abstractmethod
    def sample(self) -> int:
        """Draw SAMPLE_ROWS rows in one call; return their number."""

    def settings(self) -> Sequence[Callable[[], object]]:
        """Return what to call before a measurement, one for each way in which the library may be fastest."""
        return (lambda: None,)

    def step_alone(self) -> int:
        """Call the compiled step on batches cut beforehand, nothing around it; return the number of steps."""
        raise TypeError(f"{self.name} has no compiled step")

    def fit(self) -> int:
        """Call the training function for FIT_EPOCHS epochs with held-out rows; return the number of steps."""
        raise TypeError(f"{self.name} has no training function")


class Jaxflow(Library):
    """Training is what `fit` runs: an epoch that shuffles, steps, keeps the best parameters and reports."""

    name = "jaxflow"
    packages = ("jaxflow",)
    fits = True

    def __init__(self, work: Work):
        self.batch = work.batch
        common: dict[str, Any] = {"layers": work.layers, "hidden": work.hidden, "activation": "relu"}
        splines = {"bins": BINS, "bound": BOUND}
        spec = {
            "maf": lambda: MAF(**common),
            "nsf_autoregressive": lambda: AutoregressiveNSF(**common, **splines),
            "nsf": lambda: NSF(**common, **splines),
        }[work.flow]()
        self.flow = spec.build(work.dim, rngs=nnx.Rngs(0))
        self.graph, self.variables = nnx.split(self.flow)
        self.train_rows, self.new_rows = jnp.asarray(work.train_rows), jnp.asarray(work.new_rows)
        self.first_rows = self.train_rows[: FIRST_EPOCH_STEPS * work.batch]
        self.key = jax.random.key(0)
        self.training: Any = None

    def parameter_count(self) -> int:
        """Count the `nnx.Param`s."""
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self.flow, nnx.Param)))

    def first_step(self) -> None:
        """Run an epoch, as the first step is seen when it ends; a short one compiles like any and runs in no time."""
        plan, state = start(self.flow, self._spec(), len(self.first_rows), self.key)
        jax.block_until_ready(run_epoch(state, Batch(self.first_rows), None, plan=plan))

    def train(self) -> int:
        """Run an epoch and read its record."""
        if self.training is None:
            self.training = start(self.flow, self._spec(), len(self.train_rows), self.key)
        plan, state = self.training
        state, record = run_epoch(state, Batch(self.train_rows), None, plan=plan)
        jax.device_get(record)
        self.training = plan, state
        return STEPS_PER_EPOCH

    def log_prob(self) -> int:
        """Score under jit."""
        jax.block_until_ready(_log_prob(self.variables, self.new_rows, graph=self.graph))
        return len(self.new_rows)

    def sample(self) -> int:
        """Draw under jit."""
        jax.block_until_ready(_sample(self.variables, self.key, graph=self.graph))
        return SAMPLE_ROWS

    def fit(self) -> int:
        """Call `jaxflow.fit`; from the second call on nothing is compiled."""
        held_out = HELD_OUT_STEPS * self.batch
        train, valid = self.train_rows[:-held_out], self.train_rows[-held_out:]
        fit(self.flow, train, valid, self._spec(), key=self.key)
        return FIT_EPOCHS * (STEPS_PER_EPOCH - HELD_OUT_STEPS)

    def _spec(self) -> FitSpec:
        """Adam at a constant rate, as in the other libraries, and no early end."""
        return FitSpec(
            epochs=FIT_EPOCHS,
            batch_size=self.batch,
            learning_rate=LEARNING_RATE,
            warmup=0.0,
            final_learning_rate=1.0,
            weight_decay=0.0,
            clip_norm=CLIP_NORM,
            patience=None,
        )


@partial(jax.jit, static_argnames="graph")
def _log_prob(variables: Any, rows: Float[Array, "n dim"], *, graph: Any) -> Float[Array, "n"]:
    return nnx.merge(graph, variables).log_prob(rows)


@partial(jax.jit, static_argnames="graph")
def _sample(variables: Any, key: PRNGKeyArray, *, graph: Any) -> Float[Array, "n dim"]:
    return nnx.merge(graph, variables).sample(key, (SAMPLE_ROWS,))
