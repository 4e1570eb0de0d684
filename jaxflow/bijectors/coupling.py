"""The coupling layer."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxflow.bijectors.bijector import Bijector
from jaxflow.bijectors.transformers import Transformer
from jaxflow.networks.buffer import Buffer
from jaxflow.networks.mlp import for_each_context
from jaxflow.networks.planned import Planned, PlannedArray, within


class Coupling(Bijector):
    """Leave some features as they are and transform the others, given those.

    forward: x[a] = z[a],  x[b] = f(z[b]; g(z[a], context))        log_det: sum over b of log df/dz[b]

    Both directions cost one pass of the conditioner g (Dinh et al. 2017, RealNVP, section 3.2).

    >>> network = MLP(1, 2, (8,), zero_last=True, rngs=nnx.Rngs(0))
    >>> Coupling(np.array([True, False]), Affine(), network).forward(jnp.array([1.0, 2.0]))
    Array([1., 2.], dtype=float32)

    Args:
        mask: True where a feature passes unchanged (a), False where it is transformed (b); at least one of each.
        transformer: the scalar map f.
        conditioner: the network g, called as `conditioner(z[a], context)`; returns
            `transformer.num_parameters` numbers for each transformed feature, feature by feature.

    Raises:
        ValueError: if the mask passes all features or none; when called, if rows have another number of features.
    """

    def __init__(self, mask: Bool[ArrayLike, "dim"], transformer: Transformer, conditioner: Callable[..., Array]):
        mask = np.asarray(mask, bool)
        if mask.all() or not mask.any():
            raise ValueError(f"mask must pass some features and transform others, got {mask.tolist()}")
        kept, changed = np.flatnonzero(mask), np.flatnonzero(~mask)
        self.kept = Buffer(jnp.asarray(kept))
        self.changed = Buffer(jnp.asarray(changed))
        # Where each feature stands in the concatenation of the kept and the changed ones.
        self.place = Buffer(jnp.asarray(np.argsort(np.concatenate([kept, changed]))))
        self.transformer = transformer
        self.conditioner = conditioner

    @staticmethod
    def planned(kept: int, changed: int, conditioner: Planned) -> Planned:
        """The arrays of a layer that passes and changes so many features, given those of its conditioner."""
        for name, size in (("kept", kept), ("changed", changed), ("place", kept + changed)):
            yield PlannedArray(name, (size,), "int")
        yield from within("conditioner", conditioner)

    def forward_and_log_det(self, z, context=None):
        """Transform the features that the mask does not pass."""
        return self._apply(self.transformer.forward_and_log_det, z, context)

    def inverse_and_log_det(self, x, context=None):
        """Transform them back."""
        return self._apply(self.transformer.inverse_and_log_det, x, context)

    def _apply(self, transform, values: Float[Array, "*batch dim"], context):
        if values.shape[-1] != self.place.size:
            # JAX reads the nearest number where one outside of an array is asked for.
            raise ValueError(f"rows have {values.shape[-1]} features, expected {self.place.size}")
        values = for_each_context(values, context)
        kept, changed = values[..., self.kept[...]], values[..., self.changed[...]]
        parameters = self.conditioner(kept, context).reshape(*changed.shape, self.transformer.num_parameters)
        changed, log_det = transform(changed, parameters)
        joined = jnp.concatenate([kept, changed], axis=-1)
        return joined[..., self.place[...]], jnp.sum(log_det, axis=-1)
