"""Judge a saved detector on labelled data: metrics, figures, report.

With --config, on the test rows of that experiment, as the options of its sections data and split change it. Without,
on all rows of the data set or file that --data.name or --data.path names, or on the test rows of a split of them; if
the detector was fitted on some of these rows, the figures flatter it.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from pydantic import Field

from jaxflow.config.command_line import (
    ScriptParser,
    collect_overrides,
    command_given,
    import_modules,
    load_spec,
    merge,
    override_arguments,
    program,
)
from jaxflow.config.printing import show
from jaxflow.config.spec import Spec, parse_spec
from jaxflow.data import ColumnsSpec, DataSpec, Frame, SplitSpec, load_dataset, split_dataset
from jaxflow.data.columns.columns_spec import ColumnSpec
from jaxflow.detection import Detector, load
from jaxflow.detection.explain.explanation import categories_of
from jaxflow.errors import InputError
from jaxflow.evaluation import metrics_table, print_table, provenance
from jaxflow.experiment.configs import config_file
from jaxflow.experiment.earlier_results import Results, files_there, made_of, require_own_results, weights_of
from jaxflow.experiment.run import data_for, experiment_rows, rows_for, score_run
from jaxflow.experiment.run_files import require_writable, write_run
from jaxflow.experiment.spec import Experiment


class EvaluationSpec(Spec):
    """Which rows to judge on."""

    seed: int = Field(default=0, ge=0, lt=2**31, description="seed of made data and of the split")
    data: DataSpec = Field(description="the labelled data")
    split: SplitSpec | None = Field(default=None, description="judge on the test rows of this split only")


class LabelledRows(NamedTuple):
    """Rows to judge on, from the data set `name`; y is None where the labels are unknown.

    `numbers` are those of the rows in the data, from 1.
    """

    name: str
    x: Frame
    y: Int[np.ndarray, "n"] | None
    seed: int
    numbers: Int[np.ndarray, "n"] | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, score, write."""
    parser = ScriptParser(prog=program("evaluate"), description=__doc__)
    parser.add_saved_model()
    parser.add_argument("--config", metavar="NAME", help="judge on the test rows of this experiment")
    parser.add_argument("--out", type=Path, help="directory for the results (default: evaluation/ beside the model)")
    parser.add_overwrite()
    parser.add_reasons_method()
    override_arguments(parser, EvaluationSpec)
    options = parser.parse_args(arguments)
    out = options.out or options.model.parent / "evaluation"
    import_modules(options.modules)
    detector = load(options.model)
    require_writable(out)
    asked = _asked(options)
    results_of = made_of("evaluate.py", asked.data, detector.model_spec_.kind) | {"weights": weights_of(options.model)}
    if not options.overwrite:
        require_own_results(out, results_of)
    rows = _rows_of_experiment(asked, detector) if isinstance(asked, Experiment) else _rows_of_data_set(asked, detector)
    if rows.y is None:
        raise InputError(f"{rows.name} has no labels to judge by, expected them in the column that --data.label names")

    x = rows_for(detector, rows.x, rows.name)
    run = score_run(detector, x, rows.y, n_train=detector.n_train_, numbers=rows.numbers)
    assert run.metrics is not None
    made = provenance(command_given("evaluate", arguments), rows.seed)
    results = Results(out, files_there(out), made, results_of)
    title = f"{rows.name}, saved detector"
    write_run(run, out, title=title, provenance=made, reasons_method=options.reasons_method, results=results)
    print_table(f"{rows.name}: {type(detector).__name__}", *metrics_table(run.metrics))
    show(f"report: {out / 'report.md'}")


def _asked(options: Namespace) -> Experiment | EvaluationSpec:
    if options.config:
        return load_spec(Experiment, config_file(options.config), options)
    return parse_spec(EvaluationSpec, merge({}, collect_overrides(options), EvaluationSpec), "the options given")


def _rows_of_experiment(experiment: Experiment, detector: Detector) -> LabelledRows:
    experiment = experiment.model_copy(update={"data": data_for(detector, experiment.data)})
    rows = experiment_rows(experiment)
    numbers = None if rows.test_rows is None else rows.test_rows + 1
    return LabelledRows(rows.name, rows.x_test, rows.y_test, experiment.seed, numbers)


def _rows_of_data_set(spec: EvaluationSpec, detector: Detector) -> LabelledRows:
    known = detector.columns or ColumnsSpec()
    # What the detector found to be texts are texts here too, even where they look like numbers.
    texts = {name: ColumnSpec(kind="categorical") for name in categories_of(detector)}
    columns = known.model_copy(update={"types": {**known.types, **texts}})
    dataset = load_dataset(data_for(detector, spec.data), seed=spec.seed, columns=columns)
    x, y = Frame(dataset.x, dataset.feature_names, dataset.categories), dataset.y
    numbers = None
    if spec.split is not None:
        split = split_dataset(dataset, spec.split, seed=spec.seed)
        x, y, numbers = split.test, split.y_test, split.test_rows + 1
    return LabelledRows(dataset.name, x, y, spec.seed, numbers)
