"""How good a detector is: metrics, figures, and the report that puts them on one page."""

from .curve_plots import (
    plot_precision_recall,
    plot_precision_recall_comparison,
    plot_roc,
    plot_roc_comparison,
)
from .density_panels import plot_density_panels
from .density_plots import plot_density_2d
from .explanation_plots import plot_reasons
from .explanation_table import explanation_table
from .figure_style import save_figure
from .hit_rate import hit_rate, random_hit_rate
from .metrics import Metrics, evaluate_scores, write_metrics
from .plots import plot_confusion, plot_loss, plot_score_histogram
from .provenance import provenance
from .report import write_report
from .tables import format_number, metrics_table, print_table

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
    "write_metrics",
    "write_report",
]
