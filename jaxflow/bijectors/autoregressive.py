"""The masked autoregressive layer."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxflow.bijectors.bijector import Bijector
from jaxflow.bijectors.transformers import Transformer
from jaxflow.networks.masked.masked_mlp import MaskedMLP
from jaxflow.networks.masked.masked_walk import walk
from jaxflow.networks.mlp import for_each_context

Sampling = Literal["walk", "jacobi"]


class MaskedAutoregressive(Bijector):
    """Transform each feature given the features visited before it.

    forward: x[i] = f(z[i]; g_i(x[<i], context))        log_det: sum over i of log df/dz[i]

    "Before" is in the order of the conditioner. The inverse, which the density needs, is one pass of the network
    (Papamakarios et al. 2017, section 3). The forward, which sampling needs, has two ways:

    - "walk" visits the features one after the other and computes each hidden unit once, when all that it sees is
      known: the arithmetic of one pass, in `dim` small steps.
    - "jacobi" guesses all features at once and lets the network correct them until they no longer change (Song et al.
      2021, section 3.2): a few passes where features depend weakly on each other, and never more than `dim`, after
      which it is exact. For accelerators, which run one large product sooner than many small ones.

    `Inverse` swaps the two directions.

    >>> network = MaskedMLP(3, 2, (8,), rngs=nnx.Rngs(0))
    >>> MaskedAutoregressive(Affine(), network).inverse(jnp.ones((5, 3))).shape
    (5, 3)

    Args:
        transformer: the scalar map f.
        conditioner: the masked network g, with as many outputs per feature as the transformer has parameters.
        sampling: the way of the forward.
        tolerance: "jacobi" ends when no feature changes by more than this times max(1, its size); by default 8 units
            of the last digit.

    Raises:
        ValueError: if those two numbers differ, or the tolerance is not positive.
    """

    def __init__(
        self,
        transformer: Transformer,
        conditioner: MaskedMLP,
        *,
        sampling: Sampling = "walk",
        tolerance: float | None = None,
    ):
        if conditioner.outputs_per_feature != transformer.num_parameters:
            raise ValueError(
                f"the transformer takes {transformer.num_parameters} parameters per feature, "
                f"the conditioner gives {conditioner.outputs_per_feature}"
            )
        if tolerance is not None and tolerance <= 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}")
        self.transformer = transformer
        self.conditioner = conditioner
        self.sampling = sampling
        self.tolerance = tolerance

    def forward_and_log_det(self, z, context=None):
        """Walk through the features, or guess and correct them."""
        x, slopes = self.forward_and_log_slopes(z, context)
        return x, jnp.sum(slopes, axis=-1)

    def forward_and_log_slopes(
        self, z: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch dim"]]:
        """x and log dx[i]/dz[i] of each feature, whose sum is the log-determinant."""
        if self.sampling == "walk":
            return walk(self.conditioner, self.transformer.forward_and_log_det, z, context)
        z = for_each_context(z, context)
        x = self._jacobi(z, context)
        return x, self.transformer.forward_and_log_det(z, self.conditioner(x, context))[1]

    def inverse_and_log_det(self, x, context=None):
        """One pass of the network."""
        z, slopes = self.inverse_and_log_slopes(x, context)
        return z, jnp.sum(slopes, axis=-1)

    def inverse_and_log_slopes(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch dim"]]:
        """z and log dz[i]/dx[i] of each feature, whose sum is the log-determinant."""
        x = for_each_context(x, context)
        return self.transformer.inverse_and_log_det(x, self.conditioner(x, context))

    def _jacobi(self, z: Float[Array, "*batch dim"], context) -> Float[Array, "*batch dim"]:
        parameters = jax.eval_shape(self.conditioner, z, context)
        z = z.astype(jnp.result_type(z, parameters))
        tolerance = 8 * float(jnp.finfo(z.dtype).eps) if self.tolerance is None else self.tolerance

        def error(x):
            """How far x is from what the network makes of it; its derivative is one below a diagonal of ones."""
            return x - self.transformer.forward_and_log_det(z, self.conditioner(x, context))[0]

        def solve(error, start):
            return _corrected(error, start, steps=z.shape[-1], tolerance=tolerance)

        def solve_linear(product, right):
            def solve_one(product, right):
                return _corrected(lambda v: product(v) - right, right, steps=z.shape[-1], tolerance=tolerance)

            return jax.lax.custom_linear_solve(product, right, solve_one, transpose_solve=solve_one)

        # Derivatives come from the implicit function theorem, not from the iteration.
        return jax.lax.custom_root(error, z, solve, solve_linear)


def _corrected(error: Callable[[Array], Array], start: Array, *, steps: int, tolerance: float) -> Array:
    """`x - error(x)` again and again, until nothing changes or, the system being triangular, all is exact."""

    def unfinished(state: Any):
        _, step, change = state
        return (step < steps) & (change > tolerance)

    def advance(state: Any):
        x, step, _ = state
        corrected = x - error(x)
        # A guess that rests on wrong features may overflow; as a zero it cannot spoil the features after it.
        corrected = jnp.where(jnp.isfinite(corrected), corrected, 0.0)
        change = jnp.max(jnp.abs(corrected - x) / jnp.maximum(jnp.abs(corrected), 1.0), initial=0.0)
        return corrected, step + 1, change

    return jax.lax.while_loop(unfinished, advance, (start, jnp.asarray(0), jnp.asarray(jnp.inf, start.dtype)))[0]
