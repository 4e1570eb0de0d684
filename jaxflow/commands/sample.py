"""Draw rows from the density of a saved detector, as a file of the form of its training data.

The columns have their names and types, counts and flags are among those that were seen, texts are texts, and a value
may be missing where the training data had gaps that were marked (columns.missing = median).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from jaxflow.config.command_line import ScriptParser, import_modules, program
from jaxflow.config.printing import show
from jaxflow.data import Frame
from jaxflow.data.tables.read_table import read_table
from jaxflow.data.tables.write_table import write_batches
from jaxflow.detection import Detector, load
from jaxflow.errors import InputError

CHUNK_ROWS = 65536  # rows drawn at once


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, draw, write."""
    parser = ScriptParser(prog=program("sample"), description=__doc__)
    parser.add_saved_model()
    parser.add_argument("--count", type=int, help="number of rows to draw (with --context: by default one for each)")
    parser.add_argument("--output", type=Path, required=True, help="where to write: .csv, .parquet or .jsonl")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same rows (default: 0)")
    parser.add_argument(
        "--context",
        type=Path,
        metavar="FILE",
        help="for a detector with context columns: a CSV or Parquet file that has these, one row for each draw or one "
        "for all; others of its columns are not looked at",
    )
    options = parser.parse_args(arguments)
    if options.count is None and options.context is None:
        raise InputError("--count is missing: expected the number of rows to draw")
    if options.count is not None and options.count < 1:
        raise InputError(f"--count {options.count}: expected at least 1")
    if not 0 <= options.seed < 2**31:
        raise InputError(f"--seed {options.seed}: expected a whole number from 0 to {2**31 - 1}")
    import_modules(options.modules)
    detector = load(options.model)
    context = None if options.context is None else _context(detector, options.context)
    count = options.count
    if count is None:
        assert context is not None  # or it was refused above
        count = len(context)
    if context is not None and len(context) not in (1, count):
        raise InputError(f"--context {options.context}: {len(context)} rows, expected 1 or {count}, as --count says")
    schema = _plain(detector.sample_table(0, 0, context if context is None else context[:1])).schema
    write_batches(_drawn(detector, count, options.seed, context), schema, options.output)
    show(f"{count:,} rows drawn: {options.output}")


def _drawn(detector: Detector, count: int, seed: int, context: Frame | None) -> Iterator[pa.RecordBatch]:
    # A generator, so that nothing is drawn for a file that cannot be written, and no more at once than memory holds.
    random_state = np.random.RandomState(seed)
    for start in range(0, count, CHUNK_ROWS):
        size = min(CHUNK_ROWS, count - start)
        given = context if context is None or len(context) == 1 else context[start : start + size]
        yield from _plain(detector.sample_table(size, random_state, given)).to_batches()


def _plain(table: pa.Table) -> pa.Table:
    """The table with texts as such, not in a dictionary, which CSV files do not have."""
    for index, field in enumerate(table.schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        kind = pa.string() if pa.types.is_string_view(kind) else kind
        if kind != field.type:
            table = table.set_column(index, field.name, table.column(index).cast(kind))
    return table


def _context(detector: Detector, file: Path) -> Frame:
    """The context columns of a file."""
    maps = [column for column in detector.inputs_.encoding.maps if column.context]
    if not maps:
        raise InputError(f"--context {file}: the detector has no context columns, leave it out")
    rows = read_table(
        file,
        label=None,
        features=[column.name for column in maps],
        categorical=[column.name for column in maps if column.kind == "categorical"],
        missing=detector.inputs_.encoding.missing != "refuse",
    )
    return Frame(rows.x, rows.feature_names, rows.categories)
