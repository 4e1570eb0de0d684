"""What a run leaves behind: metrics, figures and a report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxflow.atomic_write import write_json
from jaxflow.evaluation.curve_plots import plot_precision_recall, plot_roc
from jaxflow.evaluation.density_plots import plot_density_2d
from jaxflow.evaluation.figure_style import save_figure
from jaxflow.evaluation.plots import plot_confusion, plot_loss, plot_score_histogram
from jaxflow.evaluation.report import write_report
from jaxflow.evaluation.run import Run
from jaxflow.evaluation.tables import Cell, metrics_table
from jaxflow.models import Density

FigureEntry = tuple[str, str, str]
TableEntry = tuple[str, Sequence[str], Sequence[Sequence[Cell]]]


def write_run(
    run: Run,
    out: Path,
    *,
    title: str,
    provenance: Mapping[str, Any],
    figures: Sequence[FigureEntry] = (),
    tables: Sequence[TableEntry] = (),
) -> None:
    """Write `metrics.json`, `history.csv` (if the run fitted), `figures/*.png`, `provenance.json` and `report.md`.

    Args:
        run: what happened.
        out: the directory; made if missing, files of the same name are replaced.
        title: heading of the report.
        provenance: how the run was made.
        figures: more figures for the report, as `write_report` takes them; they are already there.
        tables: more tables for the report.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_json(run_metrics(run), out / "metrics.json")
    write_json(dict(provenance), out / "provenance.json")
    if run.detector.history_.rows:
        run.detector.history_.write_csv(out / "history.csv")
    write_report(
        out / "report.md",
        title=title,
        summary=_summary(run),
        tables=[*_tables(run), *tables],
        figures=[*_write_figures(run, out), *figures],
        provenance=provenance,
    )


def run_metrics(run: Run) -> dict[str, Any]:
    """The contents of `metrics.json`; what needs labels is null where there are none."""
    if run.metrics is not None:
        values = run.metrics.to_dict()
    else:
        needs_labels = ("roc_auc", "pr_auc", "prevalence", "precision", "recall", "f1", "false_positive_rate")
        values = dict.fromkeys(needs_labels) | {
            "threshold": float(run.detector.threshold_) if np.isfinite(run.detector.threshold_) else None,
            "n_train": run.n_train,
            "n_test": len(run.scores),
        }
    flagged = int(np.sum(run.scores > run.detector.threshold_))
    return values | {"n_flagged": flagged, "fit_seconds": run.fit_seconds, "score_seconds": run.score_seconds}


def _summary(run: Run) -> str:
    detector = run.detector
    rule = detector.threshold_rule_
    options = ", ".join(f"{name} = {value:g}" for name, value in rule.model_dump(exclude={"kind"}).items())
    return (
        f"{type(detector).__name__} ({detector.model.kind if detector.model else 'default model'}) on "
        f"{detector.n_features_in_} features. A row is flagged when its score is above {detector.threshold_:.6g}; the rule "
        f"{rule.kind}{f' ({options})' if options else ''} took that threshold from {len(detector.calibration_scores_):,} "
        f"calibration scores. Of {len(run.scores):,} test rows {int(np.sum(run.scores > detector.threshold_)):,} are "
        f"flagged. Fitting took {run.fit_seconds:.1f} s, scoring {run.score_seconds:.2f} s, compilation included."
    )


def _tables(run: Run) -> list[TableEntry]:
    return [] if run.metrics is None else [("Metrics on the test rows", *metrics_table(run.metrics))]


def _write_figures(run: Run, out: Path) -> list[FigureEntry]:
    detector, history = run.detector, run.detector.history_
    density = isinstance(detector.model_, Density)
    unit = "nats" if density else "mean squared error"
    drawn = []
    if len(history.rows) > 1:
        valid = None if history.watched == "train_loss" else _numbers(history.column("valid_loss"))
        figure = plot_loss(
            _numbers(history.column("epoch")), _numbers(history.column("train_loss")), valid,
            best_epoch=history.best_epoch, unit=unit,
        )  # fmt: skip
        drawn.append(("Loss", "loss", "The parameters of the best epoch are the ones kept.", figure))
    figure = plot_score_histogram(run.scores, run.y, detector.threshold_, unit=unit)
    drawn.append(("Scores", "scores", "Scores of the test rows; rows right of the line are flagged.", figure))
    if run.metrics is not None and run.metrics.roc_auc is not None:
        assert run.y is not None
        caption = "Each point is a threshold; the one in use was set without looking at the test rows."
        drawn.append(("ROC", "roc", caption, plot_roc(run.y, run.scores)))
        caption = "The dashed line is the prevalence, which random scores reach."
        drawn.append(("Precision and recall", "precision_recall", caption, plot_precision_recall(run.y, run.scores)))
        caption = "Counts, and shares of each row."
        drawn.append(("Confusion matrix", "confusion", caption, plot_confusion(run.metrics)))
    if density and run.x.shape[1] == 2 and detector.preprocessing_.dim_out == 2:
        figure = plot_density_2d(
            detector.score_samples, run.x, run.y, run.scores > detector.threshold_, -detector.threshold_,
            feature_names=detector.columns_,
        )  # fmt: skip
        drawn.append(("Density", "density", "Log-density with the test rows; the line is the threshold.", figure))
    for _, name, _, figure in drawn:
        save_figure(figure, out / "figures" / f"{name}.png")
    return [(heading, f"figures/{name}.png", caption) for heading, name, caption, _ in drawn]


def _numbers(column: Sequence[float | int | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in column], float)
