"""Score a large Parquet file, and events one at a time, as they are scored in service: with score.py.

Fits detectors to rows of a known density and saves them. The flow scores a Parquet file of other such rows in a process
of its own, whose greatest resident memory is read from the system. Then each detector answers events, one JSON line
after the other through pipes, in a process that is kept to one core, beside scikit-learn's isolation forest. Writes
`file.csv`, `events.csv` and `summary.md`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from pyarrow import parquet
from sklearn.ensemble import IsolationForest

from jaxflow.atomic_write import write_csv
from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.config.printing import say, show
from jaxflow.detection import AutoencoderDetector, Detector, FlowDetector, GaussianDetector
from jaxflow.errors import InputError
from jaxflow.evaluation import format_number, print_table, provenance, write_report
from jaxflow.training import FitSpec

SEED = 0
GROUP_ROWS = 1 << 20
ANSWER_BYTES = 64  # of a row of the answers, at most
IN_PROCESS_EVENTS = 500  # calls of the isolation forest, of which each takes long
SCRIPTS = Path(__file__).parent

# A process is said to have been as large as the one that started it, so a small one stands between the two.
MEASURE = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps({"code": code, "seconds": seconds, "peak": peak}))
"""


class FileWork(NamedTuple):
    """Cost of scoring the file.

    Attributes:
        rows, columns: the size of the file.
        read: its bytes.
        written: those of the answers.
        seconds: from the start of the process to its end.
        peak: greatest resident memory of the process in bytes.
    """

    rows: int
    columns: int
    read: int
    written: int
    seconds: float
    peak: int


