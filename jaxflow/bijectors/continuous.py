"""The continuous layer: the flow of a differential equation."""

from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxflow.bijectors.bijector import Bijector
from jaxflow.errors import InputError
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.mlp import MLP, for_each_context
from jaxflow.networks.planned import Planned, PlannedArray, within

Adjoint = Literal["checkpointed", "direct"]
Solver = Literal["tsit5", "dopri8"]
# What a description of a flow may ask for: a solve of more steps, or to more digits than float64 has, would never end.
LEAST_TOLERANCE, MOST_STEPS, MOST_PROBES = 1e-14, 1 << 16, 1024


class NeuralODE(Bijector):
    """Move every row along a learned velocity field for one unit of time.

    forward: x = z(1), dz/dt = v(z, t; context), z(0) = z        log_det: integral over t of the trace of dv/dz

    The inverse runs time backwards (Chen et al. 2018, section 4; Grathwohl et al. 2019, FFJORD, section 3). The
    velocity is a network of tanh units that sees the time as one more feature: it is bounded, so no row runs away.

    The trace is exact, at the price of `dim` derivatives of the velocity, or Hutchinson's estimate, the mean of e^T
    (dv/dz) e over random vectors e of signs (FFJORD, section 3.1). FFJORD draws new vectors for every batch; a layer
    here is a deterministic function, so they are drawn once and held in a buffer. The estimate is then the same at
    every call, its error included: scores are off by it, the density does not quite integrate to 1, and training can
    come to exploit it. The exact trace is the choice wherever it is affordable.

    Every row has a solve and steps of its own, so that it is mapped alike in every batch. No step is made shorter than
    4 / `max_steps`, whatever its error, so that a solve comes to an end also where rounding is too coarse for the
    tolerances. A row that is still not done after `max_steps` steps gets the infinite log-determinant of a density of
    zero. Unlike in other layers the log-determinant is not free to leave out: it has its part in choosing the steps.

    >>> layer = NeuralODE(2, (8,), rngs=nnx.Rngs(0))
    >>> jax.eval_shape(layer.forward, jnp.ones((5, 2))).shape
    (5, 2)

    Args:
        dim: number of features.
        hidden: widths of the hidden layers of the velocity.
        context_dim: number of context features.
        probes: number of random vectors of the estimate; None for the exact trace.
        rtol: relative tolerance of a step, raised to ten times the rounding of the values' type where below.
        atol: absolute tolerance of a step, likewise.
        max_steps: most steps of a solve, rejected ones included.
        solver: "tsit5", of order 5, or "dopri8", of order 8, for tight tolerances.
        adjoint: how derivatives are taken through the solver. "checkpointed" is for reverse mode alone, with memory
            that grows with the square root of the steps taken; "direct" is for forward and reverse mode and costs more.
        rngs: source of the initial weights and of the random vectors.

    Raises:
        ValueError: if a number is out of its range or there is no hidden layer.
        InputError: if diffrax is not installed.
    """

    option_ranges: ClassVar = {
        **dict.fromkeys(("rtol", "atol"), (LEAST_TOLERANCE, 0.1)),
        "max_steps": (16, MOST_STEPS),
        "probes": (1, MOST_PROBES),
    }

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (64, 64),
        *,
        context_dim: int = 0,
        probes: int | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_steps: int = 4096,
        solver: Solver = "tsit5",
        adjoint: Adjoint = "checkpointed",
        rngs: nnx.Rngs,
    ):
        _diffrax()
        if not hidden:
            raise ValueError("hidden must hold at least one width: a linear velocity has no bound")
        if probes is not None and probes < 1:
            raise ValueError(f"probes must be at least 1, or None for the exact trace, got {probes}")
        if not (rtol > 0 and atol > 0):
            raise ValueError(f"rtol and atol must be positive, got {rtol} and {atol}")
        if max_steps < 16:
            raise ValueError(f"max_steps must be at least 16, got {max_steps}")
        self.velocity = MLP(dim + 1, dim, hidden, context_dim=context_dim, activation="tanh", zero_last=True, rngs=rngs)
        if probes is not None:
            self.probes = Buffer(jax.random.rademacher(rngs.params(), (probes, dim), jnp.result_type(float)))
        self.exact = probes is None
        self.rtol = rtol
        self.atol = atol
        self.max_steps = max_steps
        self.solver: Solver = solver
        self.adjoint: Adjoint = adjoint

    @staticmethod
    def planned(
        dim: int, hidden: Sequence[int] = (64, 64), *, context_dim: int = 0, probes: int | None = None
    ) -> Planned:
        """The arrays of a layer of these sizes, by default those of the constructor."""
        yield from within("velocity", MLP.planned(dim + 1, dim, hidden, context_dim=context_dim))
        if probes is not None:
            yield PlannedArray("probes", (probes, dim))

    def forward_and_log_det(self, z, context=None):
        """Solve from time 0 to time 1."""
        x, log_det, done = self._solve(z, context, 0.0, 1.0)
        return x, jnp.where(done, log_det, jnp.inf)

    def inverse_and_log_det(self, x, context=None):
        """Solve from time 1 to time 0."""
        z, log_det, done = self._solve(x, context, 1.0, 0.0)
        return z, jnp.where(done, log_det, -jnp.inf)

    def _solve(self, start: Array, context: Array | None, begin: float, end: float):
        """Where each row is at time `end`, the integral of the trace on the way, and whether the row arrived."""
        start = for_each_context(start, context)
        dim, batch = start.shape[-1], start.shape[:-1]
        if context is not None:
            context = jnp.broadcast_to(context, (*batch, context.shape[-1])).reshape(-1, context.shape[-1])
        # The estimate with the unit vectors in place of random ones, summed and not averaged, is the trace.
        directions = jnp.eye(dim, dtype=start.dtype) if self.exact else self.probes[...].astype(start.dtype)
        share = 1.0 if self.exact else 1 / len(directions)
        graph, state = nnx.split(self.velocity)
        smallest = 10 * float(jnp.finfo(start.dtype).eps)
        settings = _Settings(
            graph, share, max(self.rtol, smallest), max(self.atol, smallest), self.max_steps, self.solver, self.adjoint
        )
        times = jnp.asarray([begin, end], start.dtype)
        ends, log_det, arrived = _solve_rows(settings, state, directions, times, start.reshape(-1, dim), context)
        return ends.reshape(start.shape), log_det.reshape(batch), arrived.reshape(batch)


