"""Run several experiments on the same rows and put them side by side, with the 5-nearest-neighbour distance.

The configs must agree on data, split, seed, threshold rule and the share of rows that calibrates it. Writes
`results.csv`, `summary.md` and two figures.
"""

import csv
import sys
import time
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

from jaxflow.atomic_write import replacing
from jaxflow.config.command_line import ScriptParser, read_config, run_script
from jaxflow.config.spec import parse_spec
from jaxflow.data import Preprocessing, Split, hold_out
from jaxflow.detection import BestF1, GivenThreshold
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
from jaxflow.experiment.run_files import require_writable
from jaxflow.experiment.spec import Experiment

NEIGHBOURS = 5
COLUMNS = ("roc_auc", "pr_auc", "precision", "recall", "f1", "false_positive_rate")
HEADER = ("detector", "ROC-AUC", "PR-AUC", "precision", "recall", "F1", "FP rate", "fit (s)", "score (s)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run each, write."""
    parser = ScriptParser(prog="compare.py", description=__doc__)
    parser.add_argument("configs", type=Path, nargs="+", metavar="CONFIG", help="experiments, YAML files")
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="directory (default: out/compare)")
    parser.add_argument("--title", default="Detectors side by side", help="heading of the page")
    options = parser.parse_args(arguments)
    require_writable(options.out)
    experiments = _experiments(options.configs)
    first = next(iter(experiments.values()))
    command = sys.argv if arguments is None else ["scripts/compare.py", *arguments]
    made = provenance(["python", *command], first.seed)
    split = experiment_split(first)
    if split.y_test is None:
        raise InputError(f"{split.name} has no labels to compare detectors by")

    rows, curves = [], {}
    print(f"{NEIGHBOURS}-nearest-neighbour distance on {split.name}", file=sys.stderr)
    scores, metrics, fit_seconds, score_seconds = _neighbour_distance(split, first)
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
    write_report(
        options.out / "summary.md",
        title=options.title,
        summary=_summary(split, metrics, first),
        tables=[("Test rows", HEADER, table)],
        figures=[
            ("ROC", "roc.png", "Each point of a curve is a threshold."),
            ("Precision and recall", "precision_recall.png", "Random scores reach the prevalence."),
        ],
        provenance=made,
    )
    shown = [HEADER.index(name) for name in ("detector", "ROC-AUC", "PR-AUC", "precision", "recall", "F1", "FP rate")]
    print_table(options.title, [HEADER[i] for i in shown], [[row[i] for i in shown] for row in table])
    print(f"summary: {options.out / 'summary.md'}")


def _experiments(paths: Sequence[Path]) -> dict[str, Experiment]:
    """The experiments by the names of their files, once it is sure that they can be compared."""
    experiments: dict[str, Experiment] = {}
    for path in paths:
        if path.stem in experiments:
            raise InputError(f"{path}: there is a config named {path.stem} already, expected one of another name")
        experiment = parse_spec(Experiment, read_config(path), str(path)).model_copy(update={"variants": {}})
        rule = experiment.detection.threshold
        if isinstance(rule, BestF1 | GivenThreshold):
            raise InputError(
                f"{path}: detection.threshold.kind = {rule.kind!r}: expected percentile or target_fpr, which need no "
                "labels and mean the same for every detector"
            )
        experiments[path.stem] = experiment
        first = next(iter(experiments.values()))
        for part in ("data", "split", "seed", "detection.threshold", "detection.calibration_fraction"):
            if attrgetter(part)(experiment) != attrgetter(part)(first):
                raise InputError(f"{path}: its {part} differs from that of {paths[0]}, expected the same")
    return experiments


def _neighbour_distance(split: Split, experiment: Experiment) -> tuple[np.ndarray, Metrics, float, float]:
    """Distance to the 5th nearest training row in standardised columns; as many rows calibrate it as a detector."""
    assert split.y_test is not None
    detection = experiment.detection
    rng = np.random.default_rng(experiment.seed)
    learn, calibrate = hold_out(len(split.x_train), detection.calibration_fraction, rng)
    started = time.perf_counter()
    preprocessing = Preprocessing.fit(DEFAULT_STEPS, split.x_train[learn])
    search = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(preprocessing.transform(split.x_train[learn]))

    def distance(x: np.ndarray) -> np.ndarray:
        return search.kneighbors(preprocessing.transform(x))[0][:, -1]

    # Without rows held out, the rows learned from must do, as for the detectors.
    threshold = detection.threshold.threshold(distance(split.x_train[calibrate if len(calibrate) else learn]))
    fitted = time.perf_counter()
    scores = distance(split.x_test)
    metrics = evaluate_scores(split.y_test, scores, threshold, n_train=len(split.x_train))
    return scores, metrics, fitted - started, time.perf_counter() - fitted


def _summary(split: Split, metrics: Metrics, experiment: Experiment) -> str:
    detection = experiment.detection
    return (
        f"{split.name}: {len(split.x_train):,} normal rows to learn from, {len(split.x_test):,} test rows of which "
        f"{metrics.n_anomalies:,} are anomalies. Each detector sets {detection.calibration_fraction:.0%} of the rows "
        f"to learn from aside, drawn for itself, and the rule {detection.threshold.kind} takes its threshold from "
        "their scores; those fitted by gradient steps set aside a further part that chooses the epoch. The "
        f"{NEIGHBOURS}-nearest-neighbour (NN) distance is scikit-learn's, on standardised columns. Times are wall "
        "seconds and include compilation."
    )


if __name__ == "__main__":
    run_script(main)
