"""The tables of `adbench_study.py`: means with intervals, ranks with tests, set by set, seconds, contamination."""

from collections.abc import Mapping, Sequence

import numpy as np

from adbench.broken_flow import FlowScores
from adbench.comparison import JAXFLOW, METRICS, PUBLISHED, Comparison, Contaminated, Method, Published
from adbench.statistics import (
    critical_difference,
    friedman,
    holm,
    interval,
    ranks,
    resampled_means,
    signed_rank,
)
from adbench.tables import Table, count_of_sets

BY_SET = ("division", "dataset", "method", "figures", *METRICS)
SHOWN_BY_SET = ("DTE-NP", "kNN", "DTE-C", "ICL", "IForest", "OCSVM", "LOF", "PlanarFlow")
TESTED = ("roc_auc", "pr_auc")


def means_table(comparison: Comparison, what: str) -> Table:
    """Means with intervals, and by how much the default is above; the highest ROC-AUC first."""
    columns = []
    for values in comparison.values.values():
        means, drawn = values.mean(axis=0), resampled_means(values)
        low, high = interval(drawn)
        ahead, (least, most) = means[:1] - means, interval(drawn[:, :1] - drawn)
        columns.append(
            [f"{a:.2f} [{b:.1f}, {c:.1f}]" for a, b, c in zip(means, low, high, strict=True)],
        )
        columns.append([f"{a:+.2f} [{b:+.1f}, {c:+.1f}]" for a, b, c in zip(ahead, least, most, strict=True)])
        columns[-1][0] = "-"
    rows = [
        [method.label, method.source, *(column[index] for column in columns)]
        for index, method in enumerate(comparison.methods)
    ]
    order = np.argsort(-comparison.values["roc_auc"].mean(axis=0), kind="stable")
    header = ["method", "figures"]
    for metric in comparison.values:
        header += [METRICS[metric], f"default minus it, {METRICS[metric]}"]
    return (f"Means, {what}, {_sets(comparison)}", header, [rows[index] for index in order])


def ranks_table(comparison: Comparison, what: str) -> Table:
    """Mean ranks, the lowest by ROC-AUC first, with the Friedman test and the critical difference."""
    columns = np.array([ranks(comparison.values[metric]).mean(axis=0) for metric in METRICS])
    rows = [
        [comparison.methods[index].label, *(f"{rank:.2f}" for rank in columns[:, index])]
        for index in np.argsort(columns[0], kind="stable")
    ]
    tests = [_p(friedman(comparison.values[metric])) for metric in METRICS]
    k, n = len(comparison.methods), len(comparison.sets)
    difference = f"{critical_difference(k, n):.2f}" if k > 1 else "-"
    rows += [["Friedman test, p", *tests], ["Nemenyi critical difference at 0.05", *[difference] * len(METRICS)]]
    return (f"Mean ranks of {k} methods, {what}, {_sets(comparison)}", ["method", *METRICS.values()], rows)


def tests_table(comparison: Comparison, what: str) -> Table:
    """Wilcoxon's signed-rank test of the default against each other method, in the order of the methods' means."""
    header, columns = ["the default against"], []
    for metric in TESTED:
        values = comparison.values[metric]
        differences = values[:, :1] - values[:, 1:]
        p = [signed_rank(column) for column in differences.T]
        above = [f"{(column > 0).sum()} / {(column < 0).sum()}" for column in differences.T]
        columns += [above, [_p(value) for value in p], [_p(value) for value in holm(p)]]
        text = METRICS[metric]
        header += [f"{text}: sets higher / lower", f"{text}: p", f"{text}: p, Holm"]
    others = comparison.methods[1:]
    order = np.argsort(-comparison.values["roc_auc"][:, 1:].mean(axis=0), kind="stable")
    rows = [[others[index].label, *(column[index] for column in columns)] for index in order]
    return (f"Wilcoxon signed-rank tests of the default, {what}, {_sets(comparison)}", header, rows)


def set_tables(comparison: Comparison) -> list[Table]:
    """For each metric the default, the best of the other detectors run here, and some published columns."""
    found = []
    for metric, text in METRICS.items():
        values = comparison.values[metric]
        best = _best_other(comparison, metric)
        shown = [comparison.methods[0], *([best] if best else [])]
        shown += [Method(name, PUBLISHED) for name in SHOWN_BY_SET if Method(name, PUBLISHED) in comparison.methods]
        cells = values[:, [comparison.methods.index(method) for method in shown]]
        rows = [[name, *(f"{cell:.2f}" for cell in row)] for name, row in zip(comparison.sets, cells, strict=True)]
        rows.append(["mean", *(f"{cell:.2f}" for cell in cells.mean(axis=0))])
        header = ["set", *(method.label for method in shown)]
        found.append((f"{text} by set, published division", header, rows))
    return found


