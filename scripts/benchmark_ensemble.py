"""Time an ensemble trained in one program beside the same number of fits one after the other.

Both are timed twice: from nothing, with all compilation, and again with every program at hand. Writes `ensemble.csv`
and `summary.md`. The flow and the rows are by default of the size of the breast cancer example.
"""

import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from jaxflow.atomic_write import write_csv
from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.config.printing import say, show
from jaxflow.errors import InputError
from jaxflow.evaluation import format_number, print_table, provenance, write_report
from jaxflow.models import MAF
from jaxflow.training import FitSpec, fit, fit_ensemble

SEED = 0
COMPILED = "/jax/core/compile/backend_compile_duration"  # what JAX reports for each program
WAYS = ("one fit", "fits in turn", "ensemble")


class Cost(NamedTuple):
    """Cost of one way of training.

    Attributes:
        programs: how many were compiled, from nothing.
        first: seconds from nothing.
        again: seconds of each round with the programs at hand.
    """

    programs: int
    first: float
    again: list[float]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, time, write."""
    parser = ScriptParser(prog="benchmark_ensemble.py", description=__doc__)
    parser.add_argument("--members", type=int, nargs="+", default=[8], help="numbers of members (default: 8)")
    parser.add_argument("--dim", type=int, default=30, help="number of features (default: 30)")
    parser.add_argument("--rows", type=int, default=200, help="rows to train on (default: 200)")
    parser.add_argument("--layers", type=int, default=5, help="autoregressive layers (default: 5)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64], help="hidden widths (default: 64 64)")
    parser.add_argument("--batch", type=int, default=64, help="rows a training step (default: 64)")
    parser.add_argument("--epochs", type=int, default=100, help="epochs, none of which is left out (default: 100)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds with the programs at hand (default: 3)")
    parser.add_argument("--out", type=Path, default=Path("out/ensemble"), help="where to write (default: out/ensemble)")
    options = parser.parse_args(arguments)
    for name in ("members", "dim", "rows", "layers", "hidden", "batch", "epochs", "repeats"):
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given]:
            if value < 1:
                raise InputError(f"--{name} {value}: expected at least 1")
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{parser.prog}", *arguments])], SEED)

    costs: dict[int, dict[str, Cost]] = {}
    for members in dict.fromkeys(options.members):
        costs[members] = measure(options, members)
        for way, cost in costs[members].items():
            seconds = format_number(statistics.median(cost.again))
            say(f"{members} members: {way}: {seconds} s, {format_number(cost.first)} s at first")
        # After each, so that a run that is broken off leaves what it has.
        write_costs(costs, options)

    page = options.out / "summary.md"
    shown = [table(members, ways) for members, ways in costs.items()]
    title = "Ensembles in one program"
    write_report(page, title=title, summary=summary(options), tables=shown, figures=[], provenance=made)
    for heading, header, rows in shown:
        print_table(heading, header, rows)
    show(f"summary: {page}")


def measure(options: Namespace, members: int) -> dict[str, Cost]:
    """Cost of one fit, of `members` fits in turn, and of the ensemble; they take turns in each round."""
    rng = np.random.default_rng(SEED)
    train, valid = (rng.standard_normal((rows, options.dim), np.float32) for rows in (options.rows, options.rows // 4))
    spec = MAF(layers=options.layers, hidden=tuple(options.hidden))
    fit_spec = FitSpec(epochs=options.epochs, batch_size=options.batch, patience=None)
    keys = jax.random.split(jax.random.key(SEED), members)

    def one(key: jax.Array) -> None:
        fit(spec.build(options.dim, rngs=nnx.Rngs(key)), train, valid, fit_spec, key=key)

    def in_turn() -> None:
        for key in keys:
            one(key)

    def together() -> None:
        fit_ensemble(spec, train, members, keys[0], valid=valid, fit_spec=fit_spec)

    calls: list[Callable[[], None]] = [lambda: one(keys[0]), in_turn, together]
    first = []
    for call in calls:
        jax.clear_caches()
        with compiled() as programs:
            first.append((seconds_of(call), len(programs)))
    for call in calls:  # the caches were cleared between them
        call()
    again = [[seconds_of(call) for call in calls] for _ in range(options.repeats)]
    return {
        way: Cost(programs, seconds, [times[index] for times in again])
        for index, (way, (seconds, programs)) in enumerate(zip(WAYS, first, strict=True))
    }


@contextmanager
def compiled() -> Iterator[list[str]]:
    """A list that grows by one for each program that is compiled."""
    programs: list[str] = []

    def count(event: str, *details: Any, **more: Any) -> None:
        if event == COMPILED:
            programs.append(event)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        yield programs
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


def seconds_of(call: Callable[[], None]) -> float:
    """How long a call takes; a fit has ended when it returns."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def write_costs(costs: dict[int, dict[str, Cost]], options: Namespace) -> None:
    """One line for each number of members and way."""
    rows = [
        (members, way, programs, first, statistics.median(again), min(again), max(again))
        for members, ways in costs.items()
        for way, (programs, first, again) in ways.items()
    ]
    header = ("members", "way", "programs", "first_seconds", "seconds", "min", "max")
    write_csv(options.out / "ensemble.csv", header, rows)


def table(members: int, ways: dict[str, Cost]) -> tuple[str, list[str], list[list[str]]]:
    """The cost of each way, and how many times as fast the ensemble is, round by round."""
    header = ["", "programs compiled", "seconds from nothing", "seconds again", "ensemble: times as fast"]
    rows = []
    for way, cost in ways.items():
        ratios = [theirs / ours for theirs, ours in zip(cost.again, ways["ensemble"].again, strict=True)]
        times = f"{statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})"
        seconds = format_number(statistics.median(cost.again))
        rows.append([way, str(cost.programs), format_number(cost.first), seconds, "" if way == "ensemble" else times])
    return f"{members} members", header, rows


def summary(options: Namespace) -> str:
    """A paragraph that says what the numbers in the tables are."""
    return (
        f"An affine masked autoregressive flow of {options.layers} layers with hidden layers of "
        f"{', '.join(map(str, options.hidden))} units, fitted to {options.rows} standard normal rows of {options.dim} "
        f"features for {options.epochs} epochs in batches of {options.batch}, with {options.rows // 4} rows held out. "
        "From nothing: no program has been compiled before; programs counts those of the whole call, small ones "
        f"included. Again: the median of {options.repeats} rounds in which the three take turns, all programs at hand. "
        "Ratios are computed round by round: median (least to greatest)."
    )


if __name__ == "__main__":
    # A cache on disk would answer for the compiler that is to be timed.
    jax.config.update("jax_enable_compilation_cache", False)
    run_script(main)
