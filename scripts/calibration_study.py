"""Measure how many unseen normal rows are flagged where 5 %, 1 % and 0.1 % are asked for, by threshold rule.

On each data set of ADBench the normal rows are divided at random into halves. A flow and a Gaussian learn from one half
and calibrate with it, and the other half is scored. No anomaly has a part in it. Writes `results.csv`, which grows set
by set and from which the study goes on after an interruption, `summary.md` and `calibration.png`.
"""

import csv
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from calibration.figure import plot_realised_rates
from calibration.tables import MODELS, RATES, RULES, pooled, summary, tables

from jaxflow.atomic_write import write_csv
from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.config.compiled_programs import release_compiled_programs
from jaxflow.config.printing import say, show
from jaxflow.data import Dataset, SplitSpec, split_dataset
from jaxflow.data.sets.adbench import DEVELOPMENT_SETS, adbench_files, load_adbench
from jaxflow.data.splits import hold_out
from jaxflow.detection import (
    Detector,
    FlowDetector,
    GaussianDetector,
    PeaksOverThreshold,
    Percentile,
    TargetFalsePositiveRate,
)
from jaxflow.detection.calibration.out_of_fold import fold_count
from jaxflow.errors import InputError
from jaxflow.evaluation import print_table, provenance, save_figure, write_report
from jaxflow.models import MAF
from jaxflow.training import FitSpec

CALIBRATION_FRACTION = 0.2
NAME, TABLE = "calibration_study.py", "results.csv"
CAPTION = (
    "A point is a data set, its seeds together; the bar is the median. Dashed: the rate asked for; grey: within a "
    "factor of 1.5 of it. Sets of which no row was flagged stand at 0."
)


