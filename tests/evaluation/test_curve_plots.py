import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from jaxflow.errors import InputError
from jaxflow.evaluation.curve_plots import (
    plot_precision_recall,
    plot_precision_recall_comparison,
    plot_roc,
    plot_roc_comparison,
)

HAND = np.array([0, 0, 1, 0, 1]), np.array([0.1, 0.4, 0.35, 0.2, 0.8])


def _points(line):
    return np.asarray(line.get_xydata(), float)


def _legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_roc_goes_through_the_hand_computed_points(assert_legible):
    figure = plot_roc(*HAND)
    assert_legible(figure)
    points = set(map(tuple, np.round(_points(figure.axes[0].lines[0]), 6).tolist()))
    assert {(0, 0), (0, 0.5), (0.333333, 0.5), (0.333333, 1), (1, 1)} <= points
    # Of the 3 x 2 pairs, 0.8 beats three normals and 0.35 beats two.
    assert _legend(figure) == ["ROC-AUC 0.833", "random (0.500)"]


def test_precision_recall_goes_through_the_hand_computed_points(assert_legible):
    figure = plot_precision_recall(*HAND)
    assert_legible(figure)
    line, prevalence = figure.axes[0].lines
    points = set(map(tuple, np.round(_points(line), 6).tolist()))
    assert {(0, 1), (0.5, 1), (0.5, 0.5), (1, 0.666667)} <= points
    assert line.get_drawstyle() == "steps-post"
    assert prevalence.get_ydata() == [0.4, 0.4]
    # Recall steps by 1/2 at precision 1 and by 1/2 at precision 2/3.
    assert _legend(figure) == ["PR-AUC 0.833", "random (prevalence 0.4)"]


def test_the_drawn_steps_enclose_the_area_in_the_legend(overlapping):
    recall, precision = _points(plot_precision_recall(*overlapping).axes[0].lines[0]).T
    # Drawn from right to left, a step keeps the precision it has at its right end.
    area = np.sum(-np.diff(recall) * precision[:-1])
    labels, scores = overlapping
    assert area == pytest.approx(average_precision_score(labels, np.minimum(scores, 1e9)))


def test_infinite_scores_are_the_highest(overlapping):
    labels, scores = overlapping
    expected = roc_auc_score(labels, np.minimum(scores, 1e9))
    assert _legend(plot_roc(labels, scores))[0] == f"ROC-AUC {expected:.3f}"
    x, y = _points(plot_roc(labels, scores).axes[0].lines[0]).T
    assert np.trapezoid(y, x) == pytest.approx(expected)


@pytest.mark.parametrize("plot", [plot_roc_comparison, plot_precision_recall_comparison])
def test_a_comparison_tells_its_detectors_apart(assert_legible, overlapping, plot):
    labels, scores = overlapping
    names = ["masked autoregressive flow", "Gaussian, full", "autoencoder", "5-nearest neighbours", "a", "b", "c", "d"]
    figure = plot({name: (labels, scores * (-1) ** index) for index, name in enumerate(names)})
    assert_legible(figure)
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == len(names) + 1
    texts = _legend(figure)
    assert len(texts) == len(names) + 1
    assert texts[0].startswith("masked autoregressive flow (0.")
    assert texts[0][-6:] != texts[1][-6:]
    assert figure.legends[0].get_title().get_text() in ("detector (ROC-AUC)", "detector (PR-AUC)")


def test_a_long_name_is_not_cut(assert_legible, overlapping):
    names = [f"masked autoregressive flow, {layers} layers, hidden 256-256-256" for layers in (2, 4, 8, 16)]
    curves: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in names:
        curves[name] = overlapping
    assert_legible(plot_roc_comparison(curves))


def test_each_prevalence_is_drawn_once():
    other = np.array([0, 1]), np.array([0.0, 1.0])
    figure = plot_precision_recall_comparison({"a": HAND, "b": HAND, "c": other})
    assert _legend(figure)[3:] == ["random (prevalence 0.4)", "random (prevalence 0.5)"]


def test_refusals():
    with pytest.raises(InputError, match=r"^0 of 3 rows are anomalies: a curve needs rows of both classes"):
        plot_roc(np.zeros(3, int), np.arange(3.0))
    with pytest.raises(InputError, match=r"^flow: 3 of 3 rows are anomalies"):
        plot_precision_recall_comparison({"flow": (np.ones(3, int), np.arange(3.0))})
    with pytest.raises(InputError, match=r"^flow: 1 of 2 scores are NaN"):
        plot_roc_comparison({"flow": (np.array([0, 1]), np.array([np.nan, 1.0]))})
    with pytest.raises(InputError, match="no curves to draw"):
        plot_roc_comparison({})
