import matplotlib
import numpy as np
import pytest
from matplotlib.patches import StepPatch

from jaxflow.errors import InputError
from jaxflow.evaluation.metrics import evaluate_scores
from jaxflow.evaluation.plots import plot_confusion, plot_loss, plot_score_histogram

EPOCHS = np.arange(1, 41)
FALLING = 3.0 + 2.0 * np.exp(-EPOCHS / 10.0)


def _line(figure, start):
    (line,) = [line for line in figure.axes[0].lines if str(line.get_label()).startswith(start)]
    return line


def _legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_loss_draws_both_curves_and_the_best_epoch(assert_legible):
    valid = np.where(EPOCHS % 5 == 0, FALLING + 0.5, np.nan)
    figure = plot_loss(EPOCHS, FALLING, valid, best_epoch=35, unit="nats")
    assert_legible(figure)
    axes = figure.axes[0]
    assert axes.get_ylabel() == "loss (nats)"
    assert _line(figure, "training").get_ydata() == pytest.approx(FALLING)
    assert np.asarray(_line(figure, "validation").get_xdata()).tolist() == EPOCHS[4::5].tolist()
    assert _line(figure, "best epoch").get_xdata() == [35, 35]
    assert _legend(figure) == ["training", "validation", "best epoch (35)"]


def test_loss_of_one_epoch_shows_as_a_marker(assert_legible):
    figure = plot_loss(np.array([1]), np.array([3.0]), None)
    assert_legible(figure)
    assert _line(figure, "training").get_marker() == "o"
    low, high = figure.axes[0].get_xlim()
    assert low < 1 < high


def test_a_steep_start_is_cut_off_and_said_so(assert_legible):
    losses = FALLING.copy()
    losses[:2] = 1e7, 5e3
    figure = plot_loss(EPOCHS, losses, None)
    assert_legible(figure)
    low, high = figure.axes[0].get_ylim()
    assert low < losses.min()
    assert np.quantile(losses, 0.9) < high < 10
    assert any("losses up to 1.000e+07 are cut off" in text.get_text() for text in figure.axes[0].texts)


def test_losses_that_are_not_finite_are_left_out_and_said_so(assert_legible):
    losses = FALLING.copy()
    losses[7:9] = np.inf, np.nan
    figure = plot_loss(EPOCHS, losses, np.full(40, np.nan))
    assert_legible(figure)
    assert np.size(_line(figure, "training").get_xdata()) == 38
    assert any("2 epochs without a finite training loss" in text.get_text() for text in figure.axes[0].texts)


def test_loss_refusals():
    with pytest.raises(InputError, match=r"training loss has shape \(3,\) for epochs of shape \(40,\)"):
        plot_loss(EPOCHS, np.ones(3), None)
    with pytest.raises(InputError, match=r"validation loss has shape \(3,\)"):
        plot_loss(EPOCHS, FALLING, np.ones(3))
    with pytest.raises(InputError, match="expected one number an epoch"):
        plot_loss(np.array([], int), np.array([]), None)
    with pytest.raises(InputError, match="best_epoch = 41: expected one of the epochs 1 to 40"):
        plot_loss(EPOCHS, FALLING, None, best_epoch=41)


@pytest.mark.parametrize("far", [9.0, 1e5, 1e30, np.inf])
def test_histogram_shares_add_up_in_each_class(assert_legible, far):
    rng = np.random.default_rng(0)
    scores = np.r_[rng.normal(0, 1, 1000), rng.normal(6, 1, 30), np.full(10, far)]
    labels = np.r_[np.zeros(1000, int), np.ones(40, int)]
    figure = plot_score_histogram(scores, labels, 3.0, unit="nats")
    assert_legible(figure)
    axes = figure.axes[0]
    filled = [patch.get_data()[0] for patch in axes.patches if isinstance(patch, StepPatch) and patch.get_fill()]
    bars = [bar.get_height() for container in axes.containers for bar in container]
    # Nothing is lost: what has no bin of its own is in the bar at the edge.
    assert filled[0].sum() == pytest.approx(1.0)
    assert filled[1].sum() + sum(bars) == pytest.approx(1.0)
    assert sum(bars) == pytest.approx(0.25 if far > 1e20 else 0.0)
    assert axes.get_xlabel().startswith("anomaly score (nats)")
    # At 1e5 and beyond, a linear axis would press both classes into one bar.
    assert axes.get_xscale() == ("linear" if far in (9.0, np.inf) else "function")
    assert _legend(figure) == ["normal (1,000 rows)", "anomaly (40 rows)", "threshold (3.000)"]


