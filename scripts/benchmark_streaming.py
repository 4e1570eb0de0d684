"""Train on and score Parquet files that are larger than the memory that is used, beside the same work in memory.

Makes files of a known density, fits a flow to them with train.py and scores all of them with score.py, each in a
process whose greatest resident memory is read from the system. In memory: the same flow, batches and commands for as
many rows as one file has. Writes `streaming.csv` and `summary.md`.
"""

import csv
import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from pyarrow import parquet

from jaxflow import load
from jaxflow.atomic_write import replacing, write_csv, write_text
from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.config.printing import say, show
from jaxflow.detection import Detector
from jaxflow.errors import InputError
from jaxflow.evaluation import format_number, print_table, provenance, write_report
from jaxflow.training.feeding.sources import BUFFER_ROWS

SEED = 0
REPEATS = 7  # of what is measured in this process
GROUP_ROWS = 1 << 16
SPREAD = 0.5
SCRIPTS = Path(__file__).parent


class Work(NamedTuple):
    """Work of a command.

    Attributes:
        task: "train" or "score".
        way: "files" or "memory".
        rows: number of rows it went through, of all epochs.
        seconds: how long that took.
        peak: greatest resident memory of the process in bytes; None where it is not a process of its own.
    """

    task: str
    way: str
    rows: int
    seconds: float
    peak: int | None

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, make, run, write."""
    parser = ScriptParser(prog="benchmark_streaming.py", description=__doc__)
    parser.add_argument("--gib", type=float, default=4.0, help="size of the files in GiB (default: 4)")
    parser.add_argument("--file-rows", type=int, default=1 << 20, help="rows of each file (default: 1048576)")
    parser.add_argument("--dim", type=int, default=32, help="number of features (default: 32)")
    parser.add_argument("--layers", type=int, default=5, help="autoregressive layers (default: 5)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64], help="hidden widths (default: 64 64)")
    parser.add_argument("--batch", type=int, default=1024, help="rows a training step (default: 1024)")
    parser.add_argument(
        "--buffer-rows", type=int, default=BUFFER_ROWS, help=f"rows shuffled at once (default: {BUFFER_ROWS})"
    )
    parser.add_argument("--work", type=Path, default=Path("out/streaming"), help="where files and models go")
    parser.add_argument("--out", type=Path, default=Path("out/streaming"), help="where to write the tables")
    options = parser.parse_args(arguments)
    if options.gib <= 0:
        raise InputError(f"--gib {options.gib:g}: expected more than 0")
    for name in ("file_rows", "dim", "layers", "batch", "buffer_rows"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least 1")
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{parser.prog}", *arguments])], SEED)

    folder = make_files(options)
    files = sorted(folder.glob("*.parquet"))
    size = sum(file.stat().st_size for file in files)
    say(f"{len(files)} files, {size / 2**30:.2f} GiB")
    works, quality = measure(options, folder, files)
    write_csv(options.out / "streaming.csv", (*Work._fields, "rate"), ((*work, work.rate) for work in works))
    shown = [table(works)]
    page = options.out / "summary.md"
    text = summary(options, len(files), size, quality)
    write_report(page, title="Data larger than memory", summary=text, tables=shown, figures=[], provenance=made)
    for heading, header, rows in shown:
        print_table(heading, header, rows)
    show(f"summary: {page}")


def draw(rng: np.random.Generator, rows: int, dim: int) -> Float[np.ndarray, "rows dim"]:
    """Rows of a chain: x_1 = z_1, x_i = 3 tanh(x_{i-1}) + z_i / 2 with standard normal z."""
    x = rng.standard_normal((rows, dim), np.float32)
    for index in range(1, dim):
        x[:, index] = 3 * np.tanh(x[:, index - 1]) + SPREAD * x[:, index]
    return x


def true_log_density(x: Float[np.ndarray, "rows dim"]) -> float:
    """Mean log-density of rows under the chain, in nats."""
    z = np.concatenate([x[:, :1], (x[:, 1:] - 3 * np.tanh(x[:, :-1])) / SPREAD], axis=1).astype(float)
    log_det = (x.shape[1] - 1) * np.log(SPREAD)
    return float(np.mean(-0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=1)) - log_det)


def make_files(options: Namespace) -> Path:
    """The folder of the files, which are made unless they are there."""
    folder = options.work / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    count = max(1, round(options.gib * 2**30 / (4 * options.dim * options.file_rows)))
    about = json.dumps({"files": count, "rows": options.file_rows, "dim": options.dim, "seed": SEED})
    note = options.work / "rows.json"
    if note.exists() and note.read_text() == about:
        return folder
    for old in folder.glob("*.parquet"):
        old.unlink()
    names = [f"x{index}" for index in range(options.dim)]
    for number in range(count):
        x = draw(np.random.default_rng((SEED, number)), options.file_rows, options.dim)
        with replacing(folder / f"part{number:03}.parquet") as temporary:
            # Random digits do not compress; dictionaries would only be tried in vain.
            parquet.write_table(
                pa.table(dict(zip(names, x.T, strict=True))), temporary, row_group_size=GROUP_ROWS,
                use_dictionary=False, compression="none",
            )  # fmt: skip
        print(f"\rmade {number + 1} of {count} files", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    write_text(about, note)
    return folder


def measure(options: Namespace, folder: Path, files: Sequence[Path]) -> tuple[list[Work], tuple[float, float]]:
    """All four commands, and the mean log-density that the flow gives fresh rows beside the true one."""
    work = options.work
    config = work / "flow.yaml"
    hidden = ", ".join(map(str, options.hidden))
    write_text(
        f"data: {{path: {folder}}}\n"
        f"model: {{kind: maf, layers: {options.layers}, hidden: [{hidden}]}}\n"
        f"train: {{epochs: 1, batch_size: {options.batch}}}\n"
        "split: {test_fraction: 0.01}\n",
        config,
    )
    streamed = ("--data.stream", "true", "--data.buffer_rows", str(options.buffer_rows))
    resident = ("--data.path", str(files[0]), "--data.label", "null", "--train.epochs", "4")
    ways = {"files": streamed, "memory": resident}
    works = []
    for way, more in ways.items():
        out = work / f"run_{way}"
        peak, whole = run("train.py", "--config", str(config), *more, "--out", str(out), "--checkpoint-seconds", "1e9")
        with (out / "history.csv").open() as file:
            history = list(csv.DictReader(file))
        # In memory the first epoch has the compilation; of the files there is one epoch, with the compilation.
        counted = history[1:] or history
        rates = [float(row["steps_per_second"]) * options.batch for row in counted]
        seconds = float(history[-1]["seconds"]) - (float(history[0]["seconds"]) if len(history) > 1 else 0.0)
        works.append(Work("train", way, round(np.mean(rates) * seconds), seconds, peak))
        if way == "files":
            works.append(Work("train", "files, from start to end", works[-1].rows, whole, peak))
    model = str(work / "run_files" / "model")
    peak, seconds = run("score.py", "--model", model, "--input", str(folder), "--output", str(work / "answers"))
    works.append(Work("score", "files", options.file_rows * len(files), seconds, peak))
    detector = load(model)
    x = draw(np.random.default_rng(SEED + 1), options.file_rows, options.dim).astype(float)
    detector.anomaly_score(x)  # compiles
    times = [seconds_to_score(detector, x) for _ in range(REPEATS)]
    works.append(Work("score", "memory", options.file_rows, float(np.median(times)), None))
    return works, (float(np.mean(detector.score_samples(x))), true_log_density(x))


def seconds_to_score(detector: Detector, x: Float[np.ndarray, "rows dim"]) -> float:
    """How long rows in memory take."""
    started = time.perf_counter()
    detector.anomaly_score(x)
    return time.perf_counter() - started


def run(script: str, *arguments: str) -> tuple[int, float]:
    """Run a script to its end: its greatest resident memory in bytes, and how many seconds it took.

    The memory counts this process too, of which the new one is a copy at first; so it must not have grown before.

    Raises:
        InputError: if it fails.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(SCRIPTS / script), *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise InputError(f"{script} {' '.join(arguments)} ended with {process.returncode}")
    return usage.ru_maxrss * 1024, time.perf_counter() - started


