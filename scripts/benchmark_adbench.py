"""Compare detectors that learn from normal rows on the data sets of ADBench: detectors x data sets x seeds.

Protocols: dte, the division of published tables (first half of the normal rows in file order, small sets drawn with
replacement); random, half of the normal rows at random; contaminated, the same with a share of anomalies among the rows
to learn from. Under the last two a fifth of the rows to learn from calibrates a threshold for 1 % false positives.

`results.csv` grows row by row, and a run with the same --out goes on where the last one ended; what failed is a row
with its error. Writes `summary.md` besides.
"""

import csv
import math
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from adbench_detectors import DETECTORS
from adbench_tables import summary, tables
from sklearn.metrics import average_precision_score, roc_auc_score

from jaxflow.atomic_write import write_csv
from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.data import Dataset, hold_out
from jaxflow.data.adbench import DEVELOPMENT_SETS, adbench_files, load_adbench
from jaxflow.data.benchmark_splits import Protocol, benchmark_split
from jaxflow.detection import ContaminationWarning, TargetFalsePositiveRate
from jaxflow.errors import InputError
from jaxflow.evaluation import format_number, print_table, provenance, write_report
from jaxflow.evaluation.metrics import score_ranks

NAME, TABLE = "benchmark_adbench.py", "results.csv"
CALIBRATION_FRACTION, RATE = 0.2, 0.01
CONTAMINATIONS = (0.0, 0.01, 0.05, 0.1)


