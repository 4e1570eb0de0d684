import math

import numpy as np
import pytest

from jaxflow.config.spec import parse_spec
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
    ThresholdRule,
)
from jaxflow.errors import InputError

LABELLED = [BestF1(), TargetPrecision(precision=0.7), TargetRecall(recall=0.6)]
RULES = [
    *LABELLED,
    Percentile(),
    TargetFalsePositiveRate(rate=0.2, beyond="largest"),
    PeaksOverThreshold(rate=0.01, tail=0.2),
    MedianAbsoluteDeviation(factor=2.0),
    InterquartileRange(factor=3.0),
]
INF = math.inf


def scores_of(*values):
    return np.array(values, float)


@pytest.mark.parametrize("rule", [*RULES, GivenThreshold(value=1.5)], ids=lambda rule: rule.kind)
def test_rules_come_back_from_plain_values(rule):
    assert isinstance(rule, ThresholdRule)
    assert parse_spec(AnyThresholdRule, rule.model_dump(mode="json"), "here") == rule
    assert rule.needs_labels == (rule in LABELLED)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_the_order_of_the_scores_does_not_matter(rule):
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=200), rng.integers(0, 2, 200)
    order = rng.permutation(200)
    derived = rule.derive(scores, labels)
    assert derived == rule.derive(scores[order], labels[order])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
@pytest.mark.parametrize(
    ("scores", "labels", "sentence"),
    [
        ([], [], "scores have shape (0,), expected one score a row and at least one row"),
        ([[1.0]], [0], "scores have shape (1, 1), expected one score a row and at least one row"),
        ([1.0, math.nan, 2.0], [0, 1, 0], "1 of 3 scores are NaN, the first in row 2"),
    ],
)
def test_scores_that_no_rule_can_use(rule, scores, labels, sentence):
    with pytest.raises(InputError) as error:
        rule.threshold(np.array(scores, float), np.array(labels, int))
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("rule", "labels", "sentence"),
    [
        (BestF1(), None, "best_f1 needs labels: give it a labelled validation set"),
        (TargetRecall(), None, "target_recall needs labels: give it a labelled validation set"),
        (TargetPrecision(), [1, 1, 1], "target_precision needs normal rows and anomalies, and all 3 labels are 1"),
        (BestF1(), [0, 0, 0], "best_f1 needs normal rows and anomalies, and all 3 labels are 0"),
        (BestF1(), [1, 1, 1], "best_f1 needs normal rows and anomalies, and all 3 labels are 1"),
        (BestF1(), [0, 1], "labels have shape (2,), expected one label for each of 3 rows"),
        (BestF1(), [[0, 1, 1]], "labels have shape (1, 3), expected one label for each of 3 rows"),
        (BestF1(), [0, 2, 1], "label = 2 in row 2, expected 0 for normal or 1 for anomaly"),
        (BestF1(), [0, 1, -1], "label = -1 in row 3, expected 0 for normal or 1 for anomaly"),
        (BestF1(), [0, math.nan, 1], "label = nan in row 2, expected 0 for normal or 1 for anomaly"),
        (BestF1(), ["0", "1", "1"], "label = '0' in row 1, expected 0 for normal or 1 for anomaly"),
        (
            TargetFalsePositiveRate(),
            [1, 1, 1],
            "target_fpr needs scores of normal rows, and none of the 3 labels is 0",
        ),
        (MedianAbsoluteDeviation(), [1, 1, 1], "mad needs scores of normal rows, and none of the 3 labels is 0"),
        (TargetFalsePositiveRate(), [0, 3, 1], "label = 3 in row 2, expected 0 for normal or 1 for anomaly"),
    ],
)
def test_labels_that_no_rule_can_use(rule, labels, sentence):
    with pytest.raises(InputError) as error:
        rule.threshold(scores_of(1, 2, 3), None if labels is None else np.array(labels))
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"kind": "percentile", "percentile": 101}, "less than or equal to 100"),
        ({"kind": "percentile", "percentile": -1}, "greater than or equal to 0"),
        ({"kind": "target_fpr", "rate": 0}, "greater than 0"),
        ({"kind": "target_fpr", "rate": 1}, "less than 1"),
        ({"kind": "target_fpr", "beyond": "infinity"}, "expected 'tail' or 'largest'"),
        ({"kind": "pot", "rate": 0.1}, "expected more than rate = 0.1"),
        ({"kind": "target_precision", "precision": 0}, "greater than 0"),
        ({"kind": "target_recall", "recall": 1.1}, "less than or equal to 1"),
        ({"kind": "mad", "factor": 0}, "greater than 0"),
        ({"kind": "given"}, "value is missing"),
        ({"kind": "given", "value": INF}, "expected a finite number"),
        ({"kind": "best_f2"}, "expected one of"),
        ({"kind": "best_f1", "rate": 0.1}, "unknown key rate"),
    ],
)
def test_rules_refuse_what_is_out_of_range(values, sentence):
    with pytest.raises(InputError, match=sentence):
        parse_spec(AnyThresholdRule, values, "here")
