"""Leaving out units in training steps."""

from flax import nnx


def make_dropout(rate: float, *, rngs: nnx.Rngs) -> nnx.Dropout | None:
    """A layer that sets each unit to zero with probability `rate` (Srivastava et al. 2014); None for a rate of 0.

    It is off until `train()` is called on the module that holds it.

    Raises:
        ValueError: if `rate` is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, got {rate}")
    # A stream of its own, named "dropout" whatever `rngs` is, so that `nnx.reseed(model, dropout=key)` finds it.
    return nnx.Dropout(rate, deterministic=True, rngs=nnx.Rngs(dropout=rngs.dropout())) if rate else None
