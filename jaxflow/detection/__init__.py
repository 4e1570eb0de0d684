"""From a score to a decision: detectors, thresholds, saving."""

from jaxflow.detection.calibration.conformal import benjamini_hochberg
from jaxflow.detection.calibration.contamination import Contamination, ContaminationWarning, contamination_estimate
from jaxflow.detection.detector import Detector
from jaxflow.detection.detectors import AutoencoderDetector, FlowDetector, GaussianDetector, load
from jaxflow.detection.doubts.doubtful_fit import DoubtfulFit
from jaxflow.detection.explain.counterfactual import Counterfactual
from jaxflow.detection.explain.explanation import Explanation, Reason
from jaxflow.detection.thresholds.any_rule import (
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
from jaxflow.detection.thresholds.spot import DriftSpot, Spot

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
