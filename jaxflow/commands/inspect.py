"""Show what the columns of a file hold, what stands in the way of learning from them, and a config to begin with.

Nothing is fitted and nothing is written. A column that cannot be used, such as one of dates or identifiers, is told and
left out of the config.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from jaxflow.config.command_line import ScriptParser, collect_overrides, merge, override_arguments, program
from jaxflow.config.printing import show
from jaxflow.config.spec import Spec, parse_spec
from jaxflow.data.inspect_table import inspect_table, suggested
from jaxflow.data.tables.csv.dialect import CsvOptions
from jaxflow.data.tables.read_table import table_columns
from jaxflow.errors import InputError, counted, meant
from jaxflow.evaluation.tables import print_table


class InspectedFile(Spec):
    """Facts known of the file to look at."""

    data: CsvOptions = Field(default=CsvOptions(), description="how a CSV file is written")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, read, print."""
    parser = ScriptParser(prog=program("inspect"), description=__doc__)
    parser.add_argument("file", type=Path, help="CSV, Parquet or NPZ")
    parser.add_argument("--label", metavar="COLUMN", help="the file's column of labels")
    override_arguments(parser, InspectedFile)
    options = parser.parse_args(arguments)
    csv = parse_spec(InspectedFile, merge({}, collect_overrides(options), InspectedFile), "the options given").data
    if options.label is not None and options.label not in (names := table_columns(options.file, csv)):
        raise InputError(f"{options.file}: label column {options.label} is missing{meant(options.label, names)}")
    rows, facts = inspect_table(options.file, label=options.label, csv=csv)
    table = [
        (fact.name, fact.kind, "" if fact.missing is None else f"{fact.missing / rows:.1%}", fact.values, fact.odd)
        for fact in facts
    ]
    title = f"{options.file}: {counted(rows, 'row')}, {counted(len(facts), 'column')}"
    print_table(title, ("column", "kind", "missing", "values", "odd"), table, texts=("kind", "values", "odd"))
    show("\nA config to begin with:\n")
    for line in suggested(options.file, facts, options.label).splitlines():
        show(f"    {line}")