class Latency(NamedTuple):
    """How long events waited for their answers, in milliseconds.

    Attributes:
        detector: what answered.
        way: how it was asked.
        events, flagged: number of events, and how many of them were anomalies.
        median, p99, slowest: of all events; the second is the 99th percentile.
        median_flagged: of those flagged; NaN if none was.
    """

    detector: str
    way: str
    events: int
    flagged: int
    median: float
    p99: float
    slowest: float
    median_flagged: float

    @classmethod
    def of(cls, detector: str, way: str, seconds: Sequence[float], flagged: Sequence[bool]) -> "Latency":
        """The summary of single events."""
        waited, marked = 1000 * np.asarray(seconds), np.asarray(flagged, bool)
        median, p99, slowest = np.quantile(waited, (0.5, 0.99, 1.0)).tolist()
        median_flagged = float(np.median(waited[marked])) if marked.any() else np.nan
        return cls(detector, way, len(waited), int(marked.sum()), median, p99, slowest, median_flagged)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, fit, measure, write."""
    parser = ScriptParser(prog="benchmark_serving.py", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the Parquet file (default: 10000000)")
    parser.add_argument("--dim", type=int, default=20, help="number of columns (default: 20)")
    parser.add_argument("--events", type=int, default=2000, help="events for each detector (default: 2000)")
    parser.add_argument("--training-rows", type=int, default=20_000, help="rows to fit to (default: 20000)")
    parser.add_argument("--epochs", type=int, default=20, help="of each fit (default: 20)")
    parser.add_argument("--work", type=Path, help="where the file lies for the time being (default: as the system has)")
    parser.add_argument("--out", type=Path, default=Path("out/serving"), help="where to write the tables")
    options = parser.parse_args(arguments)
    for name in ("rows", "dim", "events", "training_rows", "epochs"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least 1")
    if not hasattr(os, "sched_setaffinity"):
        raise InputError("this system cannot keep a process to one core: events are measured on Linux")
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{parser.prog}", *arguments])], SEED)

    with tempfile.TemporaryDirectory(prefix="serving-", dir=options.work) as name:
        folder = Path(name)
        require_space(options, folder)
        rows = drawn(SEED, options.training_rows, options.dim)
        for kind, detector in fitted(rows, options.epochs).items():
            detector.save(folder / kind)
        np.save(folder / "rows.npy", rows)
        loads = [os.getloadavg()[0]]
        work = score_file(options, folder)
        loads.append(os.getloadavg()[0])
        latencies = answer_events(options, folder, rows)
        loads.append(os.getloadavg()[0])

    write_csv(options.out / "file.csv", FileWork._fields, [work])
    write_csv(options.out / "events.csv", Latency._fields, latencies)
    shown = [file_table(work), event_table(latencies)]
    page = options.out / "summary.md"
    text = summary(options, loads)
    write_report(page, title="Scoring in service", summary=text, tables=shown, figures=[], provenance=made)
    for heading, header, cells in shown:
        print_table(heading, header, cells)
    show(f"summary: {page}")


def drawn(seed: int, rows: int, dim: int) -> Float[np.ndarray, "rows dim"]:
    """Rows of a normal density, the same for every seed, whose columns depend on each other."""
    mixing = np.random.default_rng(SEED).standard_normal((dim, dim))
    return np.random.default_rng((SEED, seed)).standard_normal((rows, dim)) @ mixing


def fitted(rows: Float[np.ndarray, "rows dim"], epochs: int) -> dict[str, Detector]:
    """The three detectors with their default models, fitted."""
    train = FitSpec(epochs=epochs)
    detectors = {
        "flow": FlowDetector(train=train),
        "gaussian": GaussianDetector(),
        "autoencoder": AutoencoderDetector(train=train),
    }
    for detector in detectors.values():
        detector.fit(rows)
        detector.columns_ = tuple(f"x{index}" for index in range(rows.shape[1]))
    return detectors


def require_space(options: Namespace, folder: Path) -> None:
    """Refuse a file that the disk has no room for, before anything is done."""
    needed = options.rows * (8 * options.dim + ANSWER_BYTES)
    free = shutil.disk_usage(folder).free
    if free < 1.2 * needed:
        raise InputError(
            f"--rows {options.rows}: the file and its answers take {needed / 2**30:.1f} GiB and {folder.parent} has "
            f"{free / 2**30:.1f} GiB left: name another directory with --work, or fewer rows"
        )


def score_file(options: Namespace, folder: Path) -> FileWork:
    """Make the file, score it with the flow, and remove both it and the answers."""
    source, answers = folder / "rows.parquet", folder / "answers.parquet"
    schema = pa.schema([(f"x{index}", pa.float64()) for index in range(options.dim)])
    with parquet.ParquetWriter(source, schema, use_dictionary=False) as writer:
        for number, start in enumerate(range(0, options.rows, GROUP_ROWS), start=1):
            part = drawn(number, min(GROUP_ROWS, options.rows - start), options.dim)
            writer.write_table(pa.Table.from_arrays(list(part.T.copy()), schema=schema), row_group_size=GROUP_ROWS)
    command = [sys.executable, str(SCRIPTS / "score.py"), "--model", str(folder / "flow")]
    command += ["--input", str(source), "--output", str(answers)]
    say(f"scoring {options.rows:,} rows")
    done = subprocess.run(
        [sys.executable, "-S", "-c", MEASURE, *command], stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout)
    if found["code"]:
        raise InputError(f"score.py ended with {found['code']}")
    sizes = source.stat().st_size, answers.stat().st_size
    for file in (source, answers):
        file.unlink()
    return FileWork(options.rows, options.dim, *sizes, found["seconds"], found["peak"])


def answer_events(options: Namespace, folder: Path, rows: Float[np.ndarray, "rows dim"]) -> list[Latency]:
    """Every detector answers the same events."""
    events = drawn(options.rows + 1, options.events, options.dim)
    lines = [json.dumps({f"x{index}": value for index, value in enumerate(event)}) for event in events.tolist()]
    latencies = []
    for kind in ("flow", "gaussian", "autoencoder"):
        for way, more in {"score.py --follow": [], "score.py --follow --reasons 0": ["--reasons", "0"]}.items():
            command = [str(SCRIPTS / "score.py"), "--model", str(folder / kind), "--follow", *more]
            latencies.append(Latency.of(kind, way, *follow(command, lines)))
    forest = "isolation forest"
    peer = SCRIPTS / "serving" / "isolation_forest_lines.py"
    command = [str(peer), "--rows", str(folder / "rows.npy"), "--seed", str(SEED)]
    latencies.append(Latency.of(forest, "JSON lines", *follow(command, lines)))
    model = IsolationForest(random_state=SEED).fit(rows)
    few = events[:IN_PROCESS_EVENTS]
    with one_core():
        latencies.append(Latency.of(forest, "score_samples", *called(model.score_samples, few, model.offset_)))
        latencies.append(Latency.of(forest, "predict", *called(model.predict, few, 0)))
    return latencies


def follow(command: Sequence[str], lines: Sequence[str]) -> tuple[list[float], list[bool]]:
    """Ask a process, kept to one core, line after line: the seconds that each answer took, and whether it is a flag."""
    say(" ".join([Path(command[0]).name, *command[1:]]))
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with one_core():  # the process inherits it, threads and all
        process = subprocess.Popen([sys.executable, *command], text=True, bufsize=1, **pipes)
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        said = ""
        while (line := process.stderr.readline()) != "ready\n":
            if not line:
                raise InputError(f"{Path(command[0]).name} ended before it was ready: {said.strip()}")
            said = line
        seconds, flagged = [], []
        for line in lines:
            started = time.perf_counter()
            process.stdin.write(line + "\n")
            answer = process.stdout.readline()
            seconds.append(time.perf_counter() - started)
            flagged.append(json.loads(answer)["anomaly"] == 1)
        process.stdin.close()
    return seconds, flagged


def called(
    judge: Callable[[np.ndarray], np.ndarray], events: Float[np.ndarray, "events dim"], threshold: float
) -> tuple[list[float], list[bool]]:
    """Call a function for one event after the other: the seconds of each call, and whether it gave less than that."""
    seconds, flagged = [], []
    for event in events:
        started = time.perf_counter()
        found = judge(event[None])
        seconds.append(time.perf_counter() - started)
        flagged.append(bool(found[0] < threshold))
    return seconds, flagged


@contextmanager
def one_core() -> Iterator[None]:
    """This thread, and what it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def file_table(work: FileWork) -> tuple[str, list[str], list[list[str]]]:
    """Rate and memory."""
    header = ["rows", "columns", "file (GiB)", "answers (GiB)", "seconds", "rows a second", "peak memory (GiB)"]
    sizes = [f"{size / 2**30:.2f}" for size in (work.read, work.written)]
    rate = [format_number(work.seconds), format_number(work.rows / work.seconds)]
    return "A Parquet file", header, [[f"{work.rows:,}", str(work.columns), *sizes, *rate, f"{work.peak / 2**30:.2f}"]]


