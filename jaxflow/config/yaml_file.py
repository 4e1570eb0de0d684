"""Configuration files: YAML 1.2, and every mistake in one sentence."""

import os
import re
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from jaxflow.errors import InputError, shown
from jaxflow.regular_file import read_regular

MOST_BYTES = 1 << 18
"""How long a configuration may be."""

MOST_NODES, MOST_DEPTH, MOST_DIGITS = 20_000, 64, 400
"""How many values a configuration may hold, keys and copies by aliases among them; how many may lie within each other;
and how long a whole number may be, which is more than a float of 64 bits holds."""

_PREFIX = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

# Control characters and halves of surrogate pairs, which only escapes bring into a YAML file.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")

_OPENED = re.compile(r"/dev/(fd/[0-9]+|stdin)|/proc/self/fd/[0-9]+")

_SCALARS = {
    "null": (_NULL, lambda text: None),
    "bool": (_BOOLEAN, lambda text: text.lower() == "true"),
    # int(text, 0) knows 0o and 0x, but refuses leading zeros.
    "int": (_INTEGER, lambda text: int(text, 0 if text[:2] in ("0o", "0x") else 10)),
    "float": (_FLOAT, lambda text: float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))),
    "str": (re.compile(".*", re.DOTALL), str),
}


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    The file is read by the core schema of YAML 1.2 (section 10.3.2), not by PyYAML's own YAML 1.1: `1e-3` is a number,
    `on`, `off`, `yes`, `no` and dates are text (a true-or-false field of a spec also understands the first four),
    and `010` is ten. A key that stands twice in one mapping is refused, and so are tags (`!!python/name`) and merge
    keys (`<<`, which a spec does not know), texts with control characters, and what is larger than any configuration:
    more than `MOST_BYTES`, `MOST_NODES`, `MOST_DEPTH` or `MOST_DIGITS`.

    Raises:
        InputError: if the file is missing, is a directory or no file at all, is too long, is not UTF-8 text or not YAML
            (with line and column), is empty, does not hold a mapping, has a key twice, or one that is no
            text.
    """
    try:
        text = _content(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text, expected a YAML file") from None
    try:
        values = _load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}{_where_and_why(error)}") from None
    if values is None:
        raise InputError(f"{path}: the file is empty, expected a mapping of keys to values")
    if not isinstance(values, dict):
        raise InputError(f"{path}: the file holds {_kind(values)}, expected a mapping of keys to values")
    for key in values:
        if not isinstance(key, str):
            raise InputError(f"{path}: the key {shown(key)} is no text, expected the name of a setting")
    return values


def parse_value(text: str) -> Any:
    """Parse one YAML value, as it stands in a configuration file or behind an option.

    Raises:
        InputError: if `text` is empty or is not YAML.
    """
    if not text.strip():
        raise InputError("the value is empty (write null for none)")
    try:
        return _load(text)
    except yaml.YAMLError as error:
        reason = _where_and_why(error).split(": ", 1)[1]
        raise InputError(f"{shown(text)} is not a YAML value ({reason})") from None


def _content(path: str | os.PathLike[str]) -> bytes:
    if not _OPENED.fullmatch(str(path)):
        return read_regular(path, MOST_BYTES, "a YAML file")
    # What a shell gives for <(...): a pipe that has its writer already.
    with Path(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: there are more than {MOST_BYTES} bytes, expected a YAML file of at most so many")
    return content


def _kind(values: Any) -> str:
    return "a list" if isinstance(values, list) else f"the single value {shown(values)}"


def _where_and_why(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        why = ", ".join(part for part in (error.context, error.problem) if part)
        return f"{where}: {why}"
    if isinstance(error, ReaderError):
        return f": character {error.position} is #x{error.character:04x}: {error.reason}"
    return f": {error}"


class _Loader(yaml.BaseLoader):
    """PyYAML's loader of untyped nodes, taught which plain scalars are not text, and where to stop."""

    def __init__(self, text: str):
        super().__init__(text)
        self.nodes = self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose the next node, unless there are too many, or too many around it."""
        self.nodes += 1
        self.depth += 1
        _require_few(self.nodes, self.depth, self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, (_pattern, _first) in {
    "null": (_NULL, ["~", "n", "N", ""]),
    "bool": (_BOOLEAN, list("tTfF")),
    "int": (_INTEGER, list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
}.items():
    _Loader.add_implicit_resolver(_PREFIX + _tag, re.compile(f"(?:{_pattern.pattern})$"), _first)


def _load(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    except (ValueError, OverflowError, RecursionError) as error:
        # PyYAML makes letters of escapes, and numbers of a version, without looking at them.
        problem = "this names a character or a version of YAML that there is none of"
        if isinstance(error, RecursionError):
            problem = "lists and mappings lie too deep within each other"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=loader.get_mark()) from None
    finally:
        loader.dispose()
    return None if node is None else _Builder().value(node)


class _Builder:
    """Makes plain values of nodes.

    An alias becomes a copy, so that a short text may stand for more values than any memory holds: those that are made
    are counted, whatever stands in the file.
    """

    def __init__(self):
        self.made = 0
        self.around: list[yaml.Node] = []
        self.path = ""

    def value(self, node: yaml.Node) -> Any:
        """The plain value of a node."""
        self.made += 1
        _require_few(self.made, len(self.around) + 1, node.start_mark)
        if node in self.around:
            raise _complaint("this value contains itself", node)
        kind = node.tag.removeprefix(_PREFIX)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            self.around.append(node)
            values = self._mapping(node)
            self.around.pop()
            return values
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            self.around.append(node)
            items = [self.value(child) for child in node.value]
            self.around.pop()
            return items
        if isinstance(node, yaml.ScalarNode) and kind in _SCALARS:
            return self._scalar(node, kind)
        tag = f"!!{kind}" if node.tag.startswith(_PREFIX) else node.tag
        raise _complaint(f"the tag {tag:.80} is not supported here", node)

    def _mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        values: dict[Any, Any] = {}
        lines: dict[Any, int] = {}
        outer = self.path
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _complaint("a key must be a single value, not a list or a mapping", key_node)
            key = self.value(key_node)
            if key in lines:
                raise _complaint(f"the key {key_node.value:.80} appears twice (first in line {lines[key]})", key_node)
            lines[key] = key_node.start_mark.line + 1
            self.path = f"{outer}{'.' if outer else ''}{key_node.value:.80}"
            values[key] = self.value(value_node)
            self.path = outer
        return values

    def _scalar(self, node: yaml.ScalarNode, kind: str) -> Any:
        pattern, convert = _SCALARS[kind]
        text = node.value
        if kind == "int" and len(text) > MOST_DIGITS:
            raise _complaint("the number has too many digits", node)
        if not pattern.fullmatch(text):
            raise _complaint(f"{shown(text)} is no {kind}", node)
        unwritable = _UNWRITABLE.search(text) if kind == "str" else None
        if unwritable:
            where = f"the text of {self.path}" if self.path else "this text"
            raise _complaint(f"{where} holds the character #x{ord(unwritable[0]):04x}, expected one to be shown", node)
        return convert(text)


def _require_few(nodes: int, depth: int, mark: yaml.Mark) -> None:
    if nodes > MOST_NODES:
        raise yaml.MarkedYAMLError(problem=f"there are more than {MOST_NODES} values", problem_mark=mark)
    if depth > MOST_DEPTH:
        raise yaml.MarkedYAMLError(
            problem=f"lists and mappings lie within each other more than {MOST_DEPTH} deep", problem_mark=mark
        )


def _complaint(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
