"""One Markdown page that shows what a run found and how to make it again."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from jaxflow.atomic_write import write_text
from jaxflow.errors import InputError
from jaxflow.evaluation.tables import Cell, check_widths, format_cell


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: str,
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Cell]]]],
    figures: Sequence[tuple[str, str, str]],
    provenance: Mapping[str, Any],
) -> None:
    """Write a report as one Markdown page, replacing the file as a whole.

    Args:
        path: the page.
        title: its heading.
        summary: one paragraph that says what was done and what came out.
        tables: for each a heading, the header row and the rows; cells go through `format_cell`.
        figures: for each a heading, the path of the picture relative to the page's folder, and a caption. The picture
            must be there already.
        provenance: what `jaxflow.evaluation.provenance` returns, or any mapping of names to plain values.

    Raises:
        InputError: when a row has another number of cells than its header, a picture's path is absolute or leads to no
            file, or the operating system refuses to write.
    """
    folder = Path(path).parent
    parts = [f"# {_one_line(title)}", summary.strip()]
    for heading, header, rows in tables:
        check_widths(heading, header, rows)
        parts += [f"## {_one_line(heading)}", _table(header, rows)]
    for heading, picture, caption in figures:
        parts += [f"## {_one_line(heading)}", _figure(folder, picture, heading), _one_line(caption)]
    parts += ["## How this was made", _provenance(provenance)]
    write_text("\n\n".join(part for part in parts if part) + "\n", path)


def _table(header: Sequence[str], rows: Sequence[Sequence[Cell]], value_rule: str = "---:") -> str:
    # Names to the left, numbers to the right.
    rule = ["---"] + [value_rule] * (len(header) - 1)
    lines = [[_escape(name) for name in header], rule]
    lines += [[_escape(format_cell(cell)) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figure(folder: Path, picture: str, heading: str) -> str:
    if PurePosixPath(picture).is_absolute() or Path(picture).is_absolute():
        raise InputError(f"figure {heading!r}: {picture} is an absolute path, expected one relative to the report")
    if not (folder / picture).is_file():
        raise InputError(f"figure {heading!r}: {picture} is not a file in {folder}")
    alternative = _one_line(heading).replace("[", r"\[").replace("]", r"\]")
    return f"![{alternative}]({quote(Path(picture).as_posix())})"


def _provenance(values: Mapping[str, Any]) -> str:
    parts = []
    if "command" in values:
        parts.append(f"```sh\n{values['command']}\n```")
    rows = [(name.replace("_", " "), _plain(value)) for name, value in values.items() if name != "command"]
    if rows:
        parts.append(_table(("what", "value"), rows, value_rule="---"))
    return "\n\n".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Not `format_number`: a seed is a name that happens to be made of digits.
    return "n/a" if value is None else str(value)


def _escape(text: str) -> str:
    # The backslash first: in front of a bar it would otherwise take the escape away.
    return _one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())
