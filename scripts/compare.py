"""Run several experiments on the same rows and put them side by side, with the 5-nearest-neighbour distance.

The configs must agree on data, split and seed. Writes `results.csv`, `summary.md` and two figures.
"""

import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

from jaxflow.atomic_write import replacing
from jaxflow.config.command_line import ScriptParser, read_config, run_script
from jaxflow.config.spec import parse_spec
from jaxflow.data import Preprocessing, Split, hold_out
from jaxflow.detection import TargetFalsePositiveRate
from jaxflow.detection.detector import DEFAULT_STEPS
from jaxflow.errors import InputError
from jaxflow.evaluation import (
    Metrics,
    evaluate_scores,
    plot_precision_recall_comparison,
    plot_roc_comparison,
    print_table,
    provenance,
    save_figure,
    write_report,
)
from jaxflow.experiment.run import experiment_split, run_experiment
from jaxflow.experiment.spec import Experiment

NEIGHBOURS = 5
CALIBRATION_FRACTION = 0.2  # the default of the detectors
COLUMNS = ("roc_auc", "pr_auc", "precision", "recall", "f1", "false_positive_rate")
HEADER = ("detector", "ROC-AUC", "PR-AUC", "precision", "recall", "F1", "FP rate", "fit (s)", "score (s)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run each, write."""
    parser = ScriptParser(prog="compare.py", description=__doc__)
    parser.add_argument("configs", type=Path, nargs="+", metavar="CONFIG", help="experiments, YAML files")
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="directory (default: out/compare)")
    parser.add_argument("--title", default="Detectors side by side", help="heading of the page")
    options = parser.parse_args(arguments)
    experiments = {
        path.stem: parse_spec(Experiment, read_config(path), str(path)).model_copy(update={"variants": {}})
        for path in options.configs
    }
    first = next(iter(experiments.values()))
    for path, experiment in zip(options.configs, experiments.values(), strict=True):
        for part in ("data", "split", "seed"):
            if getattr(experiment, part) != getattr(first, part):
                raise InputError(
                    f"{path}: its {part} differs from that of {options.configs[0]}, expected the same rows"
                )
    split = experiment_split(first)
    if split.y_test is None:
        raise InputError(f"{split.name} has no labels to compare detectors by")

    rows, curves = [], {}
    print(f"{NEIGHBOURS}-nearest-neighbour distance on {split.name}", file=sys.stderr)
    scores, metrics, fit_seconds, score_seconds = _neighbour_distance(split, first.seed)
    rows.append((f"{NEIGHBOURS}-NN distance", metrics, fit_seconds, score_seconds))
    curves[f"{NEIGHBOURS}-NN distance"] = (split.y_test, scores)
    for name, experiment in experiments.items():
        print(f"{name} on {split.name}", file=sys.stderr)
        run = run_experiment(experiment, progress=True)
        rows.append((name, run.metrics, run.fit_seconds, run.score_seconds))
        curves[name] = (run.y, run.scores)

    table = [
        (name, *(getattr(metrics, column) for column in COLUMNS), round(fit, 2), round(score, 2))
        for name, metrics, fit, score in rows
    ]
    with replacing(options.out / "results.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("detector", *COLUMNS, "fit_seconds", "score_seconds"))
        writer.writerows(table)
    save_figure(plot_roc_comparison(curves), options.out / "roc.png")
    save_figure(plot_precision_recall_comparison(curves), options.out / "precision_recall.png")
    command = sys.argv if arguments is None else ["scripts/compare.py", *arguments]
    write_report(
        options.out / "summary.md",
        title=options.title,
        summary=_summary(split, metrics),
        tables=[("Test rows", HEADER, table)],
        figures=[
            ("ROC", "roc.png", "Each point of a curve is a threshold."),
            ("Precision and recall", "precision_recall.png", "Random scores reach the prevalence."),
        ],
        provenance=provenance(["python", *command], first.seed),
    )
    shown = [HEADER.index(name) for name in ("detector", "ROC-AUC", "PR-AUC", "precision", "recall", "F1", "FP rate")]
    print_table(options.title, [HEADER[i] for i in shown], [[row[i] for i in shown] for row in table])
    print(f"summary: {options.out / 'summary.md'}")


def _neighbour_distance(split: Split, seed: int) -> tuple[np.ndarray, Metrics, float, float]:
    """Distance to the 5th nearest training row in standardised columns; as many rows calibrate it as a detector."""
    assert split.y_test is not None
    learn, calibrate = hold_out(len(split.x_train), CALIBRATION_FRACTION, np.random.default_rng(seed))
    started = time.perf_counter()
    preprocessing = Preprocessing.fit(DEFAULT_STEPS, split.x_train[learn])
    search = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(preprocessing.transform(split.x_train[learn]))

    def distance(x: np.ndarray) -> np.ndarray:
        return search.kneighbors(preprocessing.transform(x))[0][:, -1]

    threshold = TargetFalsePositiveRate().threshold(distance(split.x_train[calibrate]))
    fitted = time.perf_counter()
    scores = distance(split.x_test)
    metrics = evaluate_scores(split.y_test, scores, threshold, n_train=len(split.x_train))
    return scores, metrics, fitted - started, time.perf_counter() - fitted


def _summary(split: Split, metrics: Metrics) -> str:
    return (
        f"{split.name}: {len(split.x_train):,} normal rows to learn from (a part of them calibrates the threshold, "
        f"another chooses the epoch), {len(split.x_test):,} test rows of which {metrics.n_anomalies:,} are anomalies. "
        f"Thresholds are set on held-out normal rows. The {NEIGHBOURS}-nearest-neighbour (NN) distance is "
        "scikit-learn's, on standardised columns. Times are wall seconds and include compilation."
    )


if __name__ == "__main__":
    run_script(main)
