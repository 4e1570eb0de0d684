"""From a score to a decision: detectors, thresholds, saving."""

from jaxflow.detection.attribution import Explanation, Reason
from jaxflow.detection.conformal import benjamini_hochberg
from jaxflow.detection.contamination import Contamination, ContaminationWarning, contamination_estimate
from jaxflow.detection.counterfactual import Counterfactual
from jaxflow.detection.detector import Detector
from jaxflow.detection.detectors import AutoencoderDetector, FlowDetector, GaussianDetector
from jaxflow.detection.doubtful_fit import DoubtfulFit
from jaxflow.detection.saving import load
from jaxflow.detection.streaming_rules import DriftSpot, Spot
from jaxflow.detection.thresholds import (
    AnyThresholdRule,
    BestF1,
    GivenThreshold,
    InterquartileRange,
    MedianAbsoluteDeviation,
    PeaksOverThreshold,
    Percentile,
    TargetFalsePositiveRate,
    TargetPrecision,
    TargetRecall,
    Threshold,
    ThresholdRule,
)

__all__ = [
    "AnyThresholdRule",
    "AutoencoderDetector",
    "BestF1",
    "Contamination",
    "ContaminationWarning",
    "Counterfactual",
    "Detector",
    "DoubtfulFit",
    "DriftSpot",
    "Explanation",
    "FlowDetector",
    "GaussianDetector",
    "GivenThreshold",
    "InterquartileRange",
    "MedianAbsoluteDeviation",
    "PeaksOverThreshold",
    "Percentile",
    "Reason",
    "Spot",
    "TargetFalsePositiveRate",
    "TargetPrecision",
    "TargetRecall",
    "Threshold",
    "ThresholdRule",
    "benjamini_hochberg",
    "contamination_estimate",
    "load",
]
