"""ROC and precision-recall curves, of one detector or of several side by side."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from jaxflow.errors import InputError
from jaxflow.evaluation.figure_style import (
    CURVE_COLORS,
    CURVE_LINE_STYLES,
    REFERENCE_COLOR,
    add_legend,
    new_axes,
    styled,
)
from jaxflow.evaluation.metrics import checked_labels_and_scores, score_ranks

# The longest name that leaves room for a second column in the legend.
TWO_COLUMNS = 28

Curves: TypeAlias = Mapping[str, tuple[Shaped[ArrayLike, "_"], Shaped[ArrayLike, "_"]]]
Ranked: TypeAlias = tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]


def plot_roc(labels: Shaped[ArrayLike, "n"], scores: Shaped[ArrayLike, "n_scores"]) -> Figure:
    """ROC curve of one detector: true-positive rate against false-positive rate over all thresholds.

    Args:
        labels: 0 (normal) or 1 (anomaly).
        scores: higher = more anomalous; infinite scores are legal.

    Raises:
        InputError: for what `evaluate_scores` refuses, and unless both classes are present.
    """
    return plot_roc_comparison({"": (labels, scores)})


def plot_precision_recall(labels: Shaped[ArrayLike, "n"], scores: Shaped[ArrayLike, "n_scores"]) -> Figure:
    """Precision-recall curve of one detector, with the prevalence, at which random scores stay.

    Drawn in steps: between two thresholds precision is not linear in recall (Davis and Goadrich 2006, section 4).

    Args:
        labels: 0 (normal) or 1 (anomaly).
        scores: higher = more anomalous; infinite scores are legal.

    Raises:
        InputError: for what `evaluate_scores` refuses, and unless both classes are present.
    """
    return plot_precision_recall_comparison({"": (labels, scores)})


@styled
def plot_roc_comparison(curves: Curves) -> Figure:
    """ROC curves of several detectors in one figure, each with its ROC-AUC.

    Args:
        curves: for each detector's name its labels and scores, as for `plot_roc`.

    Raises:
        InputError: for what `plot_roc` refuses, naming the detector, and when there is no curve.
    """
    figure, axes = new_axes(
        "ROC curve" if len(curves) == 1 else "ROC curves",
        "false-positive rate (share of normal rows)",
        "true-positive rate (share of anomalies)",
    )
    _draw(axes, curves, _roc_points, "ROC-AUC", roc_auc_score, "default")
    axes.plot([0, 1], [0, 1], color=REFERENCE_COLOR, linestyle=":", linewidth=1.2, label="random (0.500)")
    return _finish(figure, axes, curves, "ROC-AUC")


@styled
def plot_precision_recall_comparison(curves: Curves) -> Figure:
    """Precision-recall curves of several detectors in one figure, each with its PR-AUC (average precision).

    Args:
        curves: for each detector's name its labels and scores, as for `plot_precision_recall`.

    Raises:
        InputError: for what `plot_precision_recall` refuses, naming the detector, and when there is no curve.
    """
    figure, axes = new_axes(
        "Precision-recall curve" if len(curves) == 1 else "Precision-recall curves",
        "recall (share of anomalies)",
        "precision (share of flagged rows)",
    )
    truths = _draw(
        axes,
        curves,
        _precision_recall_points,
        "PR-AUC",
        average_precision_score,
        "steps-post",
    )
    # One line, unless the detectors were tested on different rows.
    for prevalence in sorted({float(np.mean(truth)) for truth in truths}):
        axes.axhline(
            prevalence,
            color=REFERENCE_COLOR,
            linestyle=":",
            linewidth=1.2,
            label=f"random (prevalence {prevalence:.3g})",
        )
    return _finish(figure, axes, curves, "PR-AUC")


def _draw(
    axes: Axes,
    curves: Curves,
    points: Callable[..., tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]],
    area_name: str,
    area: Callable[..., float],
    draw_style: str,
) -> list[Int[np.ndarray, "_"]]:
    """Draw each curve with its area in the legend, and return the labels of each."""
    if not curves:
        raise InputError("no curves to draw: expected at least one detector's labels and scores")
    truths = []
    for index, (name, (labels, scores)) in enumerate(curves.items()):
        truth, ranks = _ranked(name, labels, scores)
        x, y = points(truth, ranks)
        value = f"{area(truth, ranks):.3f}"
        axes.plot(
            x,
            y,
            color=CURVE_COLORS[index % len(CURVE_COLORS)],
            linestyle=CURVE_LINE_STYLES[index % len(CURVE_LINE_STYLES)],
            drawstyle=draw_style,
            label=f"{name} ({value})" if name else f"{area_name} {value}",
            # Half outside the axes: a perfect curve runs along their edges.
            clip_on=False,
            zorder=3,
        )
        truths.append(truth)
    return truths


def _ranked(name: str, labels: Shaped[ArrayLike, "n"], scores: Shaped[ArrayLike, "n_scores"]) -> Ranked:
    whose = f"{name}: " if name else ""
    try:
        truth, values = checked_labels_and_scores(labels, scores)
    except InputError as error:
        raise InputError(f"{whose}{error}") from None
    n_anomalies = int(np.sum(truth))
    if not 0 < n_anomalies < truth.size:
        raise InputError(f"{whose}{n_anomalies} of {truth.size} rows are anomalies: a curve needs rows of both classes")
    return truth, score_ranks(values)


def _roc_points(truth: Int[np.ndarray, "n"], ranks: Int[np.ndarray, "n"]):
    false_positive_rate, true_positive_rate, _ = roc_curve(truth, ranks)
    return false_positive_rate, true_positive_rate


def _precision_recall_points(truth: Int[np.ndarray, "n"], ranks: Int[np.ndarray, "n"]):
    precision, recall, _ = precision_recall_curve(truth, ranks, drop_intermediate=True)
    return recall, precision


def _finish(figure: Figure, axes: Axes, curves: Curves, area_name: str) -> Figure:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    title = None if list(curves) == [""] else f"detector ({area_name})"
    add_legend(figure, columns=2 if max(map(len, curves)) <= TWO_COLUMNS else 1, title=title)
    return figure
