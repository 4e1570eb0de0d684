"""Score the rows of a CSV or Parquet file of any size, or of a directory of them, with a saved detector, in chunks.

Writes one answer a row: `row` (from 1), `score` (higher = more anomalous), `p_value` (share of normal calibration rows
that score at least as high), `anomaly` (1 above the threshold). With --follow, rows come as JSON lines on standard
input (`{"column": number, ...}`) and each is answered at once with a JSON line on standard output; one that cannot be
scored is answered by `{"error": "..."}` and does not end the stream, but the exit code at its end is then 2. Empty
lines are passed over. "ready" on standard error says that all is compiled, and the first line will not wait for it. Of
a directory each file is answered in a file of its own, of the same name; with --distributed the files are divided among
the processes.

With --reasons K (in --follow 3 unless given) the answers of flagged rows name up to K columns that carry most of the
score, the most anomalous first, with the range in which 98 % of normal rows lie, or of those in a like context if there
is one. In --follow `reasons` is a list of objects (`column`, `value`, `normal_low`, `normal_high`, `never_seen`), empty
for other rows; in files it is a text.

With --follow --adaptive the stream is judged by a threshold that learns from it, in place of the one saved: peaks over
threshold for a given rate of alarms (SPOT), or of what scores have beyond the mean of the last ones (drift_spot, for
scores that drift). It begins with the calibration scores, each event that is no alarm moves it, and the answer says
which `threshold` judged. `anomaly` is then 1 above that one, and `p_value` the probability, told from the stream so
far, that a normal row scores higher: less than the rate for alarms. What was learned is gone when the stream ends.
"""

import gc
import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
from pydantic import Field

from jaxflow.config.command_line import (
    ScriptParser,
    collect_overrides,
    import_modules,
    merge,
    override_arguments,
    program,
)
from jaxflow.config.printing import answer, require_output, say, show
from jaxflow.config.spec import Spec, parse_spec
from jaxflow.data.tables.csv.dialect import CsvOptions
from jaxflow.data.tables.read_table import table_files
from jaxflow.data.tables.write_table import write_batches
from jaxflow.detection import DriftSpot, Spot, load
from jaxflow.detection.detector import Detector
from jaxflow.detection.serving.json_lines import answer_lines
from jaxflow.detection.serving.score_files import answer_chunks, answer_schema, detector_chunks, kept_texts
from jaxflow.detection.serving.score_records import RecordAnswers, adaptive_threshold
from jaxflow.errors import InputError
from jaxflow.training.devices.hosts import any_host, join_as_told
from jaxflow.training.feeding.read_ahead import read_ahead

CHUNK_ROWS = 65536
FOLLOW_REASONS = 3


class ScoredFiles(Spec):
    """Facts known of the files to score."""

    data: CsvOptions = Field(default=CsvOptions(), description="how CSV files are written")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, score, write."""
    parser = ScriptParser(prog=program("score"), description=__doc__)
    parser.add_saved_model()
    parser.add_argument(
        "--input",
        type=Path,
        help="CSV or Parquet file, or a directory of them; columns are found by name, others are ignored",
    )
    parser.add_argument(
        "--output", type=Path, help="where to write: .csv, .parquet or .jsonl; a directory if the input is one"
    )
    parser.add_argument("--follow", action="store_true", help="score JSON lines from standard input as they come")
    parser.add_argument("--chunk-rows", type=int, help=f"rows in memory at once (default: {CHUNK_ROWS})")
    parser.add_argument(
        "--reasons",
        type=int,
        metavar="K",
        help="name up to K columns that make a flagged row anomalous; for most flows this takes as long as scoring 32 "
        f"rows for each column (default: {FOLLOW_REASONS} with --follow, else 0)",
    )
    parser.add_reasons_method()
    parser.add_argument(
        "--adaptive", choices=("spot", "drift_spot"), help="with --follow: a threshold that learns from the stream"
    )
    parser.add_argument(
        "--rate", type=float, help="with --adaptive: share of normal rows that are alarms (default: 0.001)"
    )
    parser.add_argument(
        "--level", type=float, help="with --adaptive: share of the first scores below the tail (default: 0.98)"
    )
    parser.add_argument(
        "--depth", type=int, help="with --adaptive drift_spot: how many scores the mean is of (default: 100)"
    )
    parser.add_distributed()
    override_arguments(parser, ScoredFiles)
    options = parser.parse_args(arguments)
    csv = parse_spec(ScoredFiles, merge({}, collect_overrides(options), ScoredFiles), "the options given").data
    if options.reasons is not None and options.reasons < 0:
        raise InputError(f"--reasons {options.reasons}: expected at least 0")
    if options.follow and options.distributed:
        raise InputError("--follow reads one stream, expected no --distributed")
    if options.follow and (options.input or options.output or options.chunk_rows is not None):
        raise InputError(
            "--follow reads standard input and writes standard output, row by row: leave out --input, --output and "
            "--chunk-rows"
        )
    if options.follow and (option := csv.given()) is not None:
        raise InputError(f"--follow reads JSON lines, expected no --data.{option}")
    adaptive = _adaptive_options(options)
    if not options.follow and not (options.input and options.output):
        raise InputError("give --input and --output, or --follow for JSON lines on standard input")
    if options.input and options.output and options.input.resolve() == options.output.resolve():
        raise InputError(f"--output {options.output}: this is the input file, expected another one")
    if options.distributed and not options.input.is_dir():
        raise InputError(f"--input {options.input}: expected a directory, whose files --distributed divides")
    join_as_told(options)
    import_modules(options.modules)
    detector = load(options.model)
    chunk_rows = CHUNK_ROWS if options.chunk_rows is None else options.chunk_rows
    if options.follow:
        threshold = adaptive_threshold(detector, options.adaptive, **adaptive) if options.adaptive else None
        _follow(
            detector, FOLLOW_REASONS if options.reasons is None else options.reasons, options.reasons_method, threshold
        )
    elif options.input.is_dir():
        _score_directory(detector, options.input, options.output, chunk_rows, options, csv)
    else:
        _score_file(detector, options.input, options.output, chunk_rows, options, csv)


def _score_directory(
    detector: Detector, source: Path, output: Path, chunk_rows: int, options: Namespace, csv: CsvOptions
) -> None:
    """Score this process's share of the files."""
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output}: this is a file, expected a directory, as the input is one")
    files = table_files(source)
    names = [_answer_name(file) for file in files]
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise InputError(f"{source}: two files would have their answers in {twice}, expected names that differ")
    output.mkdir(parents=True, exist_ok=True)
    mine, problem = list(zip(files, names, strict=True))[jax.process_index() :: jax.process_count()], None
    try:
        for file, name in mine:
            _score_file(detector, file, output / name, chunk_rows, options, csv)
    except InputError as error:
        problem = error
    # All come here, so that none waits for one that has given up.
    (failed,) = any_host(problem is not None)
    if problem is not None:
        raise problem
    if failed:
        raise InputError("another process could not score its files")


