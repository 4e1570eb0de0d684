"""Put runs of `benchmark_adbench.py` beside the published results, with intervals, ranks, tests and figures.

Reads `results.csv` of a run under each protocol, finished or not, and writes `summary.md` and its figures. Every table
is over the data sets that all of its methods did. The published figures are those of the tables of Livernoche et al.,
"On Diffusion Modeling for Anomaly Detection" (DTE, ICLR 2024). For some sets ten planar layers are fitted besides, to
show what the flow in those tables was scored by.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from adbench.attempt import Result
from adbench.broken_flow import FlowScores, demonstrate
from adbench.comparison import (
    FLOW,
    NEW_ROWS,
    PUBLISHED,
    Comparison,
    Contaminated,
    Method,
    Published,
    compare,
    compare_contaminated,
    read_published,
    read_run,
    without_twins,
)
from adbench.comparison_tables import (
    BY_SET,
    Table,
    by_set,
    chosen,
    contamination_table,
    flow_table,
    left_out_table,
    means_table,
    ranks_table,
    seconds_table,
    set_tables,
    tests_table,
)
from adbench.figures import PUBLISHED_FLOW, plot_contamination, plot_critical_difference, plot_means
from adbench.options import names_of
from adbench.statistics import RESAMPLES

from jaxflow.atomic_write import write_csv
from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.config.printing import say, show
from jaxflow.data.sets.adbench import adbench_files, load_adbench
from jaxflow.errors import InputError
from jaxflow.evaluation import print_table, provenance, save_figure, write_report

NAME = "adbench_study.py"
PUBLISHED_FILE = Path(__file__).resolve().parents[1] / "results" / "adbench" / "published.csv"
FLOW_SETS = "thyroid,cardio,pendigits"
MOST_DRAWN, FEWEST_OTHERS = 16, 6  # methods of a figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, read, compare, write."""
    parser = ScriptParser(prog=NAME, description=__doc__)
    for protocol, what in (("dte", "published division"), ("random", "random halves")):
        parser.add_argument(
            f"--{protocol}", type=Path, required=True, metavar="DIR", help=f"--out of a run of the {what}"
        )
    parser.add_argument("--contaminated", type=Path, metavar="DIR", help="--out of a run of protocol contaminated")
    parser.add_argument("--detectors", default="", help="of --dte and --random, with commas between (default: all)")
    parser.add_argument(
        "--published", type=Path, default=PUBLISHED_FILE, metavar="FILE", help="figures of the published tables"
    )
    parser.add_argument(
        "--flow-sets",
        default=FLOW_SETS,
        help=f"where planar layers are fitted: names with commas between, or nothing (default: {FLOW_SETS})",
    )
    parser.add_argument("--flow-seeds", type=int, default=5, help="fits of planar layers to each set (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("out/adbench"), help="where to write (default: out/adbench)")
    options = parser.parse_args(arguments)
    flow_sets = [name.strip() for name in options.flow_sets.split(",") if name.strip()]
    for name in flow_sets:
        if name not in adbench_files():
            raise InputError(f"--flow-sets {name}: expected some of {', '.join(adbench_files())}")
    if options.flow_seeds < 1:
        raise InputError(f"--flow-seeds {options.flow_seeds}: expected at least 1")
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{NAME}", *arguments])], 0)

    published = read_published(options.published)
    wanted = names_of("--detectors", options.detectors) if options.detectors else ()
    if wanted and FLOW not in wanted:
        raise InputError(f"--detectors {options.detectors}: expected {FLOW} among them, with which others are compared")
    dte_run = read_run("--dte", options.dte, "dte", wanted)
    random_run = read_run("--random", options.random, "random", wanted)
    dte = compare(f"--dte {options.dte}", dte_run, published)
    random = compare(f"--random {options.random}", random_run)
    runs = {"published division": dte_run, "random halves": random_run}
    new = {what: found for what, run in runs.items() if (found := _without_copies(run)) is not None}
    contaminated = None
    if options.contaminated:
        results = read_run("--contaminated", options.contaminated, "contaminated")
        contaminated = compare_contaminated(f"--contaminated {options.contaminated}", results)
    scores = flow_scores(flow_sets, options.flow_seeds)

    shown = tables(dte, random, new, contaminated, scores, published)
    figures = draw(dte, contaminated, options.out)
    write_csv(options.out / "by_set.csv", BY_SET, by_set({"published": dte, "random": random}))
    write_report(
        options.out / "summary.md",
        title="Detectors beside the published results on ADBench",
        summary=summary(dte, random, scores),
        tables=shown,
        figures=figures,
        provenance=made,
    )
    print_table(*shown[0])
    show(f"summary: {options.out / 'summary.md'}")


def flow_scores(names: Sequence[str], seeds: int) -> list[FlowScores]:
    """Return the scores of planar layers on each set and seed."""
    if not names:
        say("no --flow-sets: the published score and the corrected one are not compared")
    found = []
    for name in names:
        dataset = load_adbench(name)
        for seed in range(seeds):
            found.append(demonstrate(dataset, seed))
            say(
                f"{name}, planar layers, seed {seed}: ROC-AUC {found[-1].broken_roc_auc:.2f} by the published score, "
                f"{found[-1].roc_auc:.2f} by the corrected one"
            )
    return found


def tables(
    dte: Comparison,
    random: Comparison,
    new: Mapping[str, Comparison],
    contaminated: Contaminated | None,
    scores: Sequence[FlowScores],
    published: Published,
) -> list[Table]:
    """All tables of the page, in its order."""
    once = without_twins(dte)
    found = [
        means_table(dte, "published division"),
        ranks_table(once, "published division"),
        tests_table(once, "published division"),
        means_table(random, "random halves"),
        ranks_table(random, "random halves"),
        tests_table(random, "random halves"),
    ]
    found += [means_table(some, f"{what}, without test rows that equal a training row") for what, some in new.items()]
    if scores:
        found.append(flow_table(scores, published))
    if contaminated:
        found.append(contamination_table(contaminated))
    found += [seconds_table({"published division": dte, "random halves": random}), *set_tables(dte)]
    left_out = {"published": dte.left_out, "random": random.left_out}
    left_out |= {f"{what}, without copies": some.left_out for what, some in new.items()}
    if contaminated:
        left_out["contaminated"] = contaminated.left_out
    return [*found, left_out_table(left_out)] if any(left_out.values()) else found


def _without_copies(results: Sequence[Result]) -> Comparison | None:
    """The run's detectors on test rows that equal no training row; None if there is no set with such of both kinds."""
    try:
        return compare("", results, columns=NEW_ROWS)
    except InputError:
        return None


def draw(dte: Comparison, contaminated: Contaminated | None, out: Path) -> list[tuple[str, str, str]]:
    """Write the figures; what the page says of each."""
    once = without_twins(dte)
    some = chosen(once, MOST_DRAWN, FEWEST_OTHERS)
    with_flow = some.methods
    flow = Method(PUBLISHED_FLOW, PUBLISHED)
    if flow in once.methods and flow not in with_flow:
        with_flow = (*with_flow, flow)
    save_figure(plot_means(once.of(with_flow)), out / "means.png")
    found = [
        (
            "Means",
            "means.png",
            "Published division. Lines: 95 % intervals of the mean over data sets drawn with replacement, "
            f"{RESAMPLES:,} times; they are wide because the sets differ, while differences between methods on the "
            "same sets are in the first table. All detectors of jaxflow, those of the others with the lowest mean "
            "ranks by ROC-AUC, and the flow of the published tables.",
        )
    ]
    if len(dte.sets) > 1:
        save_figure(plot_critical_difference(some), out / "critical_difference.png")
        found.append(
            (
                "Critical differences",
                "critical_difference.png",
                f"Published division. Mean ranks among the {len(some.methods)} methods shown, which are all detectors "
                "of jaxflow and those of the others with the lowest mean ranks by ROC-AUC. A bar joins methods whose "
                "mean ranks differ by less than the critical difference (CD) of the Nemenyi test at 0.05 for so many "
                "methods; the table above has the larger one for all methods, which is the one to judge by, since "
                "those shown were chosen by their ranks.",
            )
        )
    if contaminated:
        save_figure(plot_contamination(contaminated), out / "contamination.png")
        caption = (
            "Means over the sets where all detectors worked at all rates; the test rows are the same at all rates."
        )
        found.append(("Contamination", "contamination.png", caption))
    return found


def summary(dte: Comparison, random: Comparison, scores: Sequence[FlowScores]) -> str:
    """A paragraph that says what the numbers are."""
    text = (
        f"Figures are percent: the mean over the seeds of a set ({_seeds(dte)} seeds under the published division, "
        f"{_seeds(random)} under random halves), then over the sets that all methods of a table did, of which there "
        f"are {len(dte.sets)} and {len(random.sets)}. Published figures are from the tables of Livernoche et al., On "
        "Diffusion Modeling for Anomaly Detection (DTE, ICLR 2024), also the means of five seeds; `published.csv` has "
        "them. Under the published division detectors learn from the first half of the normal rows and small sets "
        "are drawn with replacement, so that test rows may be copies of training rows; random halves have neither. "
        f"In brackets: 95 % intervals by drawing the sets with replacement {RESAMPLES:,} times, the same sets for both "
        "sides of a difference. The default detector is a committee of which one voice in seven is flows, the others "
        "are kernel densities and mixtures. `by_set.csv` has each method on each set. Ranks and tests leave out what "
        "was run here where the same algorithm has a published "
        "column, so that none counts twice. Tests are two-sided Wilcoxon signed-rank tests over the sets, Holm's "
        "correction is over all methods of a column. Seconds are those of the machine of each run, which may have done "
        "other work meanwhile."
    )
    flat = _constant(dte)
    if flat:
        text += (
            f" Published ROC-AUCs of exactly 50.00 ({', '.join(flat)}) are scores that are the same for all rows, or "
            "no numbers; they count as published."
        )
    if scores:
        lowest = min(score.correlation for score in scores)
        text += (
            " The published flow (PlanarFlow) was scored by -log|det J| alone: its code adds log-determinants of "
            "shape (B, 1) to base log-densities of shape (B,) and averages the resulting (B, B) matrix over the second "
            "axis, which leaves of the base the same number for every row. Ten planar layers fitted here under the "
            "published settings (200 epochs, batches of 64, learning rate 0.002; the weight decay spares biases and "
            "scales) and scored in that way correlate in "
            f"rank with -log|det J| by {lowest:.4f} (to four places) at least; the table below has the same fits with "
            "the corrected score."
        )
    return text


def _constant(dte: Comparison) -> list[str]:
    areas = dte.values["roc_auc"]
    return [
        f"{method.name} on {name}"
        for column, method in enumerate(dte.methods)
        for row, name in enumerate(dte.sets)
        if method.source == PUBLISHED and np.isclose(areas[row, column], 50.0, atol=1e-9)
    ]


def _seeds(comparison: Comparison) -> str:
    low, high = comparison.seeds
    return str(low) if low == high else f"{low} to {high}"


if __name__ == "__main__":
    run_script(main)
