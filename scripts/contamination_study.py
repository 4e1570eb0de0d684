"""Count how often a fit warns that its rows do not look clean: where they are, and where anomalies are among them.

Clean rows are simulated ones of several kinds, and random halves of the normal rows of each data set of ADBench (at
most 4,000). To such a half 1 %, 5 % and 10 % of anomalies of the same set are added, as far as it has so many. A
Gaussian is fitted with its defaults; labels are looked at to count alone. Writes `results.csv` and `summary.md`.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jaxflow.atomic_write import write_csv
from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.config.printing import say, show
from jaxflow.data import ColumnsSpec
from jaxflow.data.sets.adbench import DEVELOPMENT_SETS, adbench_files, load_adbench
from jaxflow.detection import ContaminationWarning, GaussianDetector
from jaxflow.errors import InputError
from jaxflow.evaluation import print_table, provenance, write_report

RATES = (0.0, 0.01, 0.05, 0.1)
MOST_ROWS = 4000
SIMULATED_ROWS, FEATURES = 2000, 5
SIMULATED = "simulated: "


class Result(NamedTuple):
    """A fit: of `rows` rows, of which `anomalies` were mixed in at a rate, it named `named`, `right` of them anomalies.

    `by` says what the warning rests on, "distance" or "score"; "" without one.
    """

    set: str
    rate: float
    seed: int
    rows: int
    anomalies: int
    by: str
    named: int
    right: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, fit, write."""
    parser = ScriptParser(prog="contamination_study.py", description=__doc__)
    parser.add_argument(
        "--sets", nargs="*", default=[*DEVELOPMENT_SETS], help="which sets of ADBench (default: the 21 shipped)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="halves and draws of each set and rate (default: 3)")
    parser.add_argument("--simulated", type=int, default=40, help="simulated sets of each kind (default: 40)")
    parser.add_argument(
        "--out", type=Path, default=Path("out/contamination"), help="where to write (default: out/contamination)"
    )
    options = parser.parse_args(arguments)
    for name, least in (("seeds", 1), ("simulated", 1)):
        if vars(options)[name] < least:
            raise InputError(f"--{name} {vars(options)[name]}: expected at least {least}")
    for name in options.sets:
        if name not in adbench_files():
            raise InputError(f"--sets {name}: expected names such as {', '.join(DEVELOPMENT_SETS[:3])}")
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{parser.prog}", *arguments])], 0)
    results = [*simulated(options.simulated), *mixed_in(options.sets, options.seeds)]
    write_csv(options.out / "results.csv", Result._fields, results)
    shown = [clean_table(results), sets_table(results)]
    write_report(
        options.out / "summary.md",
        title="Does a fit notice that its rows are not clean?",
        summary=summary(results),
        tables=shown,
        figures=[],
        provenance=made,
    )
    for heading, header, rows in shown:
        print_table(heading, header, rows)
    show(f"summary: {options.out / 'summary.md'}")


def kinds() -> dict[str, Callable[[np.random.Generator], Any]]:
    """Clean rows: features alike, heavy-tailed, skewed and in groups, and tables in which something is rare."""
    shape, n = (SIMULATED_ROWS, FEATURES), SIMULATED_ROWS

    def table(rng: np.random.Generator, column: Any) -> pa.Table:
        return pa.table({"a": column, **{f"x{i}": rng.normal(size=n) for i in range(FEATURES)}})

    return {
        "normal": lambda rng: rng.normal(size=shape),
        "t with 3 degrees of freedom": lambda rng: rng.standard_t(3, size=shape),
        "the same, all features at once": lambda rng: (
            rng.normal(size=shape) / np.sqrt(rng.chisquare(3, size=(n, 1)) / 3)
        ),
        "log-normal": lambda rng: rng.lognormal(size=shape),
        "exponential": lambda rng: rng.exponential(size=shape),
        "uniform": lambda rng: rng.uniform(size=shape),
        "two groups, 30 % and 70 %": lambda rng: rng.normal(size=shape) + 6.0 * (rng.uniform(size=(n, 1)) < 0.3),
        "a flag raised in 5 %": lambda rng: table(rng, (rng.uniform(size=n) < 0.05).astype(float)),
        "a category of 5 %": lambda rng: table(rng, rng.choice(["u", "v", "w"], n, p=[0.5, 0.45, 0.05])),
        "5 % missing, median and indicator": lambda rng: table(
            rng, pa.array(np.where(rng.uniform(size=n) < 0.05, np.nan, rng.normal(size=n)), from_pandas=True)
        ),
        "zero but for 5 %": lambda rng: table(rng, np.where(rng.uniform(size=n) < 0.05, rng.lognormal(size=n), 0.0)),
        "counts, Poisson with mean 0.1": lambda rng: table(rng, rng.poisson(0.1, n).astype(float)),
    }


def simulated(seeds: int) -> Iterator[Result]:
    """Fits to clean rows."""
    for name, draw in kinds().items():
        for seed in range(seeds):
            found = warning_of(draw(np.random.default_rng(seed)), seed)
            yield result(SIMULATED + name, 0.0, seed, SIMULATED_ROWS, 0, found)
        say(f"{name}: done")


def mixed_in(sets: Sequence[str], seeds: int) -> Iterator[Result]:
    """Fits to halves of the normal rows, with anomalies first among them."""
    for name in sets:
        data = load_adbench(name)
        normal, anomalies = data.x[data.y == 0], data.x[data.y == 1]
        for rate in RATES:
            n = min(MOST_ROWS, len(normal) // 2)
            count = round(rate * n / (1 - rate))
            if rate and not 0 < count <= len(anomalies):
                continue
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                x = np.concatenate([rng.permutation(anomalies)[:count], rng.permutation(normal)[:n]])
                yield result(name, rate, seed, len(x), count, warning_of(x, seed))
        say(f"{name}: done")


def warning_of(x: Any, seed: int) -> ContaminationWarning | None:
    """Return the warning that a fit to these rows gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GaussianDetector(columns=ColumnsSpec(missing="median"), random_state=seed).fit(x).contamination_


def result(name: str, rate: float, seed: int, rows: int, count: int, found: ContaminationWarning | None) -> Result:
    """A line, of which the first `count` rows are anomalies."""
    named = () if found is None else found.rows
    by = "" if found is None else found.by
    return Result(name, rate, seed, rows, count, by, len(named), sum(row < count for row in named))


def clean_table(results: list[Result]) -> tuple[str, list[str], list[list[str]]]:
    """False alarms on simulated rows."""
    names = dict.fromkeys(line.set for line in results if line.set.startswith(SIMULATED))
    rows = [[name.removeprefix(SIMULATED), *alarms([line for line in results if line.set == name])] for name in names]
    return "Clean rows, simulated", ["kind", "fits", "false alarms"], rows


def alarms(lines: list[Result]) -> tuple[str, str]:
    """How many fits, and how many of them warned."""
    return str(len(lines)), str(sum(bool(line.named) for line in lines))


def sets_table(results: list[Result]) -> tuple[str, list[str], list[list[str]]]:
    """Set by set: fits that warned, and of the rows named those that are anomalies."""
    header = [
        "set",
        *("clean" if not rate else f"{rate:.0%} anomalies" for rate in RATES),
        "named",
        "of them anomalies",
    ]
    rows = []
    for name in dict.fromkeys(line.set for line in results if not line.set.startswith(SIMULATED)):
        of_set = [line for line in results if line.set == name]
        cells = [" of ".join(reversed(alarms([line for line in of_set if line.rate == rate]))) for rate in RATES]
        dirty = [line for line in of_set if line.rate]
        named, right = sum(line.named for line in dirty), sum(line.right for line in dirty)
        rows.append([name, *(cell if cell != "0 of 0" else "" for cell in cells), f"{named:,}", f"{right:,}"])
    return "Halves of normal rows of ADBench, with anomalies among them (fits that warned)", header, rows


def summary(results: list[Result]) -> str:
    """A paragraph that says what the numbers in the tables are."""
    made = [line for line in results if line.set.startswith(SIMULATED)]
    real = [line for line in results if not line.set.startswith(SIMULATED)]
    clean, dirty = [line for line in real if not line.rate], [line for line in real if line.rate]
    counts = [" of ".join(reversed(alarms(lines))) for lines in (made, clean, dirty)]
    sets = ", ".join(dict.fromkeys(line.set for line in dirty if line.named)) or "none"
    return (
        f"{counts[0]} fits to {SIMULATED_ROWS:,} clean simulated rows warned, {counts[1]} to normal rows of ADBench, "
        f"and {counts[2]} to such rows with 1 %, 5 % or 10 % of anomalies among them (of these sets: {sets}). The "
        "warning is for a group of rows that lies apart from all others; most anomalies of these sets lie among the "
        "normal rows' own tail or groups, where no look at unlabelled rows tells them from rare normal ones. Sets "
        "whose normal rows hold a small group of their own warn with anomalies or without."
    )


if __name__ == "__main__":
    run_script(main)
