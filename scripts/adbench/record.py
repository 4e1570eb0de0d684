"""How the rows of a table of results were made, so that no run goes on with a table of other settings.

`detectors.json` beside the table has for each detector the library with its version, the settings, and the commits at
which rows of it were measured.
"""

import importlib.metadata
import json
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from adbench.detectors import DETECTORS
from jaxflow.errors import InputError

RECORD = "detectors.json"
KEYS = ("library", "settings", "commits")
ANEW = "measure all of it again with --anew, or give another --out"
SEED = "random_state"  # which the table has
# The names on the package index of the libraries of `Entry.library`; the published flow is jaxflow's.
DISTRIBUTIONS = {"jaxflow": "jaxflow", "DTE": "jaxflow", "PyOD": "pyod", "scikit-learn": "scikit-learn"}


def made_with(name: str) -> dict[str, Any]:
    """The library, its version and the settings of a detector, as values that JSON can express."""
    entry = DETECTORS[name]
    competitor = entry.make(0)
    given = competitor.get_params(deep=False).items()
    settings = {"kind": type(competitor).__name__} | {key: repr(value) for key, value in given if key != SEED}
    distribution = DISTRIBUTIONS[entry.library]
    return {"library": f"{distribution} {importlib.metadata.version(distribution)}", "settings": settings}


def read_record(file: Path, measured: Collection[str], wanted: Sequence[str], advice: str = ANEW) -> dict[str, Any]:
    """Read what is known of the detectors of a table.

    Args:
        file: that is beside the table; it need not exist.
        measured: the detectors of which the table has rows.
        wanted: those that rows are to be added of.
        advice: what to do about rows that were made in another way, for errors.

    Raises:
        InputError: if the file is not a record, or the rows of a wanted detector were not made as it is now.
    """
    record: dict[str, Any] = {}
    if file.exists():
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            record = {name: {key: known[name][key] for key in KEYS} for name in known}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{file} does not say how results were made ({error}): give another --out") from None
    for name in wanted:
        if name not in measured:
            record.pop(name, None)
            continue
        if name not in record:
            raise InputError(f"{file} does not say how the results of {name} beside it were made: {advice}")
        known, now = _flat(record[name]), _flat(made_with(name))
        for key in known | now:
            before, after = known.get(key, "missing"), now.get(key, "missing")
            if before != after:
                raise InputError(
                    f"{file}: the results of {name} were made with {key} {_difference(before, after)}: {advice}"
                )
    return record


def with_commit(record: Mapping[str, Any], names: Collection[str], made: Mapping[str, Any]) -> dict[str, Any]:
    """The record when rows of these detectors have been measured by a run of this `provenance`."""
    commit = made["git_commit"] or "no checkout"
    if made["git_uncommitted_changes"]:
        commit += " with uncommitted changes"
    found = dict(record)
    for name in names:
        before = found[name]["commits"] if name in found else []
        found[name] = made_with(name) | {"commits": list(dict.fromkeys([*before, commit]))}
    return found


def _flat(known: Mapping[str, Any]) -> dict[str, str]:
    return {"library": known["library"], **known["settings"]}


def _difference(before: str, after: str) -> str:
    """Both values, from a little before the first character in which they differ."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    start = max(0, same - 20)

    def cut(text: str) -> str:
        return ("..." if start else "") + text[start : same + 40] + ("..." if len(text) > same + 40 else "")

    return f"{cut(before)!r} and now it is {cut(after)!r}"
