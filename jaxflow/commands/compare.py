"""Run several experiments on the same rows and put them beside the 5-nearest-neighbour distance and isolation forest.

The configs must agree on data, split, types of columns, seed, threshold rule and the share of rows that calibrates it.
Writes `results.csv`, `summary.md` and two figures. With --repeats everything is done again with the seeds that follow,
which divide the rows and begin the fits otherwise; the first table then has means and standard deviations, and all else
is of the first seed. Where the data set says of what kinds its rows are, such as the family of an attack, the summary
has the share of each kind that is flagged, and explains one row of each kind of anomalies.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from jaxflow.atomic_write import write_csv
from jaxflow.config.command_line import ScriptParser, command_given, program, read_config
from jaxflow.config.printing import say, show
from jaxflow.config.spec import parse_spec
from jaxflow.data import ColumnsSpec, Frame, Split
from jaxflow.data.splits import hold_out
from jaxflow.detection import GivenThreshold
from jaxflow.detection.calibration.out_of_fold import divide_folds, fold_count
from jaxflow.detection.check_parameters import DEFAULT_STEPS
from jaxflow.detection.scoring.table_encoder import fit_inputs
from jaxflow.errors import InputError
from jaxflow.evaluation import (
    Metrics,
    evaluate_scores,
    format_number,
    plot_precision_recall_comparison,
    plot_roc_comparison,
    print_table,
    provenance,
    save_figure,
    write_report,
)
from jaxflow.experiment.comparison import flagged_by_kind, reasons_of_examples, without_never_seen
from jaxflow.experiment.configs import config_file
from jaxflow.experiment.run import Run, experiment_split, run_experiment
from jaxflow.experiment.run_files import require_writable
from jaxflow.experiment.spec import Experiment

NEIGHBOURS = 5
COLUMNS = ("roc_auc", "pr_auc", "precision", "recall", "f1", "false_positive_rate")
PUBLISHED_NOTE = (
    "The test rows are those that the source of the data sets apart. They need not be like the rows to learn from, so "
    "that another share of the normal ones may be flagged than the rule aims at."
)
NEVER_SEEN_NOTE = (
    "A text that is in none of the rows a detector of jaxflow learned from, or another value than the only one of a "
    "column there, is anomalous by rule, whatever the model says; scikit-learn's detectors do not see it. The second "
    "table says how many test rows have one, and what the figures are, at the same threshold, without the rule."
)
EXAMPLES_NOTE = (
    "The last tables explain one row of each kind of anomalies: of those that most detectors of jaxflow flag the rows "
    "of the most frequent sort, and of these the one with the median score of {}. What is normal in a column is the "
    "range of the middle 98 % of normal rows, or their most frequent text; a value may be normal in itself and be "
    "named because it does not go with the others."
)
REPEATS_NOTE = (
    "The first table has means over {} seeds, {} to {}, each with a division of the rows of its own, and after ± the "
    "standard deviation between the seeds; all else is of the first."
)
Scores: TypeAlias = Callable[[np.ndarray], np.ndarray]
HEADER = ("ROC-AUC", "PR-AUC", "precision", "recall", "F1", "FP rate", "fit (s)", "score (s)")
PRINTED = len(COLUMNS)  # of these on the terminal


class Result(NamedTuple):
    """Result of one detector on the rows of one seed."""

    metrics: Metrics
    fit_seconds: float
    score_seconds: float
    scores: np.ndarray
    flagged: np.ndarray

    @property
    def figures(self) -> tuple[float, ...]:
        """Return the figures for the tables."""
        return (*(getattr(self.metrics, name) for name in COLUMNS), self.fit_seconds, self.score_seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run each, write."""
    parser = ScriptParser(prog=program("compare"), description=__doc__)
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="experiments: YAML files, or names of configs")
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="directory (default: out/compare)")
    parser.add_argument("--title", default="Detectors side by side", help="heading of the page")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="number of seeds (default: 1)")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        raise InputError(f"--repeats {options.repeats}: expected at least 1")
    require_writable(options.out)
    experiments = _experiments([config_file(name) for name in options.configs])
    first = next(iter(experiments.values()))
    made = provenance(command_given("compare", arguments), first.seed)
    split = experiment_split(first)
    if split.y_test is None:
        raise InputError(f"{split.name} has no labels to compare detectors by")

    results: dict[int, dict[str, Result]] = {}
    runs: dict[str, Run] = {}
    for seed in range(first.seed, first.seed + options.repeats):
        seeded = {name: experiment.model_copy(update={"seed": seed}) for name, experiment in experiments.items()}
        of_seed = split if seed == first.seed else experiment_split(next(iter(seeded.values())))
        results[seed], found = _measured(seeded, of_seed)
        runs = runs or found
    shown = results[first.seed]
    unseen, reasons = without_never_seen(split, runs), reasons_of_examples(split, runs)
    notes = [PUBLISHED_NOTE] * (first.split.protocol == "published") + [NEVER_SEEN_NOTE] * bool(unseen)
    notes += [EXAMPLES_NOTE.format(next(iter(runs)))] * bool(reasons)
    if options.repeats > 1:
        last = first.seed + options.repeats - 1
        notes.insert(0, REPEATS_NOTE.format(options.repeats, first.seed, last))

    lines = [(name, seed, *result.figures) for seed, made_of in results.items() for name, result in made_of.items()]
    write_csv(options.out / "results.csv", ("detector", "seed", *COLUMNS, "fit_seconds", "score_seconds"), lines)
    curves = {name: (split.y_test, result.scores) for name, result in shown.items()}
    save_figure(plot_roc_comparison(curves), options.out / "roc.png")
    save_figure(plot_precision_recall_comparison(curves), options.out / "precision_recall.png")
    table = [(name, *_means([of_seed[name].figures for of_seed in results.values()])) for name in shown]
    flagged = flagged_by_kind(split, {name: result.flagged for name, result in shown.items()})
    metrics = next(iter(shown.values())).metrics
    write_report(
        options.out / "summary.md",
        title=options.title,
        summary="\n\n".join([_summary(split, metrics, first), *notes]),
        tables=[("Test rows", ("detector", *HEADER), table), *unseen, *flagged, *reasons],
        figures=[
            ("ROC", "roc.png", "Each point of a curve is a threshold."),
            ("Precision and recall", "precision_recall.png", "Random scores reach the prevalence."),
        ],
        provenance=made,
    )
    print_table(options.title, ["detector", *HEADER[:PRINTED]], [row[: 1 + PRINTED] for row in table])
    show(f"summary: {options.out / 'summary.md'}")


