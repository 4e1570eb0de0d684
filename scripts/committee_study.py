"""Show what each part of the benchmark's default detector brings: its members alone, and combined in other ways.

The committee is fitted once to each division of a data set, and its members' scores are then put together as every
line of the table says, by the formulas of the committee itself. `results.csv` grows set by set, and a run with the same
--out goes on where the last one ended; what failed is a row with its error and is tried again. `detectors.json` says
how the committee was made; rows of one with other settings are not added to. Writes `summary.md` besides, whose tables
leave out sets where a fit failed.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from adbench.attempt import Attempt, Result, areas, oracle_f1
from adbench.detectors import DEFAULT
from adbench.options import add_datasets_and_seeds, datasets_of, seeds_of
from adbench.record import RECORD, read_record, with_commit
from adbench.splits import Protocol
from benchmark_adbench import read_results
from flax import nnx
from jaxtyping import Array, Float

from jaxflow.atomic_write import write_csv, write_json
from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.config.compiled_programs import release_compiled_programs
from jaxflow.config.printing import say, show
from jaxflow.data.sets.adbench import load_adbench
from jaxflow.errors import InputError
from jaxflow.evaluation import print_table, provenance, write_report
from jaxflow.models import MAF, CommitteeMember, GaussianMixtureSpec, KernelDensitySpec
from jaxflow.models.combined.committee import combined
from jaxflow.models.combined.surprise import negative_log_tail
from jaxflow.networks.row_blocks import in_row_blocks

NAME, TABLE, DETECTOR = "committee_study.py", "results.csv", "flow"
SHOWN = (("roc_auc", "ROC-AUC"), ("pr_auc", "PR-AUC"), ("f1", "F1"))
KINDS = {KernelDensitySpec: "kernel density", GaussianMixtureSpec: "mixture", MAF: "flow"}


class Way(NamedTuple):
    """A way to put the members together.

    Attributes:
        title: what tables call it.
        members: the numbers of those that take part.
        voices: of each of these.
        weights: of each of these.
        power: of the power mean.
        tail_shape: of the yardsticks.
    """

    title: str
    members: tuple[int, ...]
    voices: tuple[int, ...]
    weights: tuple[float, ...]
    power: float = DEFAULT.power
    tail_shape: float = DEFAULT.tail_shape


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure what is missing, write."""
    parser = ScriptParser(prog=NAME, description=__doc__)
    add_datasets_and_seeds(parser, seeds="0,1")
    parser.add_argument("--protocol", choices=("dte", "random"), default="random", help="the division of the rows")
    parser.add_argument(
        "--out", type=Path, default=Path("out/committee"), help="where to write (default: out/committee)"
    )
    options = parser.parse_args(arguments)
    datasets, seeds = datasets_of(options.datasets), seeds_of(options.seeds)
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{NAME}", *arguments])], seeds[0])
    results = [result for result in read_results(options.out / TABLE) if not result.error]
    record = read_record(options.out / RECORD, {DETECTOR} if results else set(), [DETECTOR], "give another --out")
    ways = all_ways()
    known = {result.cell for result in results}
    for number, name in enumerate(datasets, 1):
        for seed in seeds:
            if all((name, way.title, options.protocol, 0.0, seed) in known for way in ways):
                continue
            release_compiled_programs()
            found = measure_ways(ways, name, options.protocol, seed)
            results = [result for result in results if result.cell not in {one.cell for one in found}] + found
            record = with_commit(record, {DETECTOR}, made)
            write_json(record, options.out / RECORD)  # first, since rows without it are not added to
            write_csv(options.out / TABLE, Result._fields, results)
            said = f": {found[0].error}" if found[0].error else ""
            say(f"{name} ({number}/{len(datasets)}), seed {seed}{said}")
    wanted = {(name, way.title, options.protocol, 0.0, seed) for name in datasets for way in ways for seed in seeds}
    results = [result for result in results if result.cell in wanted]
    failed = sorted({result.dataset for result in results if result.error})
    if len(failed) == len(datasets):
        raise InputError(f"no fit worked: {options.out / TABLE} has the errors")
    tables = _tables([result for result in results if result.dataset not in failed], ways)
    text = (
        f"{len(datasets) - len(failed)} data set(s), {len(seeds)} seed(s) each, protocol {options.protocol}. Figures "
        "are percent: the mean over the seeds of a set, then over the sets. All lines share the same fits."
    )
    if failed:
        text += f" Left out since a fit failed: {', '.join(failed)}."
    title = f"The default detector in parts, protocol {options.protocol}"
    write_report(options.out / "summary.md", title=title, summary=text, tables=tables, figures=[], provenance=made)
    print_table(*tables[0])
    show(f"summary: {options.out / 'summary.md'}")


