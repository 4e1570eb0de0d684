"""Judge a saved detector on labelled data: metrics, figures, report.

With --config, on the test rows of that experiment (the options of its section data and split can be given). Without,
on all rows of the data set or file that the options --data.name or --data.path name; if the detector was fitted on
some of these rows, the figures flatter it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from jaxflow.config.command_line import (
    ScriptParser,
    collect_overrides,
    merge,
    override_arguments,
    read_config,
    run_script,
)
from jaxflow.config.experiment import Experiment
from jaxflow.config.spec import Spec, parse_spec
from jaxflow.data import DataSpec, SplitSpec, load_dataset, split_dataset
from jaxflow.detection import load
from jaxflow.errors import InputError
from jaxflow.evaluation import metrics_table, print_table, provenance
from jaxflow.evaluation.run import rows_for, score_run
from jaxflow.evaluation.run_files import write_run


class EvaluationSpec(Spec):
    """Which rows to judge on."""

    seed: int = Field(default=0, ge=0, lt=2**31, description="seed of made data and of the split")
    data: DataSpec = Field(description="the labelled data")
    split: SplitSpec | None = Field(default=None, description="judge on the test rows of this split only")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, score, write."""
    parser = ScriptParser(prog="evaluate.py", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="directory of the saved detector")
    parser.add_argument("--config", type=Path, help="judge on the test rows of this experiment")
    parser.add_argument("--out", type=Path, help="directory for the results (default: evaluation/ beside the model)")
    override_arguments(parser, EvaluationSpec)
    options = parser.parse_args(arguments)
    base, source = {}, "the options given"
    if options.config is not None:
        experiment = parse_spec(Experiment, read_config(options.config), str(options.config))
        base = experiment.model_dump(mode="json", include={"seed", "data", "split"}, exclude_unset=True)
        # The split is a part of the experiment even where its config leaves it at the default.
        base = {"split": {}, **base}
        source = f"{options.config} and the options given"
    spec = parse_spec(EvaluationSpec, merge(base, collect_overrides(options), EvaluationSpec), source)
    out = options.out or options.model.parent / "evaluation"

    detector = load(options.model)
    dataset = load_dataset(spec.data, seed=spec.seed)
    if dataset.y is None:
        raise InputError(f"{dataset.name} has no labels to judge by: name its label column with --data.label")
    x = rows_for(detector, dataset.x, dataset.feature_names, dataset.name)
    y = dataset.y
    if spec.split is not None:
        split = split_dataset(dataset, spec.split, seed=spec.seed)
        x, y = rows_for(detector, split.x_test, split.feature_names, split.name), split.y_test
    run = score_run(detector, x, y, n_train=detector.n_train_)
    command = sys.argv if arguments is None else ["scripts/evaluate.py", *arguments]
    write_run(run, out, title=f"{dataset.name}, saved detector", provenance=provenance(["python", *command], spec.seed))
    if run.metrics is not None:
        print_table(f"{dataset.name}: {type(detector).__name__}", *metrics_table(run.metrics))
    print(f"report: {out / 'report.md'}")


if __name__ == "__main__":
    run_script(main)
