"""Draw rows from the density of a saved detector, in the units of its training data."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from jaxflow.config.command_line import ScriptParser, import_modules, run_script
from jaxflow.config.printing import show
from jaxflow.data.table_writer import write_batches
from jaxflow.detection import Detector, load
from jaxflow.errors import InputError

CHUNK_ROWS = 65536  # rows drawn at once


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, draw, write."""
    parser = ScriptParser(prog="sample.py", description=__doc__)
    parser.add_saved_model()
    parser.add_argument("--count", type=int, required=True, help="number of rows to draw")
    parser.add_argument("--output", type=Path, required=True, help="where to write: .csv, .parquet or .jsonl")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same rows (default: 0)")
    options = parser.parse_args(arguments)
    if options.count < 1:
        raise InputError(f"--count {options.count}: expected at least 1")
    if not 0 <= options.seed < 2**31:
        raise InputError(f"--seed {options.seed}: expected a whole number from 0 to {2**31 - 1}")
    import_modules(options.modules)
    detector = load(options.model)
    schema = pa.schema([(column, pa.float64()) for column in detector.columns_])
    write_batches(_drawn(detector, options.count, options.seed, schema), schema, options.output)
    show(f"{options.count:,} rows drawn: {options.output}")


def _drawn(detector: Detector, count: int, seed: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    # A generator, so that nothing is drawn for a file that cannot be written, and no more at once than memory holds.
    random_state = np.random.RandomState(seed)
    for start in range(0, count, CHUNK_ROWS):
        rows = detector.sample(min(CHUNK_ROWS, count - start), random_state)
        yield pa.RecordBatch.from_arrays([pa.array(column) for column in rows.T], schema=schema)


if __name__ == "__main__":
    run_script(main)
