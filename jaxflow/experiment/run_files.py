"""Files of a run: metrics, figures and a report."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxflow.atomic_write import write_json
from jaxflow.data.tables.write_table import json_number
from jaxflow.errors import InputError
from jaxflow.evaluation.curve_plots import plot_precision_recall, plot_roc
from jaxflow.evaluation.density_plots import plot_density_2d
from jaxflow.evaluation.figure_style import save_figure
from jaxflow.evaluation.plots import plot_confusion, plot_loss, plot_score_histogram
from jaxflow.evaluation.report import write_report
from jaxflow.evaluation.tables import metrics_table
from jaxflow.experiment.calibration import calibration_facts, threshold_origin
from jaxflow.experiment.earlier_results import FIGURES, Results
from jaxflow.experiment.run import Run
from jaxflow.experiment.run_reasons import DrawnFigure, TableEntry, run_reasons
from jaxflow.models import Density

FigureEntry = tuple[str, str, str]


def write_run(
    run: Run,
    out: Path,
    *,
    title: str,
    provenance: Mapping[str, Any],
    figures: Sequence[FigureEntry] = (),
    tables: Sequence[TableEntry] = (),
    reasons_method: str = "auto",
    results: Results | None = None,
) -> None:
    """Write `metrics.json`, `history.csv` and `.jsonl` (if the run fitted), figures, `provenance.json` and `report.md`.

    The report comes last, so that where there is one, what it speaks of is there.

    Args:
        run: what happened.
        out: the directory; made if missing, files of the same name are replaced.
        title: heading of the report.
        provenance: how the run was made.
        figures: more figures for the report, as `write_report` takes them; they are already there.
        tables: more tables for the report.
        reasons_method: where the reasons come from, see `Detector.explain`.
        results: what keeps account of the results in `out`, so that of earlier ones only those go that a run wrote;
            without it, figures of the same names as those of a run go in any case.
    """
    if results is None:
        write_json(dict(provenance), out / "provenance.json")
    else:
        results.begin()
    write_json(run_metrics(run), out / "metrics.json")
    if run.fit_seconds is not None:
        run.detector.history_.write_csv(out / "history.csv")
        run.detector.history_.write_json_lines(out / "history.jsonl")
    reasons, reason_figures = run_reasons(run, reasons_method)
    write_report(
        out / "report.md",
        title=title,
        summary=_summary(run),
        tables=[*_tables(run), *reasons, *tables, _columns(run)],
        figures=[*_write_figures(run, out, reason_figures, keep_others=results is not None), *figures],
        provenance=provenance,
    )
    if results is not None:
        results.end()


def require_writable(out: Path) -> None:
    """Check that a directory can be made or written to, before the work whose results it is for; make nothing.

    Raises:
        InputError: if `out` or what it would lie in is a file, or may not be written.
    """
    place = next(place for place in (out / "figures", out, *out.absolute().parents) if place.exists())
    if not place.is_dir():
        raise InputError(f"{out} cannot be written: {place} is a file, expected a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{out} cannot be written: there is no permission to write to {place}")


def run_metrics(run: Run) -> dict[str, Any]:
    """The contents of `metrics.json`.

    What needs labels is null where there are none, and `fit_seconds` where the detector was fitted before. An infinite
    threshold is the string "Infinity" or "-Infinity". `calibration` is what `calibration_facts` returns.
    """
    if run.metrics is not None:
        values = run.metrics.to_dict()
    else:
        needs_labels = ("roc_auc", "pr_auc", "prevalence", "precision", "recall", "f1", "false_positive_rate")
        values = dict.fromkeys(needs_labels) | {
            "threshold": json_number(run.detector.threshold_),
            "n_train": run.n_train,
            "n_test": len(run.scores),
        }
    facts = {"calibration": calibration_facts(run.detector)}
    times = {"fit_seconds": run.fit_seconds, "score_seconds": run.score_seconds}
    return values | {"n_flagged": run.n_flagged} | times | facts


def has_density_figure(run: Run) -> bool:
    """Whether `write_run` draws `figures/density.png`: for densities of two features."""
    detector = run.detector
    plain = detector.inputs_.encoding.is_identity and not detector.inputs_.context_dim
    return isinstance(detector.model_, Density) and plain and run.x.shape[1] == 2 and detector.inputs_.dim == 2


def _summary(run: Run) -> str:
    detector = run.detector
    origin, doubts = threshold_origin(detector)
    fitted = "" if run.fit_seconds is None else f"Fitting took {run.fit_seconds:.1f} s. "
    warned = "".join(f" Warning: {doubt}." for doubt in doubts)
    unclean = "".join(f"\n\nWarning: {doubt}." for doubt in (*detector.doubts_, run.contamination) if doubt is not None)
    return (
        f"{type(detector).__name__} ({detector.model_spec_.kind}) on {detector.n_features_in_} features. A row is "
        f"flagged when its score is above {detector.threshold_:.6g}; {origin}.{warned} Of {len(run.scores):,} test "
        f"rows {run.n_flagged:,} are flagged. {fitted}Scoring took {run.score_seconds:.2f} s. Times include "
        f"compilation.{unclean}"
    )


def _tables(run: Run) -> list[TableEntry]:
    return [] if run.metrics is None else [("Metrics on the test rows", *metrics_table(run.metrics))]


def _columns(run: Run) -> TableEntry:
    """Return what each column was taken for, under the name that the detector knows."""
    kinds = [said for _, said in run.detector.inputs_.describe()]
    return "What the columns were taken for", ("column", "kind"), list(zip(run.detector.columns_, kinds, strict=True))


def _write_figures(run: Run, out: Path, more: Sequence[DrawnFigure], *, keep_others: bool) -> list[FigureEntry]:
    detector, history = run.detector, run.detector.history_
    density = isinstance(detector.model_, Density)
    unit = "nats" if density else "mean squared error"
    drawn: list[DrawnFigure] = []
    if run.fit_seconds is not None and len(history.rows) > 1:
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
        caption = "Each point is a threshold that could have been chosen."
        drawn.append(("ROC", "roc", caption, plot_roc(run.y, run.scores)))
        caption = "The dashed line is the prevalence, which random scores reach."
        drawn.append(("Precision and recall", "precision_recall", caption, plot_precision_recall(run.y, run.scores)))
        caption = "Counts, and shares of each row."
        drawn.append(("Confusion matrix", "confusion", caption, plot_confusion(run.metrics)))
    if has_density_figure(run):
        figure = plot_density_2d(
            lambda x: -detector.scores_of_rows(x), run.x, run.y, run.scores > detector.threshold_, detector.offset_,
            feature_names=detector.columns_,
        )  # fmt: skip
        drawn.append(("Density", "density", "Log-density with the test rows; the line is the threshold.", figure))
    drawn += more
    for _, name, _, figure in drawn:
        save_figure(figure, out / "figures" / f"{name}.png")
    # What an earlier run drew here and this one does not would be taken for its own.
    for name in () if keep_others else FIGURES - {name for _, name, _, _ in drawn}:
        (out / "figures" / f"{name}.png").unlink(missing_ok=True)
    return [(heading, f"figures/{name}.png", caption) for heading, name, caption, _ in drawn]


def _numbers(column: Sequence[float | int | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in column], float)
