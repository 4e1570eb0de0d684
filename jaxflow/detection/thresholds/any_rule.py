"""All threshold rules, and the union of them that configs and saved detectors choose from by `kind`."""

from typing import Annotated

from pydantic import Field

from jaxflow.detection.thresholds.labelled_rules import BestF1, TargetPrecision, TargetRecall
from jaxflow.detection.thresholds.quantile_rules import (
    GivenThreshold,
    PeaksOverThreshold,
    Percentile,
    TargetFalsePositiveRate,
)
from jaxflow.detection.thresholds.rule import Threshold, ThresholdRule, checked_labels, checked_scores
from jaxflow.detection.thresholds.spread_rules import InterquartileRange, MedianAbsoluteDeviation

__all__ = [
    "AnyThresholdRule",
    "BestF1",
    "GivenThreshold",
    "InterquartileRange",
    "MedianAbsoluteDeviation",
    "PeaksOverThreshold",
    "Percentile",
    "TargetFalsePositiveRate",
    "TargetPrecision",
    "TargetRecall",
    "Threshold",
    "ThresholdRule",
    "checked_labels",
    "checked_scores",
]

AnyThresholdRule = Annotated[
    TargetFalsePositiveRate
    | PeaksOverThreshold
    | Percentile
    | BestF1
    | TargetPrecision
    | TargetRecall
    | MedianAbsoluteDeviation
    | InterquartileRange
    | GivenThreshold,
    Field(discriminator="kind"),
]