def _measured(experiments: Mapping[str, Experiment], split: Split) -> tuple[dict[str, Result], dict[str, Run]]:
    """The peers and the experiments on the rows of one seed."""
    assert split.y_test is not None
    first = next(iter(experiments.values()))
    columns = _peer_columns(experiments.values())
    results, runs = {}, {}
    for peer, (fit, all_rows) in PEERS.items():
        say(f"{peer} on {split.name}, seed {first.seed}")
        results[peer] = _peer(fit, split, first, columns, all_rows)
    for name, experiment in experiments.items():
        say(f"{name} on {split.name}, seed {first.seed}")
        runs[name] = run = run_experiment(experiment, progress=True)
        assert run.metrics is not None
        assert run.fit_seconds is not None
        flagged = run.scores > run.detector.threshold_
        results[name] = Result(run.metrics, run.fit_seconds, run.score_seconds, run.scores, flagged)
    return results, runs


def _peer_columns(experiments: Iterable[Experiment]) -> ColumnsSpec:
    """How peers see the columns: as all experiments do, if they agree, but judging all, none by the light of others."""
    first, *others = (experiment.columns for experiment in experiments)
    if all(other == first for other in others):
        return first.model_copy(update={"context": ()})
    return ColumnsSpec(types=first.types, missing=first.missing)


def _means(figures: Sequence[Sequence[float]]) -> list[float | str]:
    """The figures of one seed; of several the means, with the standard deviations of the two areas."""
    means = np.mean(figures, axis=0).tolist()
    if len(figures) == 1:
        return means
    spread = np.std(figures, axis=0, ddof=1)
    areas = [f"{format_number(means[i])} ± {spread[i]:.4f}" for i in range(2)]
    return areas + means[2:]


def _experiments(paths: Sequence[Path]) -> dict[str, Experiment]:
    """The experiments by the names of their files, once it is sure that they can be compared."""
    experiments: dict[str, Experiment] = {}
    for path in paths:
        if path.stem in experiments:
            raise InputError(f"{path}: there is a config named {path.stem} already, expected one of another name")
        experiment = parse_spec(Experiment, read_config(path), str(path)).model_copy(update={"variants": {}})
        rule = experiment.detection.threshold
        if rule.needs_labels or isinstance(rule, GivenThreshold):
            raise InputError(
                f"{path}: detection.threshold.kind = {rule.kind!r}: expected one such as percentile or "
                "target_fpr, which need no labels and mean the same for every detector"
            )
        experiments[path.stem] = experiment
        first = next(iter(experiments.values()))
        same = ("types", "missing"), ("threshold", "calibration_fraction", "calibration_folds")
        parts = [f"columns.{name}" for name in same[0]] + [f"detection.{name}" for name in same[1]]
        for part in ("data", "split", "seed", *parts):
            if attrgetter(part)(experiment) != attrgetter(part)(first):
                raise InputError(f"{path}: its {part} differs from that of {paths[0]}, expected the same")
    return experiments


