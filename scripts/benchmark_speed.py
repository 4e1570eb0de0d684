"""Time jaxflow beside flowjax, zuko and nflows on the same work in one run.

The libraries take turns, so that whatever else the machine does meets all of them. Writes `speed.csv` (of every
library and task the median rate over the rounds, the least and the greatest) and `summary.md` (the same as tables,
with the ratios); with several numbers of features also `sampling.png`, what a draw costs by their number.
"""

import importlib.metadata
import importlib.util
import math
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
from speed.figure import plot_cost_of_draws
from speed.peers import Flowjax, Nflows, Zuko
from speed.tables import UNITS, Shape, Timing, csv_text, summary, tables
from speed.work import FLOWS, Jaxflow, Library, Work

from jaxflow.atomic_write import write_text
from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.config.printing import say, show
from jaxflow.errors import InputError
from jaxflow.evaluation import format_number, print_table, provenance, save_figure
from jaxflow.evaluation.report import write_report

LIBRARIES: dict[str, type[Library]] = {kind.name: kind for kind in (Jaxflow, Flowjax, Zuko, Nflows)}
LOWEST = {"dims": 2, "hidden": 1, "layers": 1, "batch": 1, "repeats": 1}
SEED = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, time, write."""
    parser = ScriptParser(prog="benchmark_speed.py", description=__doc__)
    parser.add_argument("--dims", type=int, nargs="+", default=[8], help="numbers of features (default: 8)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[100, 100], help="hidden widths (default: 100 100)")
    parser.add_argument("--layers", type=int, default=5, help="transforming layers (default: 5)")
    parser.add_argument("--flow", choices=FLOWS, default="maf", help="which flow (default: maf, the affine one)")
    parser.add_argument("--batch", type=int, default=100, help="rows a training step (default: 100)")
    parser.add_argument("--tasks", nargs="+", choices=UNITS, default=list(UNITS), help="what to time (default: all)")
    parser.add_argument(
        "--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES), help="which to time (default: all)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="least time of a measurement (default: 2)")
    parser.add_argument("--out", type=Path, default=Path("out/speed"), help="where to write (default: out/speed)")
    options = parser.parse_args(arguments)
    kinds = _checked(options)
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{parser.prog}", *arguments])], SEED)
    for package in sorted({package for kind in kinds for package in kind.packages}):
        made["versions"][package] = importlib.metadata.version(package)

    shape = Shape(tuple(options.hidden), options.layers, options.batch, options.flow)
    timings: list[Timing] = []
    shown = []
    for dim in dict.fromkeys(options.dims):
        libraries = [kind(Work.random(dim, *shape, seed=SEED)) for kind in kinds]
        parameters = {library.name: library.parameter_count() for library in libraries}
        counts = ", ".join(f"{name} {count:,}" for name, count in parameters.items())
        say(f"dim {dim}: trained parameters: {counts}")
        for task in dict.fromkeys(options.tasks):
            rates = in_turn(contestants(task, libraries, options.seconds), options.repeats)
            if not rates:
                continue
            timings.append(Timing(dim, task, rates))
            for name, values in rates.items():
                median = format_number(statistics.median(values))
                say(f"dim {dim}: {task}: {name}: {median} {UNITS[task]}")
        # After each, so that a run that is broken off leaves what it has.
        write_text(csv_text(timings, shape), options.out / "speed.csv")
        shown += tables(dim, timings, parameters)

    page = options.out / "summary.md"
    text = summary(shape, options.repeats)
    figures = []
    draws = [timing for timing in timings if timing.task == "sample"]
    if len(draws) > 1:
        save_figure(plot_cost_of_draws(draws, shape), options.out / "sampling.png")
        figures.append(("Sampling", "sampling.png", "Medians; bars from the fastest to the slowest round."))
    write_report(page, title="Speed of flow libraries", summary=text, tables=shown, figures=figures, provenance=made)
    for heading, header, rows in shown:
        print_table(heading, header, rows)
    show(f"summary: {page}")


def contestants(task: str, libraries: Sequence[Library], seconds: float) -> dict[str, Callable[[], float]]:
    """The names of those who take part in a task, each with a function that measures it once."""
    if task == "compile":
        return {library.name: partial(best, min, library, partial(first_step, library)) for library in libraries}
    takes_part = [library for library in libraries if task != "fit" or library.fits]
    calls = {library.name: (library, getattr(library, task)) for library in takes_part}
    if task == "train":
        calls |= {library.step_name: (library, library.step_alone) for library in libraries if library.step_name}
    return {name: partial(best, max, library, partial(rate, call, seconds)) for name, (library, call) in calls.items()}


def in_turn(measurements: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Measure all once without keeping the result, then `repeats` times one after the other."""
    for measure in measurements.values():
        measure()
    rounds = [{name: measure() for name, measure in measurements.items()} for _ in range(repeats)]
    return {name: [values[name] for values in rounds] for name in measurements}


def best(choose: Callable[[Sequence[float]], float], library: Library, measure: Callable[[], float]) -> float:
    """Measure under each of the library's settings and keep the result that `choose` (min or max) prefers."""
    results = []
    for apply in library.settings():
        apply()
        results.append(measure())
    return choose(results)


def rate(call: Callable[[], int], seconds: float) -> float:
    """Call again and again for `seconds`, but at least once; how much was done a second."""
    done, started = 0, time.perf_counter()
    while True:
        done += call()
        elapsed = time.perf_counter() - started
        if elapsed >= seconds:
            return done / elapsed


def first_step(library: Library) -> float:
    """Seconds from an untrained flow to its first finished training step, with nothing compiled before."""
    jax.clear_caches()
    started = time.perf_counter()
    library.first_step()
    return time.perf_counter() - started


def _checked(options: Namespace) -> list[type[Library]]:
    """The libraries asked for, once everything else has been found in order."""
    for name, lowest in LOWEST.items():
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given]:
            if value < lowest:
                raise InputError(f"--{name} {value}: expected at least {lowest}")
    if not 0 <= options.seconds < math.inf:
        raise InputError(f"--seconds {options.seconds:g}: expected a finite number, 0 or more")
    kinds = [LIBRARIES[name] for name in dict.fromkeys(options.libraries)]
    for kind in kinds:
        for package in kind.packages:
            if importlib.util.find_spec(package) is None:
                raise InputError(
                    f"--libraries {kind.name}: {package} is not installed; install the extra bench, as in "
                    f"pip install -e '.[bench]', or leave {kind.name} out of --libraries"
                )
        if kind.equal_widths and len(set(options.hidden)) > 1:
            raise InputError(
                f"--hidden {' '.join(map(str, options.hidden))}: {kind.name} has hidden layers of one width only; "
                f"make the widths equal or leave {kind.name} out of --libraries"
            )
    return kinds


if __name__ == "__main__":
    # A cache on disk would answer for the compiler that is to be timed.
    jax.config.update("jax_enable_compilation_cache", False)
    run_script(main)
