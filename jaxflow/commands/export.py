"""Write a saved detector to one file that scores with JAX alone, on CPUs, GPUs and TPUs."""

from collections.abc import Sequence
from pathlib import Path

from jaxflow.config.command_line import ScriptParser, import_modules, program
from jaxflow.config.printing import show
from jaxflow.detection import load


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, load, export."""
    parser = ScriptParser(
        prog=program("export"),
        description=__doc__,
        epilog="jaxflow/detection/storage/export.py shows how to score with the file.",
    )
    parser.add_saved_model()
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="where to write, such as out/detector.zip"
    )
    options = parser.parse_args(arguments)
    import_modules(options.modules)
    load(options.model).export(options.output)
    show(f"exported: {options.output}")
