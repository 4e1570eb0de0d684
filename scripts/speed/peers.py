"""The other libraries of `benchmark_speed.py`, each in the fastest way that its own documentation or code shows.

Their flows have as many layers and hidden layers as jaxflow's, over a standard normal base that has no parameters. They
differ where the libraries were designed to differ, and little of it is large. flowjax permutes the features at random
and the others reverse them. The scale is a softly clamped exponential in jaxflow and zuko, a softplus in flowjax and
nflows. Each assigns hidden units to features in its own way, which places the zeros of weight matrices that have the
same shapes. In a coupling zuko computes parameters of all features and masks half of them, and flowjax trains two more
numbers for each spline; the tables show the number of parameters of each.

Training runs as each library's own loop or tutorial has it, shuffling included; flowjax's compiled step is timed alone
as well, on batches that were cut before the clock started.

The libraries are imported when they are built, by name, because none of them has to be installed.
"""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxflow.errors import InputError
from speed.work import (
    BINS,
    BOUND,
    CLIP_NORM,
    FIT_EPOCHS,
    HELD_OUT_STEPS,
    LEARNING_RATE,
    SAMPLE_ROWS,
    STEPS_PER_EPOCH,
    Library,
    Work,
)

STEPS_PER_CALL = 10  # of the PyTorch libraries


class Flowjax(Library):
    """flowjax's compiled `step`, called as `fit_to_data` calls it."""

    name = "flowjax"
    packages = ("flowjax", "equinox", "paramax")
    fits = True
    step_name = "flowjax step alone"
    equal_widths = True

    def __init__(self, work: Work):
        self.batch = work.batch
        self.equinox, self.paramax = import_module("equinox"), import_module("paramax")
        self.training = import_module("flowjax.train")
        flows = import_module("flowjax.flows")
        build = flows.coupling_flow if work.flow == "nsf" else flows.masked_autoregressive_flow
        # Its spline has as many inner knots as ours has bins less one.
        spline = import_module("flowjax.bijections").RationalQuadraticSpline(knots=BINS - 1, interval=BOUND)
        self.flow = build(
            jax.random.key(0),
            transformer=None if work.flow == "maf" else spline,
            base_dist=import_module("flowjax.distributions").StandardNormal((work.dim,)),
            flow_layers=work.layers,
            nn_width=work.hidden[0],
            nn_depth=len(work.hidden),  # the hidden layers; the output layer does not count
            nn_activation=jax.nn.relu,
        )
        self.train_rows, self.new_rows = jnp.asarray(work.train_rows), jnp.asarray(work.new_rows)
        self.batches = list(self.train_rows.reshape(STEPS_PER_EPOCH, work.batch, work.dim))
        self.optimizer = _clipped_adam()
        self.loss = self.training.losses.MaximumLikelihoodLoss()
        self.key = jax.random.key(0)
        self.params, self.static = self.equinox.partition(
            self.flow,
            self.equinox.is_inexact_array,
            is_leaf=lambda leaf: isinstance(leaf, self.paramax.NonTrainable),
        )
        self.trained: Any = None
        self.jitted_log_prob = self.equinox.filter_jit(lambda flow, rows: flow.log_prob(rows))
        self.jitted_sample = self.equinox.filter_jit(lambda flow, key: flow.sample(key, (SAMPLE_ROWS,)))

    def parameter_count(self) -> int:
        """Count what `fit_to_data` would train."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    def first_step(self) -> None:
        """Make the optimiser's state and call `step` once."""
        self._steps(self.params, self.optimizer.init(self.params), self.batches[:1])

    def train(self) -> int:
        """An epoch as `fit_to_data` runs it, without its validation: shuffle, cut, a key and a step for each batch."""
        self.key, order_key = jax.random.split(self.key)
        rows = jax.random.permutation(order_key, self.train_rows)
        (batches,) = self.training.train_utils.get_batches([rows], self.batch)
        return self._train(batches)

    def step_alone(self) -> int:
        """Call `step` for each of the batches cut beforehand, without keys: maximum likelihood draws nothing."""
        return self._train(self.batches, keys=False)

    def _train(self, batches: Iterable[jax.Array], keys: bool = True) -> int:
        if self.trained is None:
            self.trained = self.params, self.optimizer.init(self.params)
        params, opt_state = self.trained
        self.trained = self._steps(params, opt_state, batches, keys=keys)
        return STEPS_PER_EPOCH

    def log_prob(self) -> int:
        """Score under jit."""
        jax.block_until_ready(self.jitted_log_prob(self.flow, self.new_rows))
        return len(self.new_rows)

    def sample(self) -> int:
        """Draw under jit."""
        jax.block_until_ready(self.jitted_sample(self.flow, self.key))
        return SAMPLE_ROWS

    def fit(self) -> int:
        """Call `fit_to_data` as users do, with an optimiser made for the call; it compiles its step anew each time."""
        self.training.fit_to_data(
            self.key,
            self.flow,
            self.train_rows,
            optimizer=_clipped_adam(),
            max_epochs=FIT_EPOCHS,
            max_patience=FIT_EPOCHS,
            batch_size=self.batch,
            val_prop=HELD_OUT_STEPS / STEPS_PER_EPOCH,
            show_progress=False,
        )
        return FIT_EPOCHS * (STEPS_PER_EPOCH - HELD_OUT_STEPS)

    def _steps(
        self, params: Any, opt_state: Any, batches: Iterable[jax.Array], *, keys: bool = False
    ) -> tuple[Any, Any]:
        for rows in batches:
            key = None
            if keys:
                self.key, key = jax.random.split(self.key)
            params, opt_state, _ = self.training.step(
                params,
                self.static,
                rows,
                optimizer=self.optimizer,
                opt_state=opt_state,
                loss_fn=self.loss,
                key=key,
            )
        return jax.block_until_ready((params, opt_state))


