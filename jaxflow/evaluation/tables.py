"""Numbers as readers see them: how one is written, and the table that a set of metrics makes."""

import math
import numbers
from collections.abc import Collection, Sequence
from typing import TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxflow.errors import InputError, one_line
from jaxflow.evaluation.metrics import Metrics

PLAIN_WIDTH = 200  # columns where the output is no terminal

Number: TypeAlias = float | int | np.number | None
Cell: TypeAlias = str | Number


def format_number(value: Number) -> str:
    """One number as text: four significant digits, whole numbers in full, `n/a` for None.

    >>> format_number(0.98), format_number(284807), format_number(1.5e7), format_number(None)
    ('0.9800', '284,807', '1.500e+07', 'n/a')
    """
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    if not math.isfinite(value):
        return str(float(value))
    return f"{float(value) + 0.0:#.4g}".rstrip(".")


def format_cell(cell: Cell) -> str:
    """A table's cell as text: strings as they are, everything else by `format_number`."""
    return cell if isinstance(cell, str) else format_number(cell)


def metrics_table(metrics: Metrics) -> tuple[tuple[str, str], list[tuple[str, Cell]]]:
    """Header and rows of the table that shows `metrics` in plain words."""
    rows: list[tuple[str, Cell]] = [
        ("ROC-AUC", metrics.roc_auc),
        (f"PR-AUC (prevalence {format_number(metrics.prevalence)})", metrics.pr_auc),
        ("PR-AUC relative to random scores", metrics.pr_auc_lift),
        ("precision", metrics.precision),
        ("recall", metrics.recall),
        ("F1", metrics.f1),
        ("false-positive rate", metrics.false_positive_rate),
        ("threshold (score)", metrics.threshold),
        (
            "rows: train / test / anomalies",
            " / ".join(format_number(count) for count in (metrics.n_train, metrics.n_test, metrics.n_anomalies)),
        ),
    ]
    return ("metric", "value"), rows


def print_table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    console: Console | None = None,
    texts: Collection[str] = (),
) -> None:
    """Print a table to the terminal, or to `console`: the first column to the left, the others to the right.

    Args:
        title: a line above the table.
        header: the names of the columns.
        rows: the cells.
        console: where to print.
        texts: further columns that stand to the left.

    Raises:
        InputError: when a row has another number of cells than the header.
    """
    check_widths(title, header, rows)
    table = Table(title=_text(title), title_justify="left")
    for index, name in enumerate(header):
        table.add_column(_text(name), justify="left" if index == 0 or name in texts else "right")
    for row in rows:
        table.add_row(*(_text(format_cell(cell)) for cell in row))
    console = console or Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH  # a file or a pipe has no edge at which cells would have to be cut
    console.print(table)


def _text(text: str) -> Text:
    """Wrapped, because rich reads square brackets in plain strings as markup; what terminals obey is escaped."""
    return Text(one_line(text, PLAIN_WIDTH))


def check_widths(title: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Refuse a table whose rows are not as long as its header.

    Raises:
        InputError: naming the table, the row and both lengths.
    """
    for index, row in enumerate(rows):
        if len(row) != len(header):
            raise InputError(f"table {title!r}, row {index}: {len(row)} cells, expected {len(header)} as in the header")