class _Settings(NamedTuple):
    """Settings of a solve that are known when it is compiled."""

    graph: nnx.GraphDef
    share: float
    rtol: float
    atol: float
    max_steps: int
    solver: Solver
    adjoint: Adjoint


# Compiled here, so that calls outside of any jit do not compile the solver again each time.
@partial(jax.jit, static_argnums=0)
def _solve_rows(settings: _Settings, state, directions, times, rows, context):
    """Solve the equation of every row by itself."""
    diffrax = _diffrax()
    solvers = {"tsit5": diffrax.Tsit5, "dopri8": diffrax.Dopri8}
    adjoints = {"checkpointed": diffrax.RecursiveCheckpointAdjoint, "direct": diffrax.DirectAdjoint}

    def solve(row, context):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(partial(_slope, settings)),
            solvers[settings.solver](),
            t0=times[0],
            t1=times[1],
            dt0=0.1 * (times[1] - times[0]),
            y0=(row, jnp.zeros((), row.dtype)),
            # Arguments, for the solver's custom derivative rule sees nothing that a function closes over.
            args=(state, directions, context),
            stepsize_controller=diffrax.PIDController(settings.rtol, settings.atol, dtmin=4 / settings.max_steps),
            adjoint=adjoints[settings.adjoint](),
            max_steps=settings.max_steps,
            throw=False,
        )
        position, log_det = solution.ys
        return position[0], log_det[0], solution.result == diffrax.RESULTS.successful

    return jax.vmap(solve)(rows, context)


def _slope(settings: _Settings, time, position_and_log_det, arguments):
    """The velocity of one row, and the trace of its derivative."""
    state, directions, context = arguments
    position, _ = position_and_log_det
    network = nnx.merge(settings.graph, state)

    def velocity(position):
        return network(jnp.append(position, time.astype(position.dtype)), context).astype(position.dtype)

    def along(direction):
        return jax.jvp(velocity, (position,), (direction,))

    value, derivatives = jax.vmap(along, out_axes=(None, 0))(directions)
    return value, settings.share * jnp.sum(directions * derivatives)


def _diffrax() -> ModuleType:
    """The solvers, which are an optional dependency."""
    try:
        import diffrax
    except ModuleNotFoundError:
        raise InputError("continuous layers need diffrax, which is not installed: pip install jaxflow[ode]") from None
    return diffrax
