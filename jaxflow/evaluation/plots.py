"""Figures of a fit and of a decision: the loss, the scores and their threshold, the confusion matrix."""

from typing import SupportsFloat

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from jaxflow.errors import InputError
from jaxflow.evaluation.figure_style import (
    ANOMALY_COLOR,
    NORMAL_COLOR,
    REFERENCE_COLOR,
    THRESHOLD_COLOR,
    TITLE_FONT,
    add_legend,
    new_axes,
    styled,
)
from jaxflow.evaluation.metrics import Metrics, checked_labels_and_scores, checked_scores
from jaxflow.evaluation.score_axis import ScoreAxis, score_axis
from jaxflow.evaluation.tables import format_number

N_BINS = 50
# With fewer epochs than this each one gets a marker, so that even a single one shows.
MARKED_EPOCHS = 30
# A loss that starts this many times higher than it mostly is would press the rest of the curve flat.
STEEP_START = 5.0


@styled
def plot_loss(
    epochs: Shaped[ArrayLike, "n"],
    train_loss: Shaped[ArrayLike, "n_train"],
    valid_loss: Shaped[ArrayLike, "n_valid"] | None,
    *,
    best_epoch: int | None = None,
    unit: str = "nats",
) -> Figure:
    """Training and validation loss against the epoch.

    Where the first epochs lie far above all others they are cut off, and the figure says so.

    Args:
        epochs: the number of each epoch, increasing.
        train_loss: mean loss over each epoch.
        valid_loss: loss on held-out rows after each epoch, NaN where it was not computed; None if there are none.
        best_epoch: the epoch whose parameters were kept, marked by a vertical line.
        unit: of the loss.

    Raises:
        InputError: when there is no epoch, the lengths differ, or the best epoch is not among the epochs.
    """
    x = np.asarray(epochs)
    curves = {"training": np.asarray(train_loss, np.float64)}
    if valid_loss is not None:
        curves["validation"] = np.asarray(valid_loss, np.float64)
    for name, losses in curves.items():
        if losses.shape != x.shape or x.ndim != 1 or x.size == 0:
            raise InputError(
                f"{name} loss has shape {losses.shape} for epochs of shape {x.shape}: expected one number an epoch"
            )
    if best_epoch is not None and best_epoch not in x.tolist():
        raise InputError(f"best_epoch = {best_epoch}: expected one of the epochs {x[0]} to {x[-1]}")

    finite = {name: np.isfinite(losses) for name, losses in curves.items()}
    drawn_losses = np.concatenate([losses[finite[name]] for name, losses in curves.items()])
    limits = _loss_limits(drawn_losses)
    notes = []
    if limits is not None:
        notes.append(f"losses up to {format_number(float(np.max(drawn_losses)))} are cut off")
    if not np.all(finite["training"]):
        notes.append(f"{np.sum(~finite['training'])} epochs without a finite training loss are not drawn")
    figure, axes = new_axes("Loss during training", "epoch", f"loss ({unit})", notes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for (name, losses), color, line_style in zip(
        curves.items(), (NORMAL_COLOR, ANOMALY_COLOR), ("-", "--"), strict=False
    ):
        drawn = finite[name]
        marker = "o" if np.sum(drawn) <= MARKED_EPOCHS else None
        axes.plot(x[drawn], losses[drawn], color=color, linestyle=line_style, marker=marker, markersize=4, label=name)
    if best_epoch is not None:
        axes.axvline(best_epoch, color=REFERENCE_COLOR, linestyle=":", label=f"best epoch ({best_epoch})")
    if limits is not None:
        axes.set_ylim(*limits)
    if x.size == 1:
        axes.set_xlim(x[0] - 1, x[0] + 1)
    add_legend(figure, columns=3)
    return figure


def _loss_limits(losses: Float[np.ndarray, "n"]) -> tuple[float, float] | None:
    """Lower and upper end of an axis that cuts off a steep start, or None when nothing needs cutting."""
    if losses.size < 10:
        return None
    low, usual, high = (float(value) for value in np.quantile(losses, [0.0, 0.9, 1.0]))
    if high - low <= STEEP_START * (usual - low) or usual == low:
        return None
    return low - 0.05 * (usual - low), usual + 0.5 * (usual - low)


@styled
def plot_score_histogram(
    scores: Shaped[ArrayLike, "n"],
    labels: Shaped[ArrayLike, "n_labels"] | None,
    threshold: SupportsFloat,
    *,
    unit: str | None = None,
) -> Figure:
    """Distribution of the scores of normal and anomalous rows, with the threshold.

    Each class adds up to 1, so that a few anomalies show beside many normal rows. The axis is linear where the scores
    allow it and otherwise linear around the normal rows and logarithmic far from them (see
    `jaxflow.evaluation.score_axis`); scores beyond it, infinite ones included, are counted in a hatched bar at its end.

    Args:
        scores: higher = more anomalous; infinite scores are legal.
        labels: 0 (normal) or 1 (anomaly); None if the truth is not known.
        threshold: scores above it are flagged; an infinite one is mentioned instead of drawn.
        unit: of the score.

    Raises:
        InputError: for NaN scores, labels other than 0 and 1, lengths that differ, and a NaN threshold.
    """
    threshold = float(threshold)
    if np.isnan(threshold):
        raise InputError("threshold is NaN: expected a number in units of the score")
    if labels is None:
        groups = {"": (checked_scores(scores), NORMAL_COLOR)}
    else:
        truth, values = checked_labels_and_scores(labels, scores)
        groups = {"normal": (values[truth == 0], NORMAL_COLOR), "anomaly": (values[truth == 1], ANOMALY_COLOR)}
    axis = score_axis([values for values, _ in groups.values()], threshold)
    notes = _overflow_notes(axis, np.concatenate([values for values, _ in groups.values()]))
    if np.isinf(threshold):
        notes.append(f"the threshold is {'plus' if threshold > 0 else 'minus'} infinity")
    figure, axes = new_axes(
        "Anomaly scores",
        "anomaly score" + (f" ({unit})" if unit else "") + ("" if axis.linear else ", logarithmic far from the bulk"),
        "share of rows" if labels is None else "share of rows of the class",
        notes,
    )
    axis.apply(axes)
    edges = axis.edges(N_BINS)
    handles: list = []
    ends = [axis.low, axis.high]
    for name, (values, color) in groups.items():
        if not values.size:
            continue
        heights = np.histogram(values, edges)[0] / values.size
        axes.stairs(heights, edges, fill=True, color=color, alpha=0.4)
        axes.stairs(heights, edges, color=color, linewidth=1.2)
        for side, share in ((-1, np.mean(values < axis.low)), (1, np.mean(values > axis.high))):
            if share > 0:
                left, right = axis.overflow(side)
                ends += [left, right]
                axes.bar(left, share, right - left, align="edge", facecolor=(color, 0.4), edgecolor=color, hatch="////")
        rows = f"{values.size:,} row{'s' * (values.size != 1)}"
        label = f"{name} ({rows})" if name else rows
        handles.append(Patch(facecolor=(color, 0.4), edgecolor=color, label=label))
    if np.isfinite(threshold):
        handles.append(
            axes.axvline(
                threshold, color=THRESHOLD_COLOR, linestyle="--", label=f"threshold ({format_number(threshold)})"
            )
        )
    axes.set_xlim(min(ends), max(ends))
    add_legend(figure, handles, columns=3)
    return figure


def _overflow_notes(axis: ScoreAxis, scores: Float[np.ndarray, "n"]) -> list[str]:
    notes = []
    for beyond, word, end in ((scores < axis.low, "below", axis.low), (scores > axis.high, "above", axis.high)):
        count, infinite = int(np.sum(beyond)), int(np.sum(np.isinf(scores[beyond])))
        infinity = "infinity" if word == "above" else "minus infinity"
        if count and count == infinite:
            notes.append(f"hatched: {count:,} at {infinity}")
        elif count:
            notes.append(
                f"hatched: {count:,} {word} {format_number(end)}"
                + (f", {infinite:,} of them at {infinity}" * bool(infinite))
            )
    return notes


@styled
def plot_confusion(metrics: Metrics) -> Figure:
    """Confusion matrix at the metrics' threshold: counts, and the share of each true class in percent."""
    counts = np.array(
        [
            [metrics.true_negatives, metrics.false_positives],
            [metrics.false_negatives, metrics.true_positives],
        ]
    )
    totals = counts.sum(axis=1, keepdims=True)
    percent = 100 * counts / np.maximum(totals, 1)
    figure, axes = new_axes(f"Confusion matrix at threshold {format_number(metrics.threshold)}", "decision", "truth")
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    names = ["normal", "anomaly"]
    axes.set_xticks([0, 1], names)
    axes.set_yticks([0, 1], names, rotation=90, va="center")
    axes.tick_params(length=0)
    axes.spines[:].set(visible=True, color="#BBBBBB")
    for row in range(2):
        for column in range(2):
            share = f"{percent[row, column]:.1f} %" if totals[row, 0] else "no such rows"
            axes.text(
                column,
                row,
                f"{counts[row, column]:,}\n{share}",
                ha="center",
                va="center",
                fontsize=TITLE_FONT,
                # Half of the colour map is too dark for black letters.
                color="white" if percent[row, column] > 55 else "black",
            )
    figure.colorbar(image, ax=axes, label="share of the rows of the true class (%)")
    return figure