def _neighbour_distance(z: np.ndarray, seed: int) -> Scores:
    """Distance to the 5th nearest of the rows `z`."""
    search = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(z)
    return lambda asked: search.kneighbors(asked)[0][:, -1]


def _isolation_forest(z: np.ndarray, seed: int) -> Scores:
    """scikit-learn's isolation forest with its own defaults."""
    forest = IsolationForest(random_state=seed).fit(z)
    return lambda asked: -forest.score_samples(asked)


# What fits each, and whether its scores of test rows come from a fit to all rows, those that calibrate included.
PEERS: dict[str, tuple[Callable[[np.ndarray, int], Scores], bool]] = {
    f"{NEIGHBOURS}-NN distance": (_neighbour_distance, False),
    f"{NEIGHBOURS}-NN distance, all rows": (_neighbour_distance, True),
    "isolation forest": (_isolation_forest, False),
}


def _peer(
    fit: Callable[[np.ndarray, int], Scores],
    split: Split,
    experiment: Experiment,
    columns: ColumnsSpec,
    all_rows: bool,
) -> Result:
    """A peer on standardised columns, categories as columns of 0 and 1; calibrated as a detector is."""
    assert split.y_test is not None
    detection = experiment.detection
    rng = np.random.default_rng(experiment.seed)
    rows = np.arange(len(split.x_train))
    folds = fold_count(len(rows), detection.calibration_fraction, detection.calibration_folds)
    parts = [(rows, rows)]  # learned from and scored: without rows held out, those learned from must do
    if folds:
        parts = [tuple(fold) for fold in divide_folds(len(rows), folds, rng)]
    elif detection.calibration_fraction:
        parts = [hold_out(len(rows), detection.calibration_fraction, rng)]
    started = time.perf_counter()
    measures = [_measure(fit, split.train[learn], columns, experiment.seed) for learn, _ in parts]
    scores = [measure(split.train[held]) for measure, (_, held) in zip(measures, parts, strict=True)]
    threshold = detection.threshold.threshold(np.concatenate(scores))
    measure = _measure(fit, split.train, columns, experiment.seed) if folds or all_rows else measures[0]
    fitted = time.perf_counter()
    scores = measure(split.test)
    metrics = evaluate_scores(split.y_test, scores, threshold, n_train=len(split.x_train))
    return Result(metrics, fitted - started, time.perf_counter() - fitted, scores, scores > threshold)


def _measure(
    fit: Callable[[np.ndarray, int], Scores], learn: Frame, columns: ColumnsSpec, seed: int
) -> Callable[[Frame], np.ndarray]:
    inputs = fit_inputs(learn, columns, DEFAULT_STEPS)

    def features(rows: Frame) -> np.ndarray:
        return inputs.model_rows(inputs.encoding.codes(rows))[0]

    score = fit(features(learn), seed)
    return lambda rows: score(features(rows))


def _summary(split: Split, metrics: Metrics, experiment: Experiment) -> str:
    detection = experiment.detection
    folds = fold_count(len(split.x_train), detection.calibration_fraction, detection.calibration_folds)
    if folds:
        calibrated = f"scores the rows to learn from with {folds} further models, each fitted without those it scores"
    else:
        calibrated = f"sets {detection.calibration_fraction:.0%} of the rows to learn from aside, drawn for itself"
    options = detection.threshold.model_dump(exclude={"kind"}).items()
    rule = f"{detection.threshold.kind} ({', '.join(f'{name} = {value}' for name, value in options)})"
    return (
        f"{split.name}: {len(split.x_train):,} normal rows to learn from, {len(split.x_test):,} test rows of which "
        f"{metrics.n_anomalies:,} are anomalies. Each detector {calibrated}, and the rule {rule} "
        "takes its threshold from their scores; those fitted by gradient steps set aside a further part that chooses "
        f"the epoch. The {NEIGHBOURS}-nearest-neighbour (NN) distance and the isolation forest are scikit-learn's, on "
        "standardised columns, which before that are what the configs make of them if all make the same; the line 'all "
        "rows' learns from those that calibrate too. Times are wall seconds and include compilation."
    )