def event_table(latencies: Sequence[Latency]) -> tuple[str, list[str], list[list[str]]]:
    """How long an event waits."""
    header = ["detector", "asked by", "events", "flagged", "median", "99th percentile", "slowest", "median of flagged"]
    rows = []
    for latency in latencies:
        *times, flagged = (f"{value:.2f}" for value in latency[4:])
        rows.append([*latency[:2], f"{latency.events:,}", str(latency.flagged), *times, flagged.replace("nan", "")])
    return "Milliseconds from an event to its answer, on one core", header, rows


def summary(options: Namespace, loads: Sequence[float]) -> str:
    """A paragraph that says what the numbers are."""
    return (
        f"Detectors with their default models (the flow an affine masked autoregressive one of 5 layers with hidden "
        f"layers of 64, 64 units), fitted to {options.training_rows:,} rows of {options.dim} columns. The file: all of "
        "score.py with the flow, start and compilation and the writing of the answers included; peak memory is the "
        f"greatest resident set of the process. Events: one JSON line of {options.dim} numbers after the other, each "
        "when the last is answered, from writing the line to having read the answer, in a process kept to one core "
        "that has said it is ready; no event is left out. --follow alone gives three reasons for flagged events, "
        "--reasons 0 none. The isolation forest has scikit-learn's defaults (100 trees); JSON lines: the same loop "
        "around score_samples in scripts/serving/isolation_forest_lines.py, without p-value and reasons; "
        "score_samples and "
        "predict: the call alone, for one row. The machine's load average over a minute was "
        f"{loads[0]:.1f} before the file, {loads[1]:.1f} after it and {loads[2]:.1f} after the events, this program's "
        "own processes included."
    )


if __name__ == "__main__":
    run_script(main)
