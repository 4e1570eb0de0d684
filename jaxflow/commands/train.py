"""Fit a detector to a file of your own, or to data as a config says, and judge it on the test rows.

`train FILE` needs no config: the detector is then the default one, a committee of densities. With --config too, the
model and all else are those of the config, the data is the file. A file without labels is learned from altogether.

Writes the saved detector `model/`, `metrics.json`, `history.csv` and `.jsonl` (both grow while a fit lasts),
`figures/*.png`, `report.md` and `provenance.json`.
A config with variants makes one more run for each, in a folder of its own beneath. While a fit lasts, its state is
saved in `checkpoints/`, from which --resume goes on after an interruption; SIGTERM saves it at once and ends the run.
A folder with results of other data or of another kind of model is left alone, unless --overwrite says otherwise.
"""

import math
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from jaxflow.config.command_line import (
    ScriptParser,
    collect_overrides,
    command_given,
    merge,
    override_arguments,
    program,
    read_config,
)
from jaxflow.config.ending import advising
from jaxflow.config.printing import say, show
from jaxflow.config.spec import parse_spec
from jaxflow.data.tables.csv.dialect import CsvOptions
from jaxflow.data.tables.read_table import table_columns
from jaxflow.detection.storage.save_and_load import require_free_place
from jaxflow.errors import InputError
from jaxflow.evaluation import format_number, metrics_table, print_table, provenance
from jaxflow.experiment.configs import config_file, listed_configs
from jaxflow.experiment.earlier_results import Results, files_there, made_of, require_own_results
from jaxflow.experiment.run import Run, StoppedRun, run_experiment
from jaxflow.experiment.run_files import TableEntry, has_density_figure, require_writable, write_run
from jaxflow.experiment.spec import Experiment
from jaxflow.training import Callback, Checkpoints, LiveFile, Profiler, TensorBoard
from jaxflow.training.devices.hosts import is_first, join_as_told, wait_for_all
from jaxflow.training.devices.preemption import listening
from jaxflow.training.monitoring.checkpoints import discard, has_checkpoints
from jaxflow.training.monitoring.kept_checkpoints import require_place_for_checkpoints

