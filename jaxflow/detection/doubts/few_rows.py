"""Whether there are rows enough for the features of a model, and what becomes of it where there are not.

With fewer than about two rows for each feature a full covariance is nearly singular: unseen rows are then millions of
standard deviations away, the threshold rises to where they are, and nothing is flagged. With two rows a feature unseen
rows score twice as high as those that were learned from, with five a quarter higher.
"""

from typing import Any

from jaxflow.errors import InputError, counted
from jaxflow.models import (
    CommitteeSpec,
    FlowSpec,
    GaussianMixtureSpec,
    GaussianSpec,
    ModelSpec,
    PrincipalComponentsSpec,
)

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
    _refuse(spec, said, fewest, dim, context_dim)
    features = dim + context_dim
    if fewest >= ROWS_EACH * features:
        return spec, None
    if isinstance(spec, GaussianSpec) and spec.covariance in ("diagonal", "ledoit_wolf"):
        return spec, None
    shrunk = _shrunk(spec)
    few = f"{said} to learn from are few for {counted(features, 'feature')}"
    if shrunk is not spec:
        return shrunk, (
            f"{few}: the covariance of the Gaussian is shrunk (covariance = ledoit_wolf), as a full one would be all "
            "but singular, and what it says of so many features is vague; take more rows or leave columns out"
        )
    remedy = "take more rows or leave columns out"
    if isinstance(spec, GaussianSpec):
        remedy = f"the covariance, {spec.covariance}, is all but singular: choose covariance = ledoit_wolf"
    elif isinstance(spec, FlowSpec | GaussianMixtureSpec | PrincipalComponentsSpec):
        remedy += ", or take a Gaussian with covariance = ledoit_wolf"
    return spec, f"{few}, so that much of what the model finds in them is chance; {remedy}"


def _shrunk(spec: Any) -> Any:
    """The spec with a shrunk covariance for each Gaussian of which nothing else was said; itself if it has none."""
    if isinstance(spec, GaussianSpec):
        plain = GaussianSpec()
        said = "covariance" in spec.model_fields_set or spec.regularization != plain.regularization
        return spec if said else spec.model_copy(update={"covariance": "ledoit_wolf"})
    if isinstance(spec, CommitteeSpec):
        models = [_shrunk(member.model) for member in spec.members]
        if all(model is member.model for model, member in zip(models, spec.members, strict=True)):
            return spec
        members = (m.model_copy(update={"model": model}) for m, model in zip(spec.members, models, strict=True))
        return spec.model_copy(update={"members": tuple(members)})
    return spec


def _refuse(spec: Any, said: str, fewest: int, dim: int, context_dim: int) -> None:
    if isinstance(spec, CommitteeSpec):
        for member in spec.members:
            _refuse(member.model, said, fewest, dim, context_dim)
    if isinstance(spec, GaussianMixtureSpec) and spec.components > fewest:
        raise InputError(
            f"components = {spec.components}: expected at most the number of training rows, and there are {said}"
        )
    if not isinstance(spec, GaussianSpec):
        return
    if spec.covariance == "robust" and fewest <= dim:
        raise InputError(
            f"a robust covariance of {dim} features was asked for, and there are {said}: expected more rows than "
            "features, or covariance = ledoit_wolf"
        )
    if context_dim and fewest < context_dim + 2:
        raise InputError(
            f"a linear regression on {context_dim} context features was asked for, and there are {said}: expected at "
            f"least {context_dim + 2}, or fewer columns in columns.context"
        )