def table(works: Sequence[Work]) -> tuple[str, list[str], list[list[str]]]:
    """Rate and memory of each command, and the share of the rate in memory that files reach."""
    rates = {(work.task, work.way): work.rate for work in works}
    rows = []
    for work in works:
        share = "" if work.way == "memory" else f"{work.rate / rates[work.task, 'memory']:.2f}"
        cells = (format_number(work.rows), format_number(work.seconds), format_number(work.rate))
        peak = "" if work.peak is None else f"{work.peak / 2**30:.2f}"
        rows.append([work.task, work.way, *cells, share, peak])
    header = ["task", "rows from", "rows", "seconds", "rows a second", "times the rate in memory", "peak memory (GiB)"]
    return "Rows a second and memory", header, rows


def summary(options: Namespace, files: int, size: int, quality: tuple[float, float]) -> str:
    """A paragraph that says what the numbers are."""
    hidden = ", ".join(map(str, options.hidden))
    return (
        f"{files} Parquet files of {options.file_rows:,} rows of {options.dim} features, {size / 2**30:.2f} GiB, drawn "
        f"from a known density; an affine masked autoregressive flow of {options.layers} layers with hidden layers of "
        f"{hidden} units, one epoch in batches of {options.batch}, rows shuffled within {options.buffer_rows:,}. "
        "Train: the epoch of train.py with data.stream, compilation included; from start to end all of train.py, with "
        "two readings of all files before the epoch, which hold rows out, and evaluation after it; in memory train.py "
        "on one of the files, four epochs of which the first, with the compilation, is left out. Score: all of "
        "score.py, start and compilation and the writing of the answers included; in memory anomaly_score of as many "
        f"rows as a file has, compiled before, the median of {REPEATS} times. Peak memory: the "
        "greatest resident set of the process. Fresh rows have a mean log-density of "
        f"{quality[0]:.3f} nats under the flow that was fitted to the files and of {quality[1]:.3f} under the density "
        "they come from."
    )


if __name__ == "__main__":
    run_script(main)
