"""How good a detector is: metrics, figures, and the report that puts them on one page."""

from jaxflow.atomic_write import write_json
from jaxflow.evaluation.curve_plots import (
    plot_precision_recall,
    plot_precision_recall_comparison,
    plot_roc,
    plot_roc_comparison,
)
from jaxflow.evaluation.density_panels import plot_density_panels
from jaxflow.evaluation.density_plots import plot_density_2d
from jaxflow.evaluation.explanation_plots import plot_reasons
from jaxflow.evaluation.explanation_table import explanation_table
from jaxflow.evaluation.figure_style import save_figure
from jaxflow.evaluation.hit_rate import hit_rate, random_hit_rate
from jaxflow.evaluation.metrics import Metrics, evaluate_scores, write_metrics
from jaxflow.evaluation.plots import plot_confusion, plot_loss, plot_score_histogram
from jaxflow.evaluation.provenance import provenance
from jaxflow.evaluation.report import write_report
from jaxflow.evaluation.tables import format_number, metrics_table, print_table

__all__ = [
    "Metrics",
    "evaluate_scores",
    "explanation_table",
    "format_number",
    "hit_rate",
    "metrics_table",
    "plot_confusion",
    "plot_density_2d",
    "plot_density_panels",
    "plot_loss",
    "plot_precision_recall",
    "plot_precision_recall_comparison",
    "plot_reasons",
    "plot_roc",
    "plot_roc_comparison",
    "plot_score_histogram",
    "print_table",
    "provenance",
    "random_hit_rate",
    "save_figure",
    "write_json",
    "write_metrics",
    "write_report",
]