class Result(NamedTuple):
    """A line of `results.csv`: how many of `n_test` unseen normal rows a rule flagged that was asked for a rate.

    `source` says whose scores the `n_calibration` scores are, and `branch` which way the rule went, as in
    `jaxflow.detection`; `epochs` and `rows` are the options that decide the figures.
    """

    set: str
    seed: int
    model: str
    rule: str
    rate: float
    n_train: int
    n_calibration: int
    source: str
    branch: str
    threshold: float
    n_test: int
    flagged: int
    epochs: int
    rows: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure what is missing, write."""
    parser = ScriptParser(prog=NAME, description=__doc__)
    parser.add_argument(
        "--sets", nargs="+", default=list(DEVELOPMENT_SETS), metavar="NAME", help="data sets (default: all 21)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="splits and fits of each set (default: 3)")
    parser.add_argument("--epochs", type=int, default=60, help="most epochs of a flow (default: 60)")
    parser.add_argument("--rows", type=int, default=20_000, help="most normal rows of a set (default: 20000)")
    parser.add_argument(
        "--out", type=Path, default=Path("out/calibration"), help="where to write (default: out/calibration)"
    )
    options = parser.parse_args(arguments)
    for name, least in (("seeds", 1), ("epochs", 1), ("rows", 50)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} {getattr(options, name)}: expected at least {least}")
    for name in options.sets:
        if name not in adbench_files():
            raise InputError(f"--sets {name}: expected names such as {', '.join(DEVELOPMENT_SETS)}")
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{NAME}", *arguments])], 0)

    results = read_results(options)
    done = {(result.set, result.seed, result.model) for result in results}
    for name in dict.fromkeys(options.sets):
        dataset = None
        for seed in range(options.seeds):
            for model in MODELS:
                if (name, seed, model) in done:
                    continue
                release_compiled_programs()
                dataset = load_adbench(name) if dataset is None else dataset
                found = list(measure(dataset, name, seed, model, options))
                results += found
                write_results(results, options)
                at_1 = " ".join(f"{r.rule} {r.flagged / r.n_test:.2%}" for r in found if r.rate == 0.01)
                say(f"{name}, seed {seed}, {model}: at 1 %: {at_1}")

    results = [result for result in results if result.set in options.sets and result.seed < options.seeds]
    earlier = sum((result.set, result.seed, result.model) in done for result in results)
    shares = pooled(results)
    save_figure(plot_realised_rates(shares), options.out / "calibration.png")
    shown = tables(results)
    write_report(
        options.out / "summary.md",
        title="False-positive rates asked for and realised",
        summary=summary(results, options.epochs, options.rows, earlier),
        tables=shown,
        figures=[("Realised rates", "calibration.png", CAPTION)],
        provenance=made,
    )
    print_table(*shown[0])
    show(f"summary: {options.out / 'summary.md'}")


def measure(dataset: Dataset, name: str, seed: int, model: str, options: Namespace) -> Iterator[Result]:
    """Measure what each rule flags at each rate, for one split and fit.

    One fit serves the rules that look at the training rows' scores or at those of rows held out; where the detector's
    default is out-of-fold calibration, another serves the default.
    """
    rng = np.random.default_rng(seed)
    normal = np.flatnonzero(dataset.y == 0)
    if len(normal) > options.rows:
        normal = np.sort(rng.choice(normal, options.rows, replace=False))
    rows = Dataset(dataset.name, dataset.x[normal], None, dataset.feature_names)
    split = split_dataset(rows, SplitSpec(test_fraction=0.5), seed=seed)
    learn, held = hold_out(len(split.x_train), CALIBRATION_FRACTION, rng)

    detector = make_detector(model, seed, options.epochs, calibration_fraction=0.0).fit(split.x_train[learn])
    training = detector.calibration_scores_
    held_out, test = detector.anomaly_score(split.x_train[held]), detector.anomaly_score(split.x_test)
    default, unseen_by_default, default_source = held_out, test, "held_out"
    if fold_count(len(split.x_train), CALIBRATION_FRACTION, None):
        again = make_detector(model, seed, options.epochs, calibration_fraction=CALIBRATION_FRACTION)
        again.fit(split.x_train)
        default, unseen_by_default = again.calibration_scores_, again.anomaly_score(split.x_test)
        default_source = "out_of_fold"

    for rate in RATES:
        ways = (
            (Percentile(percentile=100 * (1 - rate)), training, test, "training"),
            (TargetFalsePositiveRate(rate=rate, beyond="largest"), held_out, test, "held_out"),
            (PeaksOverThreshold(rate=rate), held_out, test, "held_out"),
            (TargetFalsePositiveRate(rate=rate), default, unseen_by_default, default_source),
        )
        for title, (rule, scores, unseen, source) in zip(RULES, ways, strict=True):
            threshold = rule.derive(scores)
            flagged = int(np.sum(unseen > threshold.value))
            yield Result(
                name, seed, model, title, rate, len(split.x_train), len(scores), source, threshold.branch or "",
                threshold.value, len(unseen), flagged, options.epochs, options.rows,
            )  # fmt: skip


def make_detector(model: str, seed: int, epochs: int, *, calibration_fraction: float) -> Detector:
    """The detector of that name in its one configuration, which was fixed before anything was measured."""
    how: dict[str, Any] = {
        "calibration_fraction": calibration_fraction, "random_state": seed,
        "threshold": Percentile(),  # its own threshold is not looked at
    }  # fmt: skip
    if model == "Gaussian":
        return GaussianDetector(**how)
    train = FitSpec(epochs=epochs, batch_size=256, input_noise=0.1, patience=10)
    return FlowDetector(MAF(layers=5, hidden=(64, 64)), train=train, **how)


def read_results(options: Namespace) -> list[Result]:
    """Read the results of an earlier run.

    Raises:
        InputError: if it was measured with other options, or the file is not one of this script.
    """
    file = options.out / TABLE
    if not file.exists():
        return []
    types = list(Result.__annotations__.values())
    with file.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.reader(stream))
    if not lines or tuple(lines[0]) != Result._fields:
        raise InputError(f"{file} is not a table of {NAME}: remove it, or give another --out")
    try:
        results = [Result(*(kind(cell) for kind, cell in zip(types, line, strict=True))) for line in lines[1:]]
    except ValueError as error:
        raise InputError(f"{file} is not a table of {NAME} ({error}): remove it, or give another --out") from None
    for result in results:
        for option in ("epochs", "rows"):
            if getattr(result, option) != getattr(options, option):
                raise InputError(
                    f"{file} was measured with --{option} {getattr(result, option)}, not {getattr(options, option)}: "
                    "remove it, or give another --out"
                )
    return results


def write_results(results: Sequence[Result], options: Namespace) -> None:
    """All that has been measured, after each fit, so that a run that is broken off leaves what it has."""
    write_csv(options.out / TABLE, Result._fields, results)


if __name__ == "__main__":
    run_script(main)
