"""Arrays that belong to a module but are not trained by gradient."""

from flax import nnx


class Buffer(nnx.Variable):
    """A mask, a permutation, a running statistic, an estimated mean.

    Being no `nnx.Param`, it is invisible to the optimiser; being an `nnx.Variable`, it is part of the state that is
    copied, stacked by vmap and saved.

    >>> layer = ActNorm(2)
    >>> type(layer.initialized).__name__, len(jax.tree.leaves(nnx.state(layer, nnx.Param)))
    ('Buffer', 2)
    """