DEFAULT_LABEL = "label"  # of a file, where no other column is named
COMPARED = ("roc_auc", "pr_auc", "precision", "recall", "f1", "false_positive_rate")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, write."""
    parser = ScriptParser(prog=program("train"), description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", help="a table of your own: CSV, Parquet or NPZ (--data.path)")
    parser.add_argument("--config", metavar="NAME", help=f"the experiment: a YAML file, or one of {listed_configs()}")
    parser.add_argument("--label", metavar="COLUMN", help="the file's column of labels, 1 for anomalies (--data.label)")
    parser.add_argument("--out", type=Path, help="directory for the results (default: out/<name of file or config>)")
    parser.add_overwrite()
    parser.add_argument("--quiet", action="store_true", help="show no progress while fitting")
    parser.add_argument(
        "--devices", type=int, help="number of devices to fit on; -1 for all that JAX sees (default: 1)"
    )
    parser.add_reasons_method()
    parser.add_distributed()
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoints of a run that was interrupted"
    )
    parser.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="least time between two checkpoints, which are written at the end of an epoch, or of a block of rows that "
        "come from files (default: 60)",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write event files for TensorBoard to tensorboard/")
    parser.add_argument("--profile", action="store_true", help="write a JAX trace of three epochs to profile/")
    override_arguments(parser, Experiment)
    options = parser.parse_args(arguments)
    if not 0 <= options.checkpoint_seconds < math.inf:
        raise InputError(f"--checkpoint-seconds {options.checkpoint_seconds:g}: expected a number from 0 on")
    if options.distributed and options.devices is not None:
        raise InputError(f"--devices {options.devices}: expected no value, as --distributed uses all devices")
    join_as_told(options)
    # Of several processes none may leave the others alone; a single one may end at any point but in a fit, which saves.
    with listening() if options.distributed else nullcontext():
        _run(options, arguments)


def _run(options: Namespace, arguments: Sequence[str] | None) -> None:
    experiment, source, title = _asked(options)
    out = options.out or Path("out") / _stem(source)
    for option in ("tensorboard", "profile"):
        if experiment.fits_itself and getattr(options, option):
            raise InputError(f"--{option}: a {experiment.model.kind} fits itself: there are no epochs to watch")
    variants = {name: experiment.variant(name, str(source)) for name in experiment.variants}
    folders = {out: experiment} | {out / name: changed for name, changed in variants.items()}
    for folder, changed in folders.items():
        _require_place(folder, changed, options)
    made = provenance(command_given("train", arguments), experiment.seed)
    with advising(partial(_advice, folders)):
        _carry_out(experiment, title, out, variants, made, options)


def _asked(options: Namespace) -> tuple[Experiment, Path, str]:
    """Return the experiment that was asked for, the file that its results are named after, and its title."""
    changes = collect_overrides(options)
    for given, key in (("file", "data.path"), ("label", "data.label")):
        value = getattr(options, given)
        if value is None:
            continue
        if key in changes:
            raise InputError(f"--{key} {changes[key]}: expected no value, as {value} is given already")
        changes[key] = str(value)
    if options.config is None and "data.path" not in changes:
        raise InputError("expected a file to learn from, as in `jaxflow train mine.csv`, or a --config")
    if options.config is None:
        config, source = {"model": {"kind": "committee"}}, Path(changes["data.path"])
    else:
        source = config_file(options.config)
        config = read_config(source)
    if options.file is not None and "data.label" not in changes and not _has_labels(options.file, changes):
        changes["data.label"] = None
        say(f"{options.file}: no column of labels is named (--label COLUMN), so all rows are learned from")
    said = f"{source} and the options given" if options.config and changes else str(source)
    experiment = parse_spec(Experiment, merge(config, changes, Experiment), said)
    if "data.path" in changes:
        source = Path(changes["data.path"])
        # The title that a config has is about its own data.
        return experiment, source, changes.get("title") or source.name
    return experiment, source, experiment.title or _stem(source)


def _has_labels(path: Path, changes: Mapping[str, Any]) -> bool:
    options = {key.removeprefix("data."): value for key, value in changes.items() if key.startswith("data.")}
    known = {name: value for name, value in options.items() if name in CsvOptions.model_fields}
    return DEFAULT_LABEL in table_columns(path, parse_spec(CsvOptions, known, "the options given"))


def _stem(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem


def _require_place(folder: Path, experiment: Experiment, options: Namespace) -> None:
    """Refuse a folder where this run would replace what is not an earlier run of the like."""
    kept = folder / "checkpoints"
    require_writable(folder)
    require_free_place(folder / "model")
    if not experiment.fits_itself:
        require_place_for_checkpoints(kept)
    if not options.resume and has_checkpoints(kept):
        raise InputError(
            f"{kept} holds checkpoints of a run that was interrupted: go on from there with "
            "--resume, or remove the directory to begin anew"
        )
    if not options.overwrite:
        require_own_results(folder, made_of("train.py", experiment.data, experiment.model.kind))


def _advice(folders: Iterable[Path]) -> str:
    """How to go on, if there is something to go on from."""
    kept = [folder / "checkpoints" for folder in folders if has_checkpoints(folder / "checkpoints")]
    return f"--resume goes on from {', '.join(map(str, kept))}" if kept else ""


def _carry_out(
    experiment: Experiment,
    title: str,
    out: Path,
    variants: Mapping[str, Experiment],
    made: dict[str, Any],
    options: Namespace,
) -> None:
    there = {folder: files_there(folder) for folder in (out, *(out / name for name in variants))}

    def tell(text: str) -> None:
        if is_first():
            say(text)

    def carry_out(changed: Experiment, folder: Path) -> Run:
        kept = folder / "checkpoints"
        if options.resume and not has_checkpoints(kept):
            tell(f"no checkpoints in {kept}: beginning from the start")
        checkpoints = Checkpoints(directory=kept, seconds=options.checkpoint_seconds, resume=options.resume)
        callbacks = [] if changed.fits_itself or not is_first() else _callbacks(folder, options)
        devices = -1 if options.distributed else 1 if options.devices is None else options.devices
        how = {"progress": is_first() and not options.quiet, "devices": devices, "checkpoints": checkpoints}
        try:
            return run_experiment(changed, **how, callbacks=callbacks)
        except StoppedRun as stopped:
            stops.append(stopped)
            return stopped.run

    def keep(run: Run, changed: Experiment, folder: Path, provenance: dict[str, Any], **how: Any) -> None:
        if is_first():
            results_of = made_of("train.py", changed.data, changed.model.kind)
            results = Results(folder, there[folder], provenance, results_of, variants if folder == out else ())
            results.begin()
            run.detector.save(folder / "model")
            how |= {"provenance": provenance, "results": results}
            write_run(run, folder, **how, reasons_method=options.reasons_method)

    runs: dict[str, Run] = {}
    stops: list[StoppedRun] = []
    for name, changed in variants.items():
        tell(f"{title}: variant {name}")
        runs[name] = carry_out(changed, out / name)
        keep(runs[name], changed, out / name, {**made, "seed": changed.seed}, title=f"{title}: {name}")
    tell(f"{title}: {experiment.model.kind} on {experiment.data.name or experiment.data.path}")
    run = carry_out(experiment, out)
    tell(f"columns: {run.detector.inputs_.summary()}")
    tables = [_comparison({"(main)": run, **runs})] if runs else []
    figures = [
        (f"Density: {name}", f"{name}/figures/density.png", "The same figure for this variant.")
        for name, changed in runs.items()
        if has_density_figure(changed)
    ]
    keep(run, experiment, out, made, title=title, tables=tables, figures=figures)
    if is_first():
        for folder in (out, *(out / name for name in variants)):
            discard(folder / "checkpoints")  # all that they could bring back is written
        _show(run, title, tables, out)
    wait_for_all("the results are written")
    if stops:
        raise stops[0]


def _show(run: Run, title: str, tables: Sequence[TableEntry], out: Path) -> None:
    if run.metrics is None:
        print_table(title, ("rows", "count"), [("scored", len(run.scores)), ("flagged", run.n_flagged)])
    else:
        print_table(title, *metrics_table(run.metrics))
    for heading, header, rows in tables:
        print_table(heading, header, rows)
    show(f"report: {out / 'report.md'}")


def _callbacks(folder: Path, options: Namespace) -> list[Callback]:
    callbacks: list[Callback] = [LiveFile(folder / "history.csv"), LiveFile(folder / "history.jsonl")]
    if options.tensorboard:
        callbacks.append(TensorBoard(folder / "tensorboard"))
    if options.profile:
        callbacks.append(Profiler(folder / "profile"))
    return callbacks


def _comparison(runs: dict[str, Run]):
    rows = [
        (name, *(format_number(getattr(run.metrics, metric)) if run.metrics else "n/a" for metric in COMPARED))
        for name, run in runs.items()
    ]
    header = ("run", "ROC-AUC", "PR-AUC", "precision", "recall", "F1", "FP rate")
    return "Variants side by side", header, rows