class Result(NamedTuple):
    """A line of `results.csv`.

    `f1` is that of flagging as many rows as there are anomalies. The figures that end in `_new` leave out test rows
    that equal a training row, the share `copied` of the normal ones. `false_positive_rate` and `recall` are those at
    the threshold for 1 %. What was not measured is empty; `error` says why.
    """

    dataset: str
    detector: str
    protocol: str
    contamination: float
    seed: int
    n_train: int | None = None
    n_test: int | None = None
    n_anomalies: int | None = None
    copied: float | None = None
    roc_auc: float | None = None
    pr_auc: float | None = None
    f1: float | None = None
    roc_auc_new: float | None = None
    pr_auc_new: float | None = None
    false_positive_rate: float | None = None
    recall: float | None = None
    fit_seconds: float | None = None
    score_seconds: float | None = None
    error: str = ""

    @property
    def cell(self) -> tuple[str, str, str, float, int]:
        """What it is the result of."""
        return self.dataset, self.detector, self.protocol, self.contamination, self.seed


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure what is missing, write."""
    parser = ScriptParser(prog=NAME, description=__doc__)
    parser.add_argument(
        "--datasets",
        default=",".join(DEVELOPMENT_SETS),
        help="names with commas between, or all (default: 21 of the 43)",
    )
    parser.add_argument("--detectors", default="flow,gaussian,gmm", help=f"of {', '.join(DETECTORS)}")
    parser.add_argument("--protocol", choices=get_args(Protocol), default="random", help="the division of the rows")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="whole numbers with commas between (default: 0,1,2,3,4)")
    parser.add_argument("--retry", action="store_true", help="measure again what failed before")
    parser.add_argument("--out", type=Path, default=Path("out/adbench"), help="where to write (default: out/adbench)")
    options = parser.parse_args(arguments)
    datasets = tuple(adbench_files()) if options.datasets == "all" else _names("--datasets", options.datasets)
    detectors, seeds = _names("--detectors", options.detectors), _seeds(options.seeds)
    for name in datasets:
        if name not in adbench_files():
            raise InputError(f"--datasets {name}: expected all, or some of {', '.join(adbench_files())}")
    for name in detectors:
        if name not in DETECTORS:
            raise InputError(f"--detectors {name}: expected some of {', '.join(DETECTORS)}")
        DETECTORS[name].make(0)  # what is not installed is missed before anything is fitted
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{NAME}", *arguments])], seeds[0])

    results = read_results(options.out / TABLE)
    if options.retry:
        results = [result for result in results if not result.error]
    rates = CONTAMINATIONS if options.protocol == "contaminated" else (0.0,)
    cells: list[tuple[str, str, Any, float, int]] = [
        (dataset, detector, options.protocol, rate, seed)
        for dataset in datasets
        for seed in seeds
        for rate in rates
        for detector in detectors
    ]
    known = {result.cell for result in results}
    left = [cell for cell in cells if cell not in known]
    started, loaded = time.perf_counter(), None
    for number, cell in enumerate(left):
        if loaded is None or loaded.name != f"adbench/{cell[0]}":
            loaded = load_adbench(cell[0])
        result = measure(loaded, *cell)
        results.append(result)
        write_csv(options.out / TABLE, Result._fields, results)
        spent = time.perf_counter() - started
        print(_line(result, number + 1, len(left), spent), file=sys.stderr, flush=True)

    wanted = set(cells)
    results = [result for result in results if result.cell in wanted]
    shown = tables(results, {name: DETECTORS[name].title for name in detectors})
    text = summary(results, options.protocol, len(known & wanted))
    title = f"ADBench, protocol {options.protocol}"
    write_report(options.out / "summary.md", title=title, summary=text, tables=shown, figures=[], provenance=made)
    print_table(*shown[0])
    print(f"summary: {options.out / 'summary.md'}")


def measure(dataset: Dataset, name: str, detector: str, protocol: Protocol, contamination: float, seed: int) -> Result:
    """What one detector makes of one division of a data set; an error is part of the result."""
    result = Result(name, detector, protocol, contamination, seed)
    try:
        split = benchmark_split(dataset, protocol, seed, contamination)
        learn, held = np.arange(len(split.x_train)), None
        if protocol != "dte":
            learn, held = hold_out(len(learn), CALIBRATION_FRACTION, np.random.default_rng((seed, 2)))
        competitor = DETECTORS[detector].make(seed)
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ContaminationWarning)  # known here
            competitor.fit(split.x_train[learn])
        fitted = time.perf_counter()
        scores = competitor.anomaly_score(split.x_test)
        scored = time.perf_counter()
        if np.isnan(scores).any():
            raise InputError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are not numbers")
        y, normal, new = split.y_test, split.y_test == 0, ~split.copied
        found: dict[str, Any] = {
            "n_train": len(learn),
            "n_test": len(y),
            "n_anomalies": int(y.sum()),
            "copied": float(split.copied[normal].mean()),
            "fit_seconds": fitted - started,
            "score_seconds": scored - fitted,
            "f1": oracle_f1(y, scores),
            **_areas(y, scores, ""),
            **_areas(y[new], scores[new], "_new"),
        }
        if held is not None:
            rule = TargetFalsePositiveRate(rate=RATE, beyond="tail")
            flagged = scores > rule.derive(competitor.anomaly_score(split.x_train[held])).value
            found |= {"false_positive_rate": float(flagged[normal].mean()), "recall": float(flagged[~normal].mean())}
    except (ArithmeticError, RuntimeError, ValueError) as error:  # of whatever library; a MemoryError ends the run
        return result._replace(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return result._replace(**found)


def oracle_f1(y: np.ndarray, scores: np.ndarray) -> float:
    """The F1 of flagging as many rows as there are anomalies, in expectation over the order of equal scores."""
    count = int(y.sum())
    ranks = score_ranks(scores)
    last = np.sort(ranks)[-count]
    above, level = ranks > last, ranks == last
    return float((y[above].sum() + (count - above.sum()) * y[level].mean()) / count)


def _areas(y: np.ndarray, scores: np.ndarray, suffix: str) -> dict[str, float | None]:
    if not 0 < y.sum() < len(y):
        return {f"roc_auc{suffix}": None, f"pr_auc{suffix}": None}
    ranks = score_ranks(scores)
    return {
        f"roc_auc{suffix}": float(roc_auc_score(y, ranks)),
        f"pr_auc{suffix}": float(average_precision_score(y, ranks)),
    }


def read_results(file: Path) -> list[Result]:
    """What an earlier run has measured.

    Raises:
        InputError: if the file is not one of this script.
    """
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.reader(stream))
    if not lines or tuple(lines[0]) != Result._fields:
        raise InputError(f"{file} is not a table of {NAME}: remove it, or give another --out")
    whole = {"seed", "n_train", "n_test", "n_anomalies"}
    texts = {"dataset", "detector", "protocol", "error"}

    def value(name: str, cell: str) -> Any:
        if name in texts:
            return cell
        return None if cell == "" else (int if name in whole else float)(cell)

    try:
        return [Result(*(value(*pair) for pair in zip(Result._fields, line, strict=True))) for line in lines[1:]]
    except ValueError as error:
        raise InputError(f"{file} is not a table of {NAME} ({error}): remove it, or give another --out") from None


def _line(result: Result, number: int, count: int, spent: float) -> str:
    what = f"{result.dataset}, {result.detector}, seed {result.seed}"
    if result.protocol == "contaminated":
        what += f", {result.contamination:.0%} anomalies"
    said = result.error
    if not said:
        said = f"ROC-AUC {format_number(result.roc_auc)}, PR-AUC {format_number(result.pr_auc)}, "
        said += f"fitted in {format_number(result.fit_seconds)} s"
    left = math.ceil(spent / number * (count - number) / 60)
    return f"{number}/{count}  {what}: {said}  about {left} min left"


def _names(option: str, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise InputError(f"{option} {text!r}: expected a name at least")
    return names


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in _names("--seeds", text)))
    except ValueError:
        raise InputError(f"--seeds {text}: expected whole numbers with commas between") from None
    if min(seeds) < 0:
        raise InputError(f"--seeds {text}: expected numbers of at least 0")
    return seeds


if __name__ == "__main__":
    run_script(main)
