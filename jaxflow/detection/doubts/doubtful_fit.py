"""Warnings of fits of which little use can be made."""

from typing import Any

import numpy as np

from jaxflow.detection.scoring.table_encoder import NEVER_SEEN
from jaxflow.detection.thresholds.any_rule import GivenThreshold
from jaxflow.models.model import Density

USUAL_SHARE = 1e-3  # of a threshold out of reach, that most scores lie below


class DoubtfulFit(UserWarning):
    """A detector was fitted, but its answers may be worth little; the one sentence says why and what can be done.

    >>> with pytest.warns(DoubtfulFit, match="few for 30 features"):
    ...     detector = GaussianDetector().fit(np.random.default_rng(0).normal(size=(40, 30)))
    """


def out_of_reach(detector: Any) -> str | None:
    """A sentence about a threshold that rows reach by a value that was never seen, or not at all.

    More rows that calibrate than may be flagged then have something that the model did not learn from, such as a
    category of its own each, and the threshold lies among their scores.
    """
    scores, threshold = detector.calibration_scores_, detector.threshold_
    if isinstance(detector.threshold_rule_, GivenThreshold) or not NEVER_SEEN / 2 <= threshold < np.inf:
        return None
    # A density is never as low, but the unit of an error may make all errors large.
    if not isinstance(detector.model_, Density) and np.median(scores) > USUAL_SHARE * threshold:
        return None
    count = int(np.sum(scores >= NEVER_SEEN / 2))
    return (
        f"the threshold is {threshold:.3g}, which hardly a row reaches: {count:,} of the {len(scores):,} calibration "
        "scores are about as high, as these rows have values or combinations that no row has from which their model "
        "learned; leave out columns in which most values are rare, or take more rows"
    )