def all_ways() -> list[Way]:
    """The default, then its members alone, without a kind of them, and with other constants."""
    voices, weights = DEFAULT.voices(), [member.weight for member in DEFAULT.members]
    every = tuple(range(len(voices)))

    def some(title: str, keep: Sequence[int], **other: Any) -> Way:
        heard = list(dict.fromkeys(voices[number] for number in keep))
        return Way(
            title, tuple(keep), tuple(heard.index(voices[n]) for n in keep), tuple(weights[n] for n in keep), **other
        )

    def of_kind(kind: type) -> list[int]:
        return [number for number in every if isinstance(DEFAULT.members[number].model, kind)]

    ranked = [number for number in every if DEFAULT.members[number].view == "rank_gaussian"]
    named: dict[str, list[int]] = {}
    for number, member in enumerate(DEFAULT.members):
        named.setdefault(_title(member), []).append(number)
    ways = [some("default", every)]
    ways += [some(title if len(same) == 1 else f"one {title}", same[:1]) for title, same in named.items()]
    for kind, title in KINDS.items():
        ways.append(some(f"without any {title}", [number for number in every if number not in of_kind(kind)]))
    ways.append(some("flows alone", of_kind(MAF)))
    drawn_in = [number for number in every if DEFAULT.members[number].view == "arcsinh"]
    ways.append(some("without ranks", [number for number in every if number not in ranked]))
    ways.append(some("without arcsinh", [number for number in every if number not in drawn_in]))
    ways.append(some("ranks alone", ranked))
    one_of_each = [same[0] for same in named.values()]
    ways.append(
        Way(
            "one member of each, all alike",
            tuple(one_of_each),
            tuple(range(len(one_of_each))),
            (1.0,) * len(one_of_each),
        )
    )
    ways.append(Way("each member a voice, all alike", every, every, (1.0,) * len(every)))
    twice = {number: 2 * weights[number] for number in of_kind(KernelDensitySpec)}
    ways.append(Way("kernel densities twice", every, voices, tuple(twice.get(n, weights[n]) for n in every)))
    ways += [some(f"power {power:g}", every, power=power) for power in (1.0, 2.0, 8.0)]
    ways += [some(f"tail of shape {shape:g}", every, tail_shape=shape) for shape in (0.0, 0.3, 0.5, 0.9)]
    return ways


def measure_ways(ways: Sequence[Way], name: str, protocol: Protocol, seed: int) -> list[Result]:
    """Measure every way on one division of a data set; all get one error if the committee could not be fitted."""
    attempt = Attempt(load_adbench(name), name, DETECTOR, protocol, 0.0, seed)
    attempt.fit()
    if attempt.result.error:
        return [attempt.result._replace(detector=way.title) for way in ways]
    detector: Any = attempt.competitor
    x, y = attempt.split.x_test, attempt.split.y_test
    model, rows = detector.model_, detector.inputs_.model_rows(detector.codes(x))[0]
    graph, state = nnx.split(model)
    scores = _member_scores(state, jnp.asarray(rows), graph=graph)
    found = []
    for way in ways:
        tails = [
            negative_log_tail(scores[:, number], model.quantiles[number], model.excess[number], way.tail_shape)
            for number in way.members
        ]
        score = np.asarray(combined(jnp.stack(tails), way.voices, way.weights, way.power))
        figures: dict[str, Any] = {"f1": oracle_f1(y, score), **areas(y, score)}
        found.append(attempt.result._replace(detector=way.title, n_test=len(y), n_anomalies=int(y.sum()), **figures))
    return found


@partial(jax.jit, static_argnames="graph")
def _member_scores(state: Any, rows: Float[Array, "n dim"], *, graph: Any) -> Float[Array, "n members"]:
    def each(state, rows):
        committee = nnx.merge(graph, state)
        pairs = zip(committee.members, committee.seen(rows), strict=True)
        return jnp.stack([member.score(z) for member, z in pairs], axis=1)

    return in_row_blocks(each, state, rows)


def _title(member: CommitteeMember) -> str:
    kind = next(title for kind, title in KINDS.items() if isinstance(member.model, kind))
    return kind + {"as_given": "", "rank_gaussian": " of ranks", "arcsinh": " of arcsinh"}[member.view]


def _tables(results: Sequence[Result], ways: Sequence[Way]) -> list[tuple[str, list[str], list[list[str]]]]:
    by_way: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        by_way.setdefault(result.detector, {}).setdefault(result.dataset, []).append(result)

    def mean(way: Way, key: str, sets: Sequence[str]) -> str:
        values = [np.mean([getattr(result, key) for result in by_way[way.title][name]]) for name in sets]
        return f"{100 * float(np.mean(values)):.2f}"

    sets = sorted({result.dataset for result in results})
    means = [[way.title, *(mean(way, key, sets) for key, _ in SHOWN)] for way in ways]
    found = [("Means over the sets", ["members", *(text for _, text in SHOWN)], means)]
    few = ways[: 1 + len({_title(member) for member in DEFAULT.members})]
    body = [[name, *(mean(way, "roc_auc", [name]) for way in few)] for name in sets]
    found.append(("ROC-AUC of single members by set", ["set", *(way.title for way in few)], body))
    return found


if __name__ == "__main__":
    run_script(main)
