import numpy as np
import pytest

from jaxflow.data import Frame, Split
from jaxflow.detection import GaussianDetector
from jaxflow.detection.scoring.table_encoder import NEVER_SEEN
from jaxflow.experiment.comparison import examples, flagged_by_kind, reasons_of_examples, without_never_seen
from jaxflow.experiment.run import Run, score_run

NAMES, TEXTS = ("speed", "tool"), {"tool": ("axe", "saw", "spade")}
FAMILY = np.array(["none", "fast", "fast", "fast", "fast", "fast", "odd", "none"])
SORT = np.array(["none", "up", "up", "up", "down", "down", "spade", "none"])
Y = (FAMILY != "none").astype(np.int64)
SPEED = np.array([0.0, 9.0, 7.0, 0.1, -6.0, 8.0, 0.0, 5.0])
TOOL = np.array([0.0, 0, 1, 0, 0, 0, 2, 1])


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    x_train = np.stack([rng.normal(size=400), rng.integers(2, size=400)], axis=1).astype(np.float64)
    x_test = np.stack([SPEED, TOOL], axis=1)
    kinds = {"family": FAMILY, "sort": SORT}
    return Split("made", x_train, x_test, Y, NAMES, np.arange(400), np.arange(400, 400 + len(x_test)), TEXTS, kinds)


@pytest.fixture(scope="module")
def runs(split):
    found = {}
    for name in ("one", "other"):
        detector = GaussianDetector(calibration_fraction=0.25 if name == "one" else 0.5).fit(split.train)
        found[name] = score_run(detector, split.test, split.y_test, n_train=400)
    return found


def test_the_share_of_each_kind_that_is_flagged(split):
    flagged = {"a": np.arange(8) < 4, "b": np.arange(8) == 6}
    (heading, header, lines), (_, _, sorts) = flagged_by_kind(split, flagged)
    assert heading == "Share of the test rows that is flagged, by family"
    assert header == ("family", "rows", "a", "b")
    assert lines == [("fast", 5, 0.6, 0.0), ("none", 2, 0.5, 0.0), ("odd", 1, 0.0, 1.0)]
    assert ("up", 3, 1.0, 0.0) in sorts


def scored(run: Run, scores: list[float]) -> Run:
    return Run(run.detector, run.x, run.y, np.array(scores, np.float64), run.metrics, None, 0.0, run.n_train)


def test_the_example_is_the_median_of_the_most_frequent_sort_that_most_detectors_flag(split, runs):
    high = runs["one"].detector.threshold_ + 1
    one = scored(runs["one"], [0, high + 3, high + 2, 0, high, high + 4, 0, 0])
    # Rows 1, 2, 4 and 5 are flagged by one, rows 1, 4 and 5 by both: two of them are down, and 4 is the lower.
    other = scored(runs["other"], [0, 100, 0, 0, 100, 100, 0, 100])
    assert examples(split, {"one": one, "other": other}) == {"fast": 4, "odd": 6}
    # By one alone rows 1, 2, 4 and 5 are flagged, as many of either sort, and down comes first.
    assert examples(split, {"one": one}) == {"fast": 4, "odd": 6}
    # Where none is flagged, all rows count: of the three that are up the median.
    assert examples(split, {"one": scored(runs["one"], [0, -1, -3, -2, 0, 0, 0, 0])}) == {"fast": 3, "odd": 6}


def test_what_is_explained_names_the_column_and_the_text_that_was_never_seen(split, runs):
    tables = reasons_of_examples(split, runs)
    headings = [heading for heading, _, _ in tables]
    assert headings == ["Test row 5: family fast, sort down", "Test row 7: family odd, sort spade"]
    for line, name in zip(tables[0][2], runs, strict=True):
        assert line[0] == name
        assert line[1] == runs[name].scores[4]
        assert line[3] == "yes"
        assert str(line[4]).startswith("speed = -6 (normal: -")
    assert [line[4] for line in tables[1][2]] == ["tool = spade (never seen)"] * 2
    assert all(len(line) == len(header) for _, header, lines in tables for line in lines)


def test_figures_without_the_rule_for_values_never_seen(split, runs):
    ((_, header, lines),) = without_never_seen(split, runs)
    assert len(header) == len(lines[0])
    name, normal, anomalies, roc_auc, *_, recall, rate = lines[0]
    run = runs["one"]
    assert (name, normal, anomalies) == ("one", 0.0, 1 / 6)
    assert run.scores[6] > NEVER_SEEN / 2
    assert recall == pytest.approx(run.metrics.recall - 1 / 6)
    assert roc_auc < run.metrics.roc_auc
    assert rate == run.metrics.false_positive_rate


def test_there_is_nothing_to_say_of_rows_of_which_nothing_is_known(split, runs):
    plain = Split("made", split.x_train, split.x_test[:3], Y[:3], NAMES, split.train_rows, split.test_rows[:3], TEXTS)
    few = {"one": score_run(runs["one"].detector, plain.test, plain.y_test, n_train=400)}
    assert flagged_by_kind(plain, {"one": np.ones(3, bool)}) == []
    assert reasons_of_examples(plain, few) == []
    assert without_never_seen(plain, few) == []
    assert isinstance(plain.test, Frame)
