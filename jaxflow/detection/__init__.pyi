"""From a score to a decision: detectors, thresholds, saving."""

from .calibration.conformal import benjamini_hochberg
from .calibration.contamination import Contamination, ContaminationWarning, contamination_estimate
from .detector import Detector
from .detectors import AnomalyDetector, AutoencoderDetector, FlowDetector, GaussianDetector, load
from .doubts.doubtful_fit import DoubtfulFit
from .explain.counterfactual import Counterfactual
from .explain.explanation import Explanation, Reason
from .fit_alike import fit_alike
from .thresholds.any_rule import (
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
from .thresholds.spot import DriftSpot, Spot

__all__ = [
    "AnomalyDetector",
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
    "fit_alike",
    "load",
]