class TorchLibrary(Library):
    """The training loop of the PyTorch tutorials, on the CPU or on the GPU that jax uses."""

    def __init__(self, work: Work):
        self.torch = import_module("torch")
        self.device = torch_device(self.torch, jax.default_backend(), self.name)
        self.torch.manual_seed(0)
        self.flow = self.build(work).to(self.device)
        self.train_rows = self.torch.from_numpy(work.train_rows).to(self.device)
        self.batches = self._shuffled(work.batch)
        self.new_rows = self.torch.from_numpy(work.new_rows).to(self.device)
        self.optimizer = self._adam()

    @abstractmethod
    def build(self, work: Work) -> Any:
        """The flow, a `torch.nn.Module`."""

    @abstractmethod
    def log_density(self, rows: Any) -> Any:
        """The log-density of a tensor of rows."""

    @abstractmethod
    def draw(self) -> Any:
        """A tensor of SAMPLE_ROWS draws."""

    def settings(self) -> Sequence[Callable[[], object]]:
        """One thread, and one for each core: in small networks or on a busy machine threads mostly wait."""
        return [partial(self.torch.set_num_threads, count) for count in sorted({1, usable_cores()})]

    def parameter_count(self) -> int:
        """Count what requires a gradient."""
        return sum(parameter.numel() for parameter in self.flow.parameters() if parameter.requires_grad)

    def first_step(self) -> None:
        """Make the optimiser and step once; there is nothing to compile."""
        self._steps(self._adam(), 1)

    def train(self) -> int:
        """Step for the next few batches: a pass may take long where threads wait for each other."""
        self._steps(self.optimizer, STEPS_PER_CALL)
        return STEPS_PER_CALL

    def log_prob(self) -> int:
        """Score in evaluation mode, without gradients."""
        self._evaluate(lambda: self.log_density(self.new_rows))
        return len(self.new_rows)

    def sample(self) -> int:
        """Draw in evaluation mode, without gradients."""
        self._evaluate(self.draw)
        return SAMPLE_ROWS

    def _adam(self) -> Any:
        return self.torch.optim.Adam(self.flow.parameters(), lr=LEARNING_RATE)

    def _steps(self, optimizer: Any, count: int) -> None:
        self.flow.train()
        for rows in islice(self.batches, count):
            loss = -self.log_density(rows).mean()
            optimizer.zero_grad()
            loss.backward()
            self.torch.nn.utils.clip_grad_norm_(self.flow.parameters(), CLIP_NORM)
            optimizer.step()
        self._wait()

    def _shuffled(self, batch: int) -> Iterator[Any]:
        while True:
            order = self.torch.randperm(len(self.train_rows), device=self.device)
            yield from self.train_rows[order].split(batch)

    def _evaluate(self, compute: Callable[[], Any]) -> None:
        self.flow.eval()
        with self.torch.no_grad():
            compute()
        self._wait()

    def _wait(self) -> None:
        if self.device != "cpu":
            self.torch.cuda.synchronize()


