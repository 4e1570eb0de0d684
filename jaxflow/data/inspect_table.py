"""Facts of the columns of a file, and what stands in the way of learning from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxflow.data.columns.cells import INSTEAD_OF_TIMES
from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.columns.discrete_maps import Categorical
from jaxflow.data.columns.most_rows import most_rows
from jaxflow.data.dataset import Dataset
from jaxflow.data.encoding import Encoding
from jaxflow.data.tables.csv.dialect import CsvOptions
from jaxflow.data.tables.frame import Frame
from jaxflow.data.tables.read_table import read_table, table_columns
from jaxflow.errors import InputError, counted

LABELS = ("label", "labels", "class", "target", "y", "anomaly", "outlier", "fraud", "is_fraud", "is_anomaly", "attack")
"""Names that columns of labels usually have, in small letters."""

FAR = 30.0
"""Standard deviations of most rows from the median beyond which a value is called far."""

RARE_ROWS = 5  # a category or value that fewer rows have is called rare
SHARE_OF_ID = 0.9  # different texts or whole numbers per row from which a column is taken for an identifier
FEWEST_ROWS_OF_ID = 30


@dataclass(frozen=True)
class ColumnFacts:
    """Facts of one column.

    Attributes:
        name: the column.
        kind: what it would be taken for: continuous, discrete, categorical or label; unusable if nothing.
        missing: how many cells are empty; None if it could not be read.
        values: its range, or its most frequent texts.
        odd: what is odd about it, in one phrase; empty if nothing is.
        usable: whether a detector could learn from it as it is.
        far: whether some values lie so far out that `columns.tails` should draw them in.
        maybe_label: whether name and values are those that labels have.
    """

    name: str
    kind: str
    missing: int | None
    values: str
    odd: str = ""
    usable: bool = True
    far: bool = False
    maybe_label: bool = False


def inspect_table(
    path: Path | str, *, label: str | None = None, csv: CsvOptions | None = None
) -> tuple[int, tuple[ColumnFacts, ...]]:
    """Look at every column of a CSV, Parquet or NPZ file.

    A column that cannot be read, such as one of dates, is told and keeps no other from being looked at.

    Args:
        path: the file.
        label: its column of labels, which is told as such.
        csv: what is known of how a CSV file is written; the rest is found out.

    Returns:
        The number of rows, and the facts of each column in the order of the file.

    Raises:
        InputError: if the file is missing, of another format or damaged, or no column of it can be read.
    """
    path = Path(path)
    names = table_columns(path, csv)
    facts: dict[str, ColumnFacts] = {}
    nameless = ColumnFacts("", "unusable", None, "", "has no name in the first line", usable=False)
    rows = 0
    for read in _readable(path, [name for name in names if name], csv):
        if isinstance(read, Dataset):
            rows = len(read.x)
            frame = Frame(read.x, read.feature_names, read.categories, types=read.types)
            facts |= {name: _facts(frame.pick([name]), name == label) for name in frame.names}
        else:
            name, why = read
            facts[name] = ColumnFacts(name, "unusable", None, "", _without_place(why, path, name), usable=False)
    if not rows:
        first = next(iter(facts.values()), nameless)
        raise InputError(f"{path}: no column of it can be read, the first ({first.name}) for: {first.odd}")
    return rows, tuple(facts.get(name, nameless) for name in names)


def suggested(path: Path | str, facts: Sequence[ColumnFacts], label: str | None = None) -> str:
    """Return a config, in YAML, that learns from the usable columns of a file.

    Without a `label` it names the one column that looks like labels, if there is one.

    >>> facts = (ColumnFacts("amount", "continuous", 0, "1 to 9e+09", far=True), ColumnFacts("id", "unusable", 0, ""))
    >>> print(suggested("mine.csv", facts))
    data: {path: "mine.csv", label: null}
    columns: {tails: auto}
    model: {kind: committee}
    """
    maybe = [fact.name for fact in facts if fact.maybe_label]
    if label is None and len(maybe) == 1:
        label = maybe[0]
    chosen = [fact for fact in facts if fact.usable and fact.name != label]
    data = f"path: {_quoted(str(path))}, label: {'null' if label is None else _quoted(label)}"
    if any(not fact.usable for fact in facts):
        data += f", features: [{', '.join(_quoted(fact.name) for fact in chosen)}]"
    columns = ["missing: median"] if any(fact.missing for fact in chosen) else []
    columns += ["tails: auto"] if any(fact.far for fact in chosen) else []
    lines = [f"data: {{{data}}}", *([f"columns: {{{', '.join(columns)}}}"] if columns else [])]
    return "\n".join([*lines, "model: {kind: committee}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _readable(path: Path, names: Sequence[str], csv: CsvOptions | None) -> Iterator[Dataset | tuple[str, str]]:
    """The columns, read together where that can be done, and of each that cannot be read its name and why."""
    try:
        yield read_table(path, label=None, features=list(names), missing=True, csv=csv)
        return
    except InputError as error:
        why = str(error)
    if len(names) == 1:
        yield names[0], why
        return
    for half in (names[: len(names) // 2], names[len(names) // 2 :]):
        yield from _readable(path, half, csv)


def _without_place(why: str, path: Path, name: str) -> str:
    """Return what an error says beyond the file and the column, which stand beside it."""
    if INSTEAD_OF_TIMES in why:
        return "dates or times: make numbers of them, such as columns of the hour and the weekday"
    return why.removeprefix(f"{path}: ").replace(f", column {name} is ", " is ").removeprefix(f"column {name} ")


def _facts(frame: Frame, is_label: bool) -> ColumnFacts:
    (name,), x = frame.names, frame.x[:, 0]
    there = x[~np.isnan(x)]
    missing = len(x) - len(there)
    texts = frame.categories.get(name)
    found = ColumnFacts(name, "label" if is_label else "", missing, _values(there, texts))
    if is_label:
        return found
    if not len(there):
        return replace(found, kind="unusable", odd="no row has a value", usable=False)
    try:
        column = Encoding.fit(frame, ColumnsSpec(missing="median")).maps[0]
    except InputError as error:
        why = str(error).removeprefix(f"column {name} ")
        return replace(found, kind="unusable", odd=_identifier(there, texts) or why, usable=False)
    kind = "categorical" if isinstance(column, Categorical) else column.kind
    kind = {"levels": "discrete", "arcsinh": "continuous", "rank_gaussian": "continuous"}.get(kind, kind)
    odd, far, usable = [], False, True
    if len(np.unique(there)) == 1:
        odd.append("constant: it tells nothing but that another value is new")
    elif identifier := _identifier(there, texts):
        odd.append(identifier)
        usable = False
    elif texts is None and kind == "continuous":
        reach = _reach(there)
        far = reach > FAR
        odd += [f"reaches {reach:,.0f} standard deviations of most rows: columns.tails = auto"] if far else []
    else:
        counts = np.unique(there, return_counts=True)[1]
        rare = int(np.sum(counts < RARE_ROWS)) if len(counts) <= len(there) / RARE_ROWS else 0
        odd += [f"{counted(rare, 'value')} in fewer than {RARE_ROWS} rows"] if rare else []
    maybe_label = name.casefold() in LABELS and set(np.unique(there)) <= {0.0, 1.0} and texts is None
    if maybe_label:
        odd.append(f"labels? --label {name}")
    return replace(found, kind=kind, odd="; ".join(odd), far=far, usable=usable, maybe_label=maybe_label)


def _identifier(there: Float[np.ndarray, "n"], texts: Sequence[str] | None) -> str:
    """A phrase for a column whose values differ from row to row as those of an identifier do; empty for others."""
    if len(there) < FEWEST_ROWS_OF_ID or (texts is None and not (there == np.round(there)).all()):
        return ""
    distinct = np.unique(there)
    counts_up = texts is None and len(distinct) == len(there) and np.ptp(distinct) < 1.5 * len(there)
    if counts_up or (texts is not None and len(distinct) >= SHARE_OF_ID * len(there)):
        return "an identifier? nearly every row has a value of its own: leave it out"
    return ""


def _reach(values: Float[np.ndarray, "n"]) -> float:
    """The distance of the value farthest from the median, in standard deviations of most rows."""
    centre, spread = most_rows(values)
    with np.errstate(over="ignore"):
        return float(np.max(np.abs(values - centre) / spread))


def _values(there: Float[np.ndarray, "n"], texts: Sequence[str] | None) -> str:
    if not len(there):
        return ""
    if texts is None:
        return f"{there.min():.4g} to {there.max():.4g}"
    places, counts = np.unique(there.astype(np.int64), return_counts=True)
    most = np.argsort(-counts, kind="stable")[:3]
    shares = [f"{texts[int(places[index])]:.20} {counts[index] / len(there):.0%}" for index in most]
    others = len(places) - len(shares)
    return ", ".join(shares) + (f" and {counted(others, 'other')}" if others else "")
