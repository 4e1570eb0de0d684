"""Where a detector's threshold came from, for reports."""

from typing import Any

from jaxflow.detection import Detector, GivenThreshold

SOURCES = {
    "held_out": "held-out ",
    "out_of_fold": "out-of-fold ",
    "training": "training rows' own ",
    "given": "",
}
BRANCHES = {
    "conformal": ", as their conformal quantile",
    "tail": ", extrapolated from their tail",
    "largest": ", as the largest of them",
    None: "",
}


def calibration_facts(detector: Detector) -> dict[str, Any]:
    """Which rule set the threshold, and from what, as values that JSON can express.

    Returns:
        `rule` (its kind) and `options`; `source` ("held_out", "out_of_fold", "training" or "given"); `n_scores` (the
        number of calibration scores the rule took the threshold from, 0 if it was given); `branch` (which way the rule
        went, "conformal", "tail" or "largest"; None of a rule with one way); `warnings`.
    """
    rule: Any = detector.threshold_rule_
    derived = rule.derive(detector.calibration_scores_, detector.calibration_labels_)
    return {
        "rule": rule.kind,
        "options": rule.model_dump(mode="json", exclude={"kind"}),
        "source": detector.calibration_source_,
        "n_scores": derived.scores,
        "branch": derived.branch,
        "warnings": list(derived.doubts),
    }


def threshold_origin(detector: Detector) -> tuple[str, list[str]]:
    """Half a sentence that says where the threshold came from, and what is doubtful about it, a sentence each."""
    facts = calibration_facts(detector)
    if isinstance(detector.threshold_rule_, GivenThreshold):
        return "that threshold was given", []
    options = ", ".join(
        f"{name} = {value if isinstance(value, str) else format(value, 'g')}"
        for name, value in facts["options"].items()
    )
    rule = f"the rule {facts['rule']}" + (f" ({options})" if options else "")
    scores = f"{facts['n_scores']:,} {SOURCES[facts['source']]}calibration scores"
    return f"{rule} took that threshold from {scores}{BRANCHES[facts['branch']]}", facts["warnings"]