def by_set(comparisons: Mapping[str, Comparison]) -> list[tuple[str | float, ...]]:
    """Every method on every set, in percent; the columns are `BY_SET`."""
    return [
        (division, name, method.name, method.source, *(float(found.values[metric][row, column]) for metric in METRICS))
        for division, found in comparisons.items()
        for row, name in enumerate(found.sets)
        for column, method in enumerate(found.methods)
    ]


def _best_other(comparison: Comparison, metric: str) -> Method | None:
    """The one of the highest mean, the same on every set."""
    others = [method for method in comparison.methods[1:] if method.source != PUBLISHED]
    means = dict(zip(comparison.methods, comparison.values[metric].mean(axis=0), strict=True))
    return max(others, key=lambda method: means[method], default=None)


def seconds_table(comparisons: Mapping[str, Comparison]) -> Table:
    """Mean seconds a set to fit and to score, for each division."""
    own = {
        what: {method: comparison.seconds[index] for index, method in enumerate(comparison.methods)}
        for what, comparison in comparisons.items()
    }
    methods = dict.fromkeys(method for found in own.values() for method in found if method.source != PUBLISHED)
    header = ["detector"]
    for what, comparison in comparisons.items():
        header += [f"fit, {what}, {_sets(comparison)}", f"score, {what}"]
    rows = []
    for method in methods:
        pairs = [found.get(method) for found in own.values()]
        cells = [f"{value:.3g}" for pair in pairs for value in (pair if pair is not None else (np.nan, np.nan))]
        rows.append([method.label, *("-" if cell == "nan" else cell for cell in cells)])
    return ("Mean seconds a set", header, rows)


def contamination_table(found: Contaminated) -> Table:
    """Means by the share of anomalies among the training rows."""
    header, parts = ["detector"], []
    for metric in TESTED:
        header += [f"{METRICS[metric]}, {rate:.0%}" for rate in found.rates]
        parts.append(found.values[metric].mean(axis=0))
    means = np.hstack(parts)
    rows = [[method.label, *(f"{cell:.2f}" for cell in row)] for method, row in zip(found.methods, means, strict=True)]
    return (f"Means by share of anomalies among the training rows, {count_of_sets(len(found.sets))}", header, rows)


def left_out_table(left_out: Mapping[str, Mapping[str, str]]) -> Table:
    """Which sets a table does without, and why."""
    rows = [[what, name, why] for what, sets in left_out.items() for name, why in sets.items()]
    return ("Sets left out", ["division", "set", "why"], rows)


def flow_table(scores: Sequence[FlowScores], published: Published) -> Table:
    """The broken score and the right one of the same fitted flows, beside the published column."""
    header = ["set", "rank correlation of the score as published with -log|det J|"]
    for metric in TESTED:
        header += [
            f"{METRICS[metric]}, {what}"
            for what in ("in the published table", "scored as published", "scored by the density")
        ]
    rows = []
    for name in dict.fromkeys(score.dataset for score in scores):
        some = [score for score in scores if score.dataset == name]
        row = [float(np.mean([score.correlation for score in some]))]
        for metric in TESTED:
            row.append(published.get("PlanarFlow", {}).get(name, {}).get(metric, np.nan))
            row += [float(np.mean([getattr(score, key) for score in some])) for key in (f"broken_{metric}", metric)]
        rows.append((name, row))
    if len(rows) > 1:
        rows.append(("mean", np.mean([row for _, row in rows], axis=0).tolist()))
    shown = [
        [name, f"{first:.4f}", *("-" if np.isnan(cell) else f"{cell:.2f}" for cell in rest)]
        for name, (first, *rest) in rows
    ]
    seeds = len({score.seed for score in scores})
    return (f"Published score and the corrected one, ten planar layers fitted here, {seeds} seed(s)", header, shown)


def chosen(comparison: Comparison, most: int, fewest_others: int) -> Comparison:
    """The methods of a figure: all of jaxflow, and of the others those with the best mean ranks by ROC-AUC."""
    mean_ranks = ranks(comparison.values["roc_auc"]).mean(axis=0)
    order = [comparison.methods[index] for index in np.argsort(mean_ranks, kind="stable")]
    own = [method for method in comparison.methods if method.source == JAXFLOW]
    others = [method for method in order if method.source != JAXFLOW]
    return comparison.of([*own, *others[: max(most - len(own), fewest_others)]])


def _sets(comparison: Comparison) -> str:
    return count_of_sets(len(comparison.sets))


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