class Zuko(TorchLibrary):
    """zuko's `MAF` or `NSF`, the latter also as a coupling."""

    name = "zuko"
    packages = ("zuko", "torch")

    def build(self, work: Work) -> Any:
        """The preset, whose default activation is ReLU; its splines act on [-5, 5]."""
        flows = import_module("zuko.flows")
        if work.flow == "maf":
            return flows.MAF(work.dim, transforms=work.layers, hidden_features=work.hidden)
        passes = 2 if work.flow == "nsf" else None
        return flows.NSF(work.dim, bins=BINS, passes=passes, transforms=work.layers, hidden_features=work.hidden)

    def log_density(self, rows: Any) -> Any:
        """Build the distribution and ask it, as in zuko's tutorial."""
        return self.flow().log_prob(rows)

    def draw(self) -> Any:
        """Build the distribution and draw from it."""
        return self.flow().sample((SAMPLE_ROWS,))


class Nflows(TorchLibrary):
    """nflows' `MaskedAutoregressiveFlow`, or a composition of its spline transforms."""

    name = "nflows"
    packages = ("nflows", "torch")
    equal_widths = True

    def build(self, work: Work) -> Any:
        """The preset, without residual blocks, or its parts with splines in the place of affine maps."""
        blocks = len(work.hidden) - 1  # a block is one layer, after a first one
        if work.flow == "maf":
            return import_module("nflows.flows.autoregressive").MaskedAutoregressiveFlow(
                features=work.dim,
                hidden_features=work.hidden[0],
                num_layers=work.layers,
                num_blocks_per_layer=blocks,
                use_residual_blocks=False,
            )
        transforms = import_module("nflows.transforms")
        splines = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}
        layers = []
        for index in range(work.layers):
            layers.append(transforms.ReversePermutation(work.dim))
            if work.flow == "nsf":
                mask = (self.torch.arange(work.dim) + index * (work.dim % 2)) % 2
                layers.append(
                    transforms.PiecewiseRationalQuadraticCouplingTransform(
                        mask, partial(_nflows_network, work.hidden), **splines
                    )
                )
            else:
                layers.append(
                    transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                        work.dim, work.hidden[0], num_blocks=blocks, use_residual_blocks=False, **splines
                    )
                )
        normal = import_module("nflows.distributions.normal").StandardNormal([work.dim])
        return import_module("nflows.flows.base").Flow(transforms.CompositeTransform(layers), normal)

    def log_density(self, rows: Any) -> Any:
        """Ask the flow."""
        return self.flow.log_prob(rows)

    def draw(self) -> Any:
        """Draw from the flow."""
        return self.flow.sample(SAMPLE_ROWS)


def _nflows_network(hidden: Sequence[int], inputs: int, outputs: int) -> Any:
    """The plain network of nflows as a coupling calls it, with a context that is None."""
    network = import_module("nflows.nn.nets").MLP([inputs], [outputs], list(hidden))
    # A coupling scales the parameters of its widths and heights by the root of this.
    network.hidden_features = hidden[-1]
    forward = network.forward
    network.forward = lambda rows, context=None: forward(rows)
    return network


def torch_device(torch: Any, backend: str, name: str) -> str:
    """The torch device of the same kind as the jax backend, "cpu" or "cuda".

    Raises:
        InputError: if this torch cannot compute where jax does.
    """
    if backend == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise InputError(
            f"jax computes on {backend} and this torch on cpu only: set JAX_PLATFORMS=cpu, install torch for CUDA, "
            f"or leave {name} out of --libraries"
        )
    return "cuda"


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _clipped_adam() -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.adam(LEARNING_RATE))
