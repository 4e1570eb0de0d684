"""The static side of a fit: what a compiled program is made for."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxflow.errors import InputError
from jaxflow.training.devices.mesh import rows_divided
from jaxflow.training.engine import flat_parameters as flat
from jaxflow.training.engine.batch import Batch, Blocks, padded_blocks
from jaxflow.training.fit_spec import FitSpec

# A loss of the caller's own: the model, a batch whose weights it must heed, random streams in steps and None elsewhere.
Loss: TypeAlias = Callable[[Any, Batch, nnx.Rngs | None], Array]


class TracedHyperparameters(NamedTuple):
    """Hyperparameters that are numbers of the program, not part of it: another value compiles nothing anew."""

    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    input_noise: Float[Array, ""]
    trim: Float[Array, ""]

    @classmethod
    def of(cls, spec: FitSpec) -> "TracedHyperparameters":
        """Return the traced hyperparameters of `spec`, as arrays."""
        dtype = jnp.result_type(float)
        return cls(*(jnp.asarray(getattr(spec, name), dtype) for name in cls._fields))


class Plan(NamedTuple):
    """The static side of a fit: equal plans share one compiled program.

    Of the spec's `TracedHyperparameters` only whether they are zero belongs to it, since what is switched off is left
    out.

    Attributes:
        optimizer: takes the steps in place of the built-in AdamW; None for that.
        loss: is lowered in place of the model's own loss; None for that.
    """

    graph: Any
    train_graph: Any
    layout: flat.Layout
    spec: FitSpec
    steps_per_epoch: int
    follows_data: bool
    mesh: Mesh | None = None
    optimizer: optax.GradientTransformation | None = None
    loss: Loss | None = None

    def blocks(self, batch: Batch, rows: int | None = None) -> Blocks:
        """The batch cut into blocks of so many rows, by default those of a step, each divided among the devices."""
        blocks = padded_blocks(batch, min(self.spec.batch_size if rows is None else rows, batch.x.shape[0]))
        return blocks if self.mesh is None else rows_divided(blocks, self.mesh)

    def loss_of(self, model: Any, x: Array, weight: Any = None, context: Any = None, rngs: Any = None) -> Array:
        """The loss of rows that the fit lowers: the caller's, or the model's own."""
        if self.loss is None:
            return model.loss(x, weight, context, rngs)
        value = self.loss(model, Batch(x, weight, context), rngs)
        if jnp.shape(value) != ():
            raise InputError(f"the loss has the shape {jnp.shape(value)}, expected one number for the batch")
        return value

    def model(self, params: Any, buffers: Any, *, training: bool = False):
        """The module with these parameters (a tree) and buffers; `training` switches on what acts in steps alone."""
        # Copied, or a module that changes a buffer would change the variables in `buffers` themselves.
        return nnx.merge(self.train_graph if training else self.graph, params, buffers, copy=True)

    @property
    def steps(self) -> int:
        """Number of steps of the whole fit."""
        return self.spec.epochs * self.steps_per_epoch

    def learning_rates(self, knobs: TracedHyperparameters, steps: Int[Array, "*steps"]) -> Float[Array, "*steps"]:
        """The learning rate after so many steps."""
        share = optax.warmup_cosine_decay_schedule(
            init_value=1.0 if self.spec.warmup == 0 else 0.0,
            peak_value=1.0,
            warmup_steps=min(round(self.spec.warmup * self.steps), self.steps - 1),  # the last is at the decay's end
            decay_steps=self.steps,
            end_value=self.spec.final_learning_rate,
        )
        return knobs.learning_rate * jnp.asarray(share(steps), knobs.learning_rate.dtype)

    def input_noises(self, knobs: TracedHyperparameters, steps: Int[Array, "*steps"]) -> Float[Array, "*steps"]:
        """The standard deviation of the input noise after so many steps."""
        done = steps / max(1, self.steps - 1)
        return knobs.input_noise * (1 + (self.spec.final_input_noise - 1) * done).astype(knobs.input_noise.dtype)

    def weight_decay(self, strength: Float[Array, ""]) -> tuple[Array | float, ...]:
        """Decay of each parameter: matrices decay; vectors (biases, shifts, scales) do not."""
        sizes = self.layout.sizes
        small = [index for index, size in enumerate(sizes) if size < flat.LARGE]
        large = [index for index, size in enumerate(sizes) if size >= flat.LARGE]
        if not self.spec.weight_decay:
            return (0.0,) * (1 + len(large))
        decays = [jnp.zeros(0), *(jnp.full(sizes[index], float(self.layout.is_matrix(index))) for index in small)]
        return (strength * jnp.concatenate(decays), *(strength * self.layout.is_matrix(index) for index in large))


def split(model: nnx.Module) -> tuple[Any, Any, Any, Any]:
    """The structure of a module outside and inside training steps, its parameters, and all its other variables."""
    model.train()
    train_graph = nnx.split(model, nnx.Param, ...)[0]
    model.eval()
    graph, params, buffers = nnx.split(model, nnx.Param, ...)
    return graph, train_graph, params, buffers


def follows_data(model: nnx.Module) -> bool:
    """Whether part of the model wants `initialize` again after every epoch."""
    return any(getattr(module, "follows_data", False) for _, module in nnx.iter_modules(model))


def make_plan(
    graph: Any,
    train_graph: Any,
    params: Any,
    spec: FitSpec,
    rows: int,
    *,
    follows_data: bool,
    mesh: Mesh | None = None,
    optimizer: optax.GradientTransformation | None = None,
    loss: Loss | None = None,
) -> Plan:
    """The plan for parameters of these shapes and this many rows."""
    switches = {name: float(getattr(spec, name) > 0) for name in TracedHyperparameters._fields}
    spec = spec.model_copy(update=switches)
    steps = -(-rows // spec.batch_size)
    return Plan(graph, train_graph, flat.layout_of(params), spec, steps, follows_data, mesh, optimizer, loss)
