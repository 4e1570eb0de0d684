"""Results of `benchmark_speed.py`, as CSV and as tables."""

import csv
import io
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from jaxflow.evaluation import format_number
from speed.work import CLIP_NORM, FIT_EPOCHS, FLOWS, LOG_PROB_ROWS, SAMPLE_ROWS

Table = tuple[str, list[str], list[list[str]]]

UNITS = {"train": "steps/s", "fit": "steps/s", "log_prob": "rows/s", "sample": "rows/s", "compile": "s"}
COLUMNS = ("library", "flow", "dim", "hidden", "layers", "batch", "task", "rate", "unit", "min", "max")
OURS = "jaxflow"  # what all others are set against


class Shape(NamedTuple):
    """The flow and its training, but for the number of features."""

    hidden: tuple[int, ...]
    layers: int
    batch: int
    flow: str = "maf"


class Timing(NamedTuple):
    """One task at one number of features: the rate of each contestant (for `compile`, its seconds) in every round."""

    dim: int
    task: str
    rates: dict[str, list[float]]


def csv_text(timings: Sequence[Timing], shape: Shape) -> str:
    """One line for each contestant of each timing: the median over the rounds, the least and the greatest."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    hidden = "-".join(map(str, shape.hidden))
    for dim, task, contestants in timings:
        for name, rates in contestants.items():
            flow = (name, shape.flow, dim, hidden, shape.layers, shape.batch)
            writer.writerow((*flow, task, statistics.median(rates), UNITS[task], min(rates), max(rates)))
    return text.getvalue()


def tables(dim: int, timings: Sequence[Timing], parameters: dict[str, int]) -> list[Table]:
    """For one number of features the table of medians and, where there is something to compare, that of ratios.

    Args:
        dim: the number of features.
        timings: what was measured, at this number of features and others.
        parameters: the number of trained parameters of each library's flow.
    """
    measured = {timing.task: timing.rates for timing in timings if timing.dim == dim}
    medians: list[list[str]] = []
    ratios: list[list[str]] = []
    for name in dict.fromkeys(name for rates in measured.values() for name in rates):
        values = [rates.get(name) for rates in measured.values()]
        medians.append([name, *("" if rates is None else format_number(statistics.median(rates)) for rates in values)])
        if name != OURS and any(OURS in rates for rates in measured.values()):
            cells = [
                _ratio(task, rates[OURS], rates[name]) if name in rates else "" for task, rates in measured.items()
            ]
            ratios.append([f"{OURS} / {name}", *cells])
    header = ["library", *(f"{task} ({UNITS[task]})" for task in measured)]
    made = [(f"{dim} features, {_parameters(parameters)}", header, medians)]
    if ratios:
        made.append((f"{dim} features: how many times faster jaxflow is", ["pair", *measured], ratios))
    return made


def times_faster(task: str, ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """How many times faster ours was, round by round; above 1 in our favour for seconds as well as for rates."""
    if UNITS[task] == "s":
        ours, theirs = theirs, ours
    return [first / second for first, second in zip(ours, theirs, strict=True)]


def summary(shape: Shape, rounds: int) -> str:
    """A paragraph that says what the numbers in the tables are."""
    return (
        f"{FLOWS[shape.flow]} of {shape.layers} layers with hidden layers of "
        f"{', '.join(map(str, shape.hidden))} units and ReLU, trained by Adam on batches of {shape.batch} rows with "
        f"the gradient clipped at norm {CLIP_NORM:g}; all rows are standard normal, in float32. The numbers are "
        f"medians over {rounds} rounds in which the libraries took turns. train: training steps a second over rows "
        "that are shuffled for each epoch, in each library's own way; flowjax runs the epoch of its fit_to_data "
        "without the validation. flowjax step alone: its compiled step on batches cut beforehand, with nothing around "
        "it, while jaxflow's epoch shuffles, keeps the best parameters and reports. "
        f"log_prob: rows a second, {LOG_PROB_ROWS:,} in a call. sample: rows a second, {SAMPLE_ROWS:,} in a call. "
        "compile: seconds from an untrained flow to its first finished step, with nothing compiled before. "
        f"fit: training steps a second of whole calls of the training function, jaxflow's fit and flowjax's "
        f"fit_to_data, for {FIT_EPOCHS} epochs with a tenth of the rows held out, after an earlier call of the same; "
        "fit_to_data compiles its step anew in each call. zuko and nflows "
        "have the faster of one thread and all cores in each round. Ratios say how many times faster jaxflow is, "
        "computed round by round: median (least to greatest); below 1 the other library is faster."
    )


def _parameters(counts: dict[str, int]) -> str:
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values())):,} trained parameters"
    return "trained parameters: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _ratio(task: str, ours: Sequence[float], theirs: Sequence[float]) -> str:
    values = times_faster(task, ours, theirs)
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
