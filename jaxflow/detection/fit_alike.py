"""Fit several detectors in one call, what is alike in one program."""

from collections.abc import Sequence
from typing import Any

from jaxflow.detection.detector import Detector
from jaxflow.errors import InputError
from jaxflow.training.engine.precision import floats_of
from jaxflow.training.many.alike import carry_out_alike
from jaxflow.training.ways.epochs import Fitting


def fit_alike(
    detectors: Sequence[Detector], tables: Sequence[Any], *, return_errors: bool = False
) -> list[Exception | None]:
    """Fit several detectors, each to a table of its own, and train in one program what is alike.

    As `training.fit_alike` does it with models: fits by gradient steps of equal structure, `FitSpec` and shapes are
    stacked, and the rest are made one after the other, as are fits with progress, checkpoints, callbacks, several
    devices or a source. A detector is then as its own `fit` leaves it, but for rounding.

    Args:
        detectors: each is fitted, so none may be there twice.
        tables: the rows of each, as `fit` takes them, without labels.
        return_errors: return the errors of fits in place of raising the first.

    Returns:
        For each detector the error that its fit ended with, or None.

    Raises:
        InputError: if there are not as many tables as detectors, or a detector is there twice.
        Exception: the first error of a fit, as `fit` raises it, once all fits have ended; never with `return_errors`.
    """
    if len(tables) != len(detectors):
        raise InputError(f"tables holds {len(tables)}, expected one for each of {len(detectors)} detectors")
    if len({id(detector) for detector in detectors}) < len(detectors):
        raise InputError("detectors holds one twice, expected each once: a detector holds one fit")
    errors: list[Exception | None] = [None] * len(detectors)
    begun: dict[str, dict[int, Fitting[None]]] = {}  # by the type of numbers, of which a process has one at a time
    for number, (detector, table) in enumerate(zip(detectors, tables, strict=True)):
        try:
            fitting = detector.fitting(table)
        except Exception as error:
            errors[number] = error
        else:
            begun.setdefault(detector.float_type_, {})[number] = fitting
    for float_type, fittings in begun.items():
        with floats_of(float_type):
            for number, error in zip(fittings, carry_out_alike(list(fittings.values())), strict=True):
                errors[number] = error
    first = next((error for error in errors if error is not None), None)
    if first is not None and not return_errors:
        raise first
    return errors
