"""The masked autoregressive layer."""

import jax
import jax.numpy as jnp

from jaxflow.bijectors.bijector import Bijector
from jaxflow.bijectors.transformers import Transformer
from jaxflow.networks.masked_mlp import MaskedMLP


class MaskedAutoregressive(Bijector):
    """Transform each feature given the features visited before it.

    forward: x[i] = f(z[i]; g_i(x[<i], context))        log_det: sum over i of log df/dz[i]

    "Before" is in the order of the conditioner. The inverse, which the density needs, is one pass of the network; the
    forward, which sampling needs, visits the features one after the other and costs `dim` passes (Papamakarios et al.
    2017, section 3). `Inverse` swaps the two.

    Args:
        transformer: the scalar map f.
        conditioner: the masked network g, with as many outputs per feature as the transformer has parameters.

    Raises:
        ValueError: if those two numbers differ.
    """

    def __init__(self, transformer: Transformer, conditioner: MaskedMLP):
        if conditioner.outputs_per_feature != transformer.num_parameters:
            raise ValueError(
                f"the transformer takes {transformer.num_parameters} parameters per feature, "
                f"the conditioner gives {conditioner.outputs_per_feature}"
            )
        self.transformer = transformer
        self.conditioner = conditioner

    def forward_and_log_det(self, z, context=None):
        """Visit the features in order; exact after `dim` passes of the network."""
        degrees = self.conditioner.degrees[...]

        def visit(state, degree):
            x, log_det = state
            candidate, terms = self.transformer.forward_and_log_det(z, self.conditioner(x, context))
            # Only the feature whose turn it is may be set. The others' candidates rest on features not yet known:
            # kept, they could overflow, and masked connections would turn an infinity into NaN.
            turn = degrees == degree
            return (jnp.where(turn, candidate, x), jnp.where(turn, terms, log_det)), None

        start = (jnp.zeros_like(z), jnp.zeros_like(z))
        (x, terms), _ = jax.lax.scan(visit, start, jnp.arange(1, z.shape[-1] + 1))
        return x, jnp.sum(terms, axis=-1)

    def inverse_and_log_det(self, x, context=None):
        """One pass of the network."""
        z, terms = self.transformer.inverse_and_log_det(x, self.conditioner(x, context))
        return z, jnp.sum(terms, axis=-1)