@pytest.mark.parametrize("threshold", [3.0, -2.5, 1e9])
def test_the_threshold_line_is_at_the_threshold(assert_legible, overlapping, threshold):
    figure = plot_score_histogram(overlapping[1], overlapping[0], threshold)
    assert_legible(figure)
    line = _line(figure, "threshold")
    assert line.get_xdata() == [threshold, threshold]
    low, high = figure.axes[0].get_xlim()
    assert low < threshold < high


def test_what_lies_beyond_the_axis_is_said():
    scores = np.r_[np.linspace(0, 1, 100), 1e20, np.inf, np.inf, -np.inf]
    notes = plot_score_histogram(scores, None, 2.0).axes[0].texts[0].get_text().splitlines()
    assert notes[0] == "hatched: 1 at minus infinity"
    assert notes[1].startswith("hatched: 3 above")
    assert notes[1].endswith("2 of them at infinity")


def test_an_infinite_threshold_is_mentioned_instead_of_drawn(assert_legible, overlapping):
    figure = plot_score_histogram(overlapping[1], None, np.inf)
    assert_legible(figure)
    assert "the threshold is plus infinity" in figure.axes[0].texts[0].get_text()
    assert _legend(figure) == ["340 rows"]


@pytest.mark.parametrize("anomalies", [0, 3])
def test_histogram_with_few_or_no_anomalies(assert_legible, anomalies):
    rng = np.random.default_rng(1)
    scores = rng.lognormal(0, 0.5, 284_807)
    labels = np.arange(284_807) < anomalies
    figure = plot_score_histogram(scores, labels, 1234.5678)
    assert_legible(figure)
    assert len(_legend(figure)) == (3 if anomalies else 2)


def test_histogram_refusals():
    with pytest.raises(InputError, match="1 of 2 scores are NaN"):
        plot_score_histogram(np.array([0.0, np.nan]), None, 1.0)
    with pytest.raises(InputError, match="label = 7 in row 1"):
        plot_score_histogram(np.array([0.0, 1.0]), np.array([0, 7]), 1.0)
    with pytest.raises(InputError, match="threshold is NaN"):
        plot_score_histogram(np.array([0.0, 1.0]), None, np.nan)


def test_confusion_shows_counts_and_row_percentages(assert_legible):
    labels = np.r_[np.zeros(1200, int), np.ones(4, int)]
    scores = np.r_[np.zeros(1080), np.ones(120), 0.0, 1.0, 1.0, 1.0]
    figure = plot_confusion(evaluate_scores(labels, scores, 0.5, n_train=1))
    assert_legible(figure, legend=False)
    cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert cells == {(0, 0): "1,080\n90.0 %", (1, 0): "120\n10.0 %", (0, 1): "1\n25.0 %", (1, 1): "3\n75.0 %"}
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["normal", "anomaly"]
    assert figure.axes[0].get_title() == "Confusion matrix at threshold 0.5000"
    # Letters must stand out from the cell: white on the darkest, black on the lightest.
    colors = {text.get_position(): text.get_color() for text in figure.axes[0].texts}
    assert (colors[0, 0], colors[1, 0]) == ("white", "black")


def test_confusion_without_anomalies_has_no_percentage_to_show(assert_legible):
    figure = plot_confusion(evaluate_scores(np.zeros(5, int), np.arange(5.0), 2.5, n_train=1))
    assert_legible(figure, legend=False)
    assert [text.get_text() for text in figure.axes[0].texts][2:] == ["0\nno such rows"] * 2


def test_plotting_leaves_no_trace_in_matplotlib():
    before = dict(matplotlib.rcParams)
    figure = plot_loss(EPOCHS, FALLING, None)
    assert dict(matplotlib.rcParams) == before
    # A figure of pyplot has a manager, which keeps it alive.
    assert figure.canvas.manager is None
