"""Fit several models in one call, those alike in one program."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, overload

from jaxtyping import PRNGKeyArray

from jaxflow.errors import InputError
from jaxflow.models.model import Model
from jaxflow.training.fit import fitting
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.many.alike import carry_out_alike
from jaxflow.training.ways.request import FitRequest, FitResult

T = TypeVar("T")


@overload
def fit_alike(
    models: Sequence[Model],
    train: Sequence[Any],
    valid: Sequence[Any] | None = None,
    spec: FitSpec | None = None,
    *,
    keys: Sequence[PRNGKeyArray],
    return_errors: Literal[False] = False,
) -> list[FitResult]: ...
@overload
def fit_alike(
    models: Sequence[Model],
    train: Sequence[Any],
    valid: Sequence[Any] | None = None,
    spec: FitSpec | None = None,
    *,
    keys: Sequence[PRNGKeyArray],
    return_errors: Literal[True],
) -> list[FitResult | Exception]: ...
def fit_alike(
    models: Sequence[Model],
    train: Sequence[Any],
    valid: Sequence[Any] | None = None,
    spec: FitSpec | None = None,
    *,
    keys: Sequence[PRNGKeyArray],
    return_errors: bool = False,
) -> Any:
    """Fit several models, each to rows of its own, and train in one program what is alike.

    Each fit goes on up to its gradient steps and waits there for the others. Those of equal structure and shapes are
    then stacked and run under `vmap`, the rest one after the other; a committee waits at each of its members. Rows of
    one size class (`models.size_class`) and width have equal shapes in a committee. The result of a fit is what `fit`
    gives, but for rounding.

    On an accelerator, which one small fit does not fill, this is faster; on CPUs fits that are stacked take turns, and
    nothing is gained but that they are compiled once.

    Args:
        models: what to fit; not changed.
        train: for each model its rows, as `fit` takes them.
        valid: for each model its held-out rows, or None for it; None for no model.
        spec: of every fit.
        keys: the random key of each fit.
        return_errors: put the error of a fit in the place of its result.

    Returns:
        The result of each fit.

    Raises:
        InputError: if there are not as many rows or keys as models.
        Exception: the first error of a fit, as `fit` raises it, once all fits have ended; never with `return_errors`.
    """
    valid = [None] * len(models) if valid is None else valid
    for name, values in (("train", train), ("valid", valid), ("keys", keys)):
        if len(values) != len(models):
            raise InputError(f"{name} holds {len(values)}, expected one for each of {len(models)} models")
    requests = [
        FitRequest(model, rows, held_out, spec, key)
        for model, rows, held_out, key in zip(models, train, valid, keys, strict=True)
    ]
    found = carry_out_alike([fitting(request) for request in requests])
    errors = [result for result in found if isinstance(result, Exception)]
    if errors and not return_errors:
        raise errors[0]
    return found


def side_by_side(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Do several jobs that fit models, one after the other; `fit_alike` is what trains in one program.

    A job cannot wait for others amid its work, which took a thread for each. Of an earlier release, and gone with the
    next.
    """
    warnings.warn(
        "training.side_by_side does one job after the other; training.fit_alike and detection.fit_alike train in one "
        "program what is alike",
        DeprecationWarning,
        stacklevel=2,
    )
    return [job() for job in jobs]