def _answer_name(file: Path) -> str:
    compressed = ".csv.gz"
    return f"{file.name[: -len(compressed)]}.csv" if file.name.lower().endswith(compressed) else file.name


def _score_file(
    detector: Detector, source: Path, output: Path, chunk_rows: int, options: Namespace, csv: CsvOptions
) -> None:
    rows = flagged = 0
    reasons = options.reasons or 0

    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        nonlocal rows, flagged
        # Only a terminal can go back to the start of a line.
        counting = sys.stderr is not None and sys.stderr.isatty()
        try:
            for batch in batches:
                rows += batch.num_rows
                flagged += int(np.sum(batch.column("anomaly").to_numpy()))
                if counting:
                    print(f"\r{rows:,} rows scored", end="", file=sys.stderr, flush=True)
                yield batch
        finally:
            if counting and rows:
                print(file=sys.stderr)

    kept = kept_texts(detector) if reasons else None
    chunks = detector_chunks(detector, source, chunk_rows, kept, csv)
    # While one chunk is scored, the next is read and the one before is written.
    with closing(read_ahead(chunks)) as read:
        answered = answer_chunks(detector, read, reasons, kept, options.reasons_method)
        with closing(read_ahead(answered)) as answers:
            write_batches(counted(answers), answer_schema(reasons), output)
    show(f"{flagged:,} of {rows:,} rows flagged; answers: {output}")


def _adaptive_options(options: Namespace) -> dict[str, float]:
    """Return the options given for the adaptive threshold; its class checks whether numbers are in range."""
    given = {name: vars(options)[name] for name in ("rate", "level", "depth") if vars(options)[name] is not None}
    if options.adaptive and not options.follow:
        raise InputError(f"--adaptive {options.adaptive} follows a stream, expected --follow")
    if given and not options.adaptive:
        name, value = next(iter(given.items()))
        raise InputError(f"--{name} {value:g} belongs to an adaptive threshold, expected --adaptive")
    if "depth" in given and options.adaptive != "drift_spot":
        raise InputError(f"--depth {given['depth']} belongs to --adaptive drift_spot, got {options.adaptive}")
    return given


def _follow(detector: Detector, reasons: int, method: str, adaptive: Spot | DriftSpot | None) -> None:
    if sys.stdin is None:
        raise InputError("--follow: standard input is closed, expected a stream of JSON lines")
    require_output("answers of --follow")
    answers = RecordAnswers(detector, reasons, method, adaptive)
    # What is there by now stays to the end: looking through it for garbage would hold up an answer now and then.
    gc.collect()
    gc.freeze()
    say("ready")
    lines = refused = 0
    for found in answer_lines(answers, _read_line):
        answer(json.dumps(found))
        lines += 1
        refused += "error" in found
    if refused:
        raise InputError(f"{refused} of {lines} lines of standard input could not be scored, their answers say why")


def _read_line(limit: int) -> bytes:
    try:
        return sys.stdin.buffer.readline(limit)
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror or error}") from error
