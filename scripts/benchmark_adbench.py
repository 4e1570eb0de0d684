"""Compare detectors that learn from normal rows on the data sets of ADBench: detectors x data sets x seeds.

Protocols: dte, the division of published tables (first half of the normal rows in file order, small sets drawn with
replacement); random, half of the normal rows at random; contaminated, the same with a share of anomalies among the rows
to learn from. Under the last two a fifth of the rows to learn from calibrates a threshold for 1 % false positives.

`results.csv` grows row by row, and a run with the same --out goes on where the last one ended; what failed is a row
with its error. `detectors.json` says how the rows of each detector were made; rows of other settings than those of now
are not added to. Writes `summary.md` besides.
"""

import csv
import math
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias, get_args

from adbench.attempt import Result, measure
from adbench.detectors import DETECTORS
from adbench.options import add_datasets_and_seeds, datasets_of, names_of, seeds_of
from adbench.record import RECORD, read_record, with_commit
from adbench.splits import Protocol
from adbench.tables import summary, tables

from jaxflow.atomic_write import write_csv, write_json
from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.config.compiled_programs import release_compiled_programs
from jaxflow.config.printing import say, show
from jaxflow.data import Dataset
from jaxflow.data.sets.adbench import load_adbench
from jaxflow.errors import InputError
from jaxflow.evaluation import format_number, print_table, provenance, write_report
from jaxflow.models.row_padding import size_class
from jaxflow.training.many.members import take_turns

NAME, TABLE = "benchmark_adbench.py", "results.csv"
Cell: TypeAlias = tuple[str, str, Any, float, int]  # what a result is of
CONTAMINATIONS = (0.0, 0.01, 0.05, 0.1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure what is missing, write."""
    parser = ScriptParser(prog=NAME, description=__doc__)
    add_datasets_and_seeds(parser)
    parser.add_argument("--detectors", default="flow,gaussian,gmm", help=f"of {', '.join(DETECTORS)}")
    parser.add_argument("--protocol", choices=get_args(Protocol), default="random", help="the division of the rows")
    parser.add_argument("--retry", action="store_true", help="measure again those of the wanted that failed before")
    parser.add_argument("--anew", action="store_true", help="first remove all that --out has of the wanted detectors")
    parser.add_argument(
        "--together",
        type=int,
        default=1 if take_turns() else 10,
        help="fits made together, of which the flows of equal shape are trained in one program; results are the "
        "same but for rounding (default: 10 on an accelerator, 1 on CPUs, where nothing is gained by it)",
    )
    parser.add_argument("--out", type=Path, default=Path("out/adbench"), help="where to write (default: out/adbench)")
    options = parser.parse_args(arguments)
    datasets, seeds = datasets_of(options.datasets), seeds_of(options.seeds)
    detectors = names_of("--detectors", options.detectors)
    for name in detectors:
        if name not in DETECTORS:
            raise InputError(f"--detectors {name}: expected some of {', '.join(DETECTORS)}")
        DETECTORS[name].make(0)  # what is not installed is missed before anything is fitted
    if not 1 <= options.together <= 64:
        raise InputError(f"--together {options.together}: expected 1 to 64")
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{NAME}", *arguments])], seeds[0])

    results = read_results(options.out / TABLE)
    if options.anew:
        results = [result for result in results if result.detector not in detectors]
    record = read_record(options.out / RECORD, {result.detector for result in results}, detectors)
    rates = CONTAMINATIONS if options.protocol == "contaminated" else (0.0,)
    cells: list[Cell] = [
        (dataset, detector, options.protocol, rate, seed)
        for dataset in datasets
        for seed in seeds
        for rate in rates
        for detector in detectors
    ]
    wanted = set(cells)
    if options.retry:
        results = [result for result in results if not (result.error and result.cell in wanted)]
    known = {result.cell for result in results}
    left = [cell for cell in cells if cell not in known]
    loaded: dict[str, Dataset] = {}
    if options.together > 1:  # those that can share a program follow one another
        loaded = {name: load_adbench(name) for name in dict.fromkeys(cell[0] for cell in left)}
        left.sort(key=lambda cell: (cell[1], _shape_class(loaded[cell[0]]), cell[0], cell[3], cell[4]))
    started, done = time.perf_counter(), 0
    for chosen in _batches(left, options.together):
        release_compiled_programs()
        if any(cell[0] not in loaded for cell in chosen):
            loaded = {name: load_adbench(name) for name in {cell[0] for cell in chosen}}
        found = measure([(loaded[cell[0]], *cell) for cell in chosen])
        results += found
        record = with_commit(record, {cell[1] for cell in chosen}, made)
        write_json(record, options.out / RECORD)  # first, since rows without it are not added to
        write_csv(options.out / TABLE, Result._fields, results)
        each = (time.perf_counter() - started) / (done + len(chosen))
        for result in found:
            done += 1
            say(_line(result, done, len(left), each))

    results = [result for result in results if result.cell in wanted]
    shown = tables(results, {name: DETECTORS[name].title for name in detectors})
    text = summary(results, options.protocol, len(known & wanted))
    title = f"ADBench, protocol {options.protocol}"
    write_report(options.out / "summary.md", title=title, summary=text, tables=shown, figures=[], provenance=made)
    if all(result.error for result in results):
        raise InputError(
            f"no run worked: {options.out / TABLE} has the errors, of which the first is {results[0].error}"
        )
    print_table(*shown[0])
    show(f"summary: {options.out / 'summary.md'}")


def read_results(file: Path) -> list[Result]:
    """Read the results of an earlier run.

    Raises:
        InputError: if the file is not one of this script.
    """
    if not file.exists():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.reader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} is not a table of {NAME} ({error}): remove it, or give another --out") from None
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


def _batches(cells: Sequence[Cell], size: int) -> Iterator[tuple[Cell, ...]]:
    """Of up to so many, each of one detector."""
    for _, group in groupby(cells, key=lambda cell: cell[1]):
        alike = tuple(group)
        yield from (alike[first : first + size] for first in range(0, len(alike), size))


def _shape_class(dataset: Dataset) -> tuple[int, int]:
    """Equal for data sets whose fits can share programs."""
    return dataset.x.shape[1], size_class(len(dataset.x))


def _line(result: Result, number: int, count: int, each: float) -> str:
    what = f"{result.dataset}, {result.detector}, seed {result.seed}"
    if result.protocol == "contaminated":
        what += f", {result.contamination:.0%} anomalies"
    said = result.error
    if not said:
        said = f"ROC-AUC {format_number(result.roc_auc)}, PR-AUC {format_number(result.pr_auc)}, "
        said += f"fitted in {format_number(result.fit_seconds)} s"
    left = math.ceil(each * (count - number) / 60)
    return f"{number}/{count}  {what}: {said}  about {left} min left"


if __name__ == "__main__":
    run_script(main)
