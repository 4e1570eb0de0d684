"""Whether there are rows enough for the features of a model, and what becomes of it where there are not.

With fewer than about two rows for each feature a full covariance is nearly singular: unseen rows are then millions of
standard deviations away, the threshold rises to where they are, and nothing is flagged. With two rows a feature unseen
rows score twice as high as those that were learned from, with five a quarter higher.
"""

from typing import Any

from jaxflow.errors import counted
from jaxflow.models.model import ModelSpec

ROWS_EACH = 2  # for each feature and context feature, at least


def fewest_rows(learn: int, folds: int, validation_fraction: float) -> int:
    """How many of `learn` rows the smallest fit learns from: without those of a fold and those that validate."""
    fewest = learn - -(-learn // folds) if folds else learn
    return fewest - max(1, round(validation_fraction * fewest)) if validation_fraction else fewest


def suited(spec: ModelSpec, rows: int, fewest: int, dim: int, context_dim: int) -> tuple[Any, str | None]:
    """The spec for so few rows as there are, and a sentence about them; the spec as it is and None if they are enough.

    A Gaussian whose covariance and regularization are the defaults becomes one with the covariance of Ledoit and Wolf.

    Args:
        spec: what is to be fitted.
        rows: that are learned from in all.
        fewest: those that the smallest fit learns from, see `fewest_rows`.
        dim: number of features.
        context_dim: number of context features.

    Raises:
        InputError: if the model cannot be fitted to so few rows.
    """
    said = counted(rows, "row")
    if fewest < rows:
        said += f" ({fewest:,} where some are held out)"
    spec.require_enough(fewest, said, dim, context_dim)
    features = dim + context_dim
    remedy = spec.few_rows_remedy()
    if fewest >= ROWS_EACH * features or remedy is None:
        return spec, None
    shrunk = spec.for_few_rows()
    few = f"{said} to learn from are few for {counted(features, 'feature')}"
    if shrunk is not spec:
        return shrunk, (
            f"{few}: the covariance of the Gaussian is shrunk (covariance = ledoit_wolf), as a full one would be all "
            "but singular, and what it says of so many features is vague; take more rows or leave columns out"
        )
    return spec, f"{few}, so that much of what the model finds in them is chance; {remedy}"
