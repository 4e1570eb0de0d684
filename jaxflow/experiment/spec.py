"""The whole of an experiment: which data, which model, how it is fitted, how it decides."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator

from jaxflow.config.overrides import merge
from jaxflow.config.spec import Spec, parse_spec
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.preprocessing.steps import PreprocessingStep
from jaxflow.data.sets.registry import DataSpec
from jaxflow.data.splits import SplitSpec
from jaxflow.detection import (
    AnyThresholdRule,
    AutoencoderDetector,
    Detector,
    FlowDetector,
    GaussianDetector,
    TargetFalsePositiveRate,
)
from jaxflow.detection.check_parameters import DEFAULT_STEPS
from jaxflow.errors import InputError
from jaxflow.models import AnyModelSpec
from jaxflow.old_names import with_old_keywords
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.monitoring.callbacks import Callback
from jaxflow.training.monitoring.checkpoints import Checkpoints

RESERVED_FOLDERS = frozenset({"model", "figures", "evaluation", "checkpoints", "tensorboard", "profile"})
"""What scripts write beside the variants of an experiment."""


class DetectionSpec(Spec):
    """How scores become decisions."""

    threshold: AnyThresholdRule = Field(
        default=TargetFalsePositiveRate(), description="rule that sets the threshold from the calibration scores"
    )
    calibration_fraction: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="share of the training rows that calibrates the threshold, unseen by the fit",
    )
    calibration_folds: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="calibrate with all training rows instead, each scored by a model that has not seen its fold; "
        "0 for never (default: 5 where calibration_fraction is fewer than 100 rows)",
    )
    validation_fraction: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of the remaining rows that chooses the best epoch (not for Gaussians and pca; default 0.1)",
    )
    labelled_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of the anomalies that chooses the threshold, where the rule needs labels (default 0.2)",
    )

    @field_validator("calibration_folds")
    @classmethod
    def _more_than_one(cls, folds: int | None) -> int | None:
        if folds == 1:
            raise ValueError("expected 0 or at least 2")
        return folds

    @field_validator("labelled_fraction")
    @classmethod
    def _for_rules_that_need_labels(cls, fraction: float | None, info: Any) -> float | None:
        rule = info.data.get("threshold")
        if fraction is not None and rule is not None and not rule.needs_labels:
            raise ValueError(f"expected no value, as {rule.kind} needs no labels")
        return fraction


class Experiment(Spec):
    """One run of `scripts/train.py`, or several that differ in a few keys."""

    title: str | None = Field(default=None, description="heading of the report (default: the name of the config)")
    seed: int = Field(default=0, ge=0, lt=2**31, description="seed of made data, splits, initial weights and fit")
    data: DataSpec = Field(description="the data set")
    split: SplitSpec = Field(default=SplitSpec(), description="which rows are for training and which for the test")
    columns: ColumnsSpec = Field(
        default=ColumnsSpec(), description="what the columns hold, and which are the context of the others"
    )
    preprocessing: tuple[PreprocessingStep, ...] = Field(
        default=DEFAULT_STEPS, description="steps before the model, each with a kind"
    )
    model: AnyModelSpec = Field(description="the model")
    train: FitSpec | None = Field(default=None, description="how the model is fitted (not for Gaussians and pca)")
    detection: DetectionSpec = Field(default=DetectionSpec(), description="how scores become decisions")
    variants: dict[str, dict[str, Any]] = Field(
        default={}, description="further runs by name, each a mapping of dotted keys to the values that differ"
    )

    @field_validator("train")
    @classmethod
    def _not_for_models_that_fit_themselves(cls, train: FitSpec | None, info: Any) -> FitSpec | None:
        model = info.data.get("model")
        if train is not None and model is not None and model.fits_itself:
            raise ValueError(
                f"expected no section train, as {model.kind} fits itself (on the command line: --train null)"
            )
        return train

    @field_validator("detection")
    @classmethod
    def _what_the_rest_allows(cls, detection: DetectionSpec, info: Any) -> DetectionSpec:
        model, split = info.data.get("model"), info.data.get("split")
        if detection.validation_fraction is not None and model is not None and model.fits_itself:
            raise ValueError(f"expected no validation_fraction, as {model.kind} fits itself")
        rule = detection.threshold
        if rule.needs_labels and split is not None and split.protocol != "normal_only":
            why = "sees no labels" if split.protocol == "unsupervised" else "leaves no anomalies to choose it by"
            raise ValueError(f"expected another threshold than {rule.kind}, as protocol {split.protocol} {why}")
        return detection

    @field_validator("variants")
    @classmethod
    def _plain_names(cls, variants: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, changes in variants.items():
            if not name.replace("_", "").replace("-", "").isalnum():
                raise ValueError(f"the name {name!r} must consist of letters, digits, - and _: it names a folder")
            if name.lower() in RESERVED_FOLDERS:
                raise ValueError(f"the name {name!r} is taken: the results of every run have a folder of that name")
            if any(key.partition(".")[0] == "variants" for key in changes):
                raise ValueError(f"the variant {name} cannot have variants of its own")
        return variants

    def variant(self, name: str, source: str) -> "Experiment":
        """The experiment with the changes of one of its variants.

        Raises:
            InputError: if a changed key is unknown or its value wrong; the message opens with `source`.
        """
        base = self.model_dump(mode="json", exclude={"variants"}, exclude_unset=True)
        return parse_spec(Experiment, merge(base, self.variants[name], Experiment), f"{source}: variant {name}")

    @property
    def fits_itself(self) -> bool:
        """Whether the model computes its own fit, at once and without gradient steps."""
        return self.model.fits_itself

    @with_old_keywords(watchers="callbacks")
    def detector(
        self,
        *,
        progress: bool = False,
        devices: int = 1,
        checkpoints: Checkpoints | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Detector:
        """The detector this experiment fits, not fitted yet.

        A model that fits itself does so at once: there is no progress to show and nothing to save on the way.

        Raises:
            InputError: if a model that fits itself is to be fitted on other than one device, or watched.
        """
        common: dict[str, Any] = {
            "columns": None if self.columns == ColumnsSpec() else self.columns,
            "preprocessing": self.preprocessing,
            "threshold": self.detection.threshold,
            "calibration_fraction": self.detection.calibration_fraction,
            "calibration_folds": self.detection.calibration_folds,
            "random_state": self.seed,
        }
        if self.fits_itself:
            if callbacks:
                raise InputError(f"a {self.model.kind} fits itself, at once: there are no epochs to watch")
            if devices != 1:
                raise InputError(f"devices = {devices}: a {self.model.kind} fits itself, on one device")
            return GaussianDetector(self.model, **common)
        common |= {"train": self.train, "progress": progress, "devices": devices}
        common |= {"checkpoints": checkpoints, "callbacks": callbacks}
        if self.detection.validation_fraction is not None:
            common["validation_fraction"] = self.detection.validation_fraction
        if not self.model.is_density:
            return AutoencoderDetector(self.model, **common)
        return FlowDetector(self.model, **common)
