"""Fit the flows of one config with two features and draw their densities side by side with the data.

The panels are the config and its variants, sets of changed keys. Writes `densities.png`, `results.csv` and
`summary.md`, with the mean log-density of held-out normal rows.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxflow.atomic_write import write_csv
from jaxflow.config.command_line import ScriptParser, load_spec, override_arguments, run_script
from jaxflow.config.printing import say, show
from jaxflow.errors import InputError
from jaxflow.evaluation import plot_density_panels, print_table, provenance, save_figure, write_report
from jaxflow.experiment.run import run_experiment
from jaxflow.experiment.spec import Experiment

HEADER = ("flow", "held-out log-density (nats a row)", "fit (s)", "score (s)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, fit each, draw."""
    parser = ScriptParser(prog="compare_densities.py", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="experiment with variants, a YAML file")
    parser.add_argument("--out", type=Path, help="directory (default: out/<config name>)")
    override_arguments(parser, Experiment)
    options = parser.parse_args(arguments)
    experiment = load_spec(Experiment, options.config, options)
    out = options.out or Path("out") / options.config.stem
    names = [experiment.model.kind, *experiment.variants]
    variants = [experiment.model_copy(update={"variants": {}})]
    variants += [experiment.variant(name, str(options.config)) for name in experiment.variants]

    runs = {}
    for name, variant in zip(names, variants, strict=True):
        say(f"{name}")
        runs[name] = run_experiment(variant, progress=True)
        if runs[name].x.shape[1] != 2:
            raise InputError(f"{options.config}: the data has {runs[name].x.shape[1]} features, expected 2 to draw")
    first = next(iter(runs.values()))
    normal = first.x if first.y is None else first.x[first.y == 0]
    table = [
        (
            name,
            round(float(np.mean(run.detector.score_samples(normal))), 4),
            round(run.fit_seconds or 0.0, 1),
            round(run.score_seconds, 2),
        )
        for name, run in runs.items()
    ]
    write_csv(out / "results.csv", ("flow", "log_density", "fit_seconds", "score_seconds"), table)
    densities = {name: run.detector.score_samples for name, run in runs.items()}
    save_figure(plot_density_panels(normal, densities, title=experiment.title), out / "densities.png")
    command = sys.argv if arguments is None else ["scripts/compare_densities.py", *arguments]
    write_report(
        out / "summary.md",
        title=experiment.title,
        summary=f"{first.n_train:,} normal rows to learn from, {len(normal):,} held-out normal rows to judge by.",
        tables=[("Held-out rows", HEADER, table)],
        figures=[("Densities", "densities.png", "One scale for all; the first panel shows held-out rows.")],
        provenance=provenance(["python", *command], experiment.seed),
    )
    print_table(experiment.title, HEADER, table)
    show(f"summary: {out / 'summary.md'}")


if __name__ == "__main__":
    run_script(main)
