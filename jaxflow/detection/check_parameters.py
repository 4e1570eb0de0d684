"""Checks of a detector's parameters, made before anything is fitted."""

from typing import Any

import numpy as np

from jaxflow.config.spec import Spec
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.preprocessing.steps import DropConstant, PreprocessingStep, Standardize, Step
from jaxflow.detection.thresholds.any_rule import TargetFalsePositiveRate, ThresholdRule
from jaxflow.errors import InputError, counted
from jaxflow.models import CommitteeSpec
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.many.committee import COMMITTEE_FIT

DEFAULT_STEPS = (DropConstant(), Standardize())
DEFAULT_RULE = TargetFalsePositiveRate()


def checked_parameters(detector: Any, spec: Any) -> tuple[Any, tuple[PreprocessingStep, ...], ThresholdRule]:
    """The spec of the model, the steps and the rule, with their defaults; scikit-learn leaves such checks to `fit`.

    Raises:
        InputError: naming the first parameter that is wrong, its value and what was expected.
    """
    if not isinstance(detector.columns, ColumnsSpec | None):
        raise InputError(f"columns = {detector.columns!r}: expected a ColumnsSpec")
    if columns_spec(detector).missing == "model" and not spec.is_density:
        raise InputError(f"columns.missing = model needs a density, and {spec.kind} is none: expected median")
    for name in ("calibration_fraction", "validation_fraction"):
        fraction = getattr(detector, name)
        if not isinstance(fraction, float | int | np.number) or not 0 <= fraction < 1:
            raise InputError(f"{name} = {fraction!r}: expected a number of at least 0 and less than 1")
    folds = detector.calibration_folds
    if folds is not None and (
        isinstance(folds, bool) or not isinstance(folds, int | np.integer) or folds < 0 or folds == 1
    ):
        raise InputError(f"calibration_folds = {folds!r}: expected None, 0 or a whole number of at least 2")
    steps = DEFAULT_STEPS if detector.preprocessing is None else tuple(detector.preprocessing)
    for step in steps:
        if not isinstance(step, Step):
            raise InputError(f"preprocessing holds {step!r}: expected steps such as Standardize()")
    train = detector.train
    if not isinstance(train, FitSpec | None):
        raise InputError(f"train = {train!r}: expected a FitSpec")
    if spec.fits_itself:
        for name, nothing in (("train", None), ("checkpoints", None), ("callbacks", ()), ("devices", 1)):
            value = getattr(detector, name)
            if value != nothing:
                raise InputError(f"{name} = {value!r:.80}: {spec.kind} fits itself, at once, expected {nothing!r}")
    return spec, steps, checked_rule(DEFAULT_RULE if detector.threshold is None else detector.threshold)


def columns_spec(detector: Any) -> ColumnsSpec:
    """Return the detector's spec of the columns, by default one that infers all."""
    return ColumnsSpec() if detector.columns is None else detector.columns


def default_spec(detector: Any, name: str) -> Spec | None:
    """The spec that a parameter stands for that is None; None if it stands for none."""
    if name == "model":
        return detector._model_spec()
    if name == "train":
        return COMMITTEE_FIT if isinstance(detector._model_spec(), CommitteeSpec) else FitSpec()
    return {"columns": ColumnsSpec(), "threshold": DEFAULT_RULE}.get(name)


def checked_rule(rule: Any) -> ThresholdRule:
    """The rule; raises `InputError` if it is none."""
    if not isinstance(rule, ThresholdRule):
        raise InputError(f"threshold = {rule!r}: expected a rule such as Percentile(percentile=95)")
    return rule


def require_rows(
    n: int, calibration_fraction: float, calibration_folds: int | None, validation_fraction: float
) -> None:
    """Check that n normal rows are enough for all that is to be done with some of them.

    Raises:
        InputError: naming the tasks.
    """
    folds = calibration_folds or 0
    parts = {
        "fit": 1.0,
        "calibrate": calibration_fraction or folds,
        "choose the best epoch": validation_fraction,
    }
    tasks = [task for task, fraction in parts.items() if fraction]
    least = max(2, len(tasks))
    # Each fold leaves ceil(n / folds) rows out, and has to learn and to choose the epoch from the others.
    while folds and least - -(-least // folds) < len(tasks) - 1:
        least += 1
    if n < least:
        raise InputError(f"n_samples = {n}: expected at least {least} normal rows, to {' and to '.join(tasks)}")
    if folds > n:
        raise InputError(f"calibration_folds = {folds}: expected at most one for each of {counted(n, 'normal row')}")


def require_fold_rows(n: int, folds: int) -> None:
    """Check that each fold of n rows leaves two rows at least to learn from.

    Raises:
        InputError: if one alone is left, of which no spread can be told.
    """
    least = 3
    while folds and least - -(-least // folds) < 2:
        least += 1
    if folds and n < least:
        raise InputError(
            f"n_samples = {n}: expected at least {least} normal rows, so that each of {folds} folds leaves two to "
            "learn from"
        )
