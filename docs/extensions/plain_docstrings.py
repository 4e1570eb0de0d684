"""Turn the package's docstrings, which are plain text, into what Sphinx renders.

A formula or a table that is set off by indentation or by wide gaps keeps its form. Bars and trailing underscores mean
what they say. The fields of a spec are listed with their ranges, defaults and one line of help each.
"""

import inspect
import re
from typing import Any

from flax import nnx
from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

from jaxflow.config.field_help import describe
from jaxflow.config.spec import Spec

SECTION = re.compile(r"^(Args|Attributes|Examples?|Raises|Returns|Yields|Note):$")
UNION = re.compile(r"[\w.~]*Annotated\[([^\[\]]*), [\w.~]*FieldInfo\([^()]*\)\]")
PATH = re.compile(r"~?(?:\w+\.)+(\w+)")
LONGEST_FORMULA = 80  # in letters
CODE = re.compile(r"(`[^`]*`)")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _blocks(lines: list[str]) -> list[list[str]]:
    """The paragraphs of a docstring, without the blank lines between them."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


def apart(line: str) -> list[str]:
    """What stands in a line with wide gaps between, one below the other if the line is long; not of a table."""
    return re.split(r" {3,}(?=\S)", line) if len(line) > LONGEST_FORMULA and not _indent(line) else [line]


def keep_forms(lines: list[str]) -> list[str]:
    """Mark paragraphs with a form of their own as literal, and name the sections that napoleon knows."""
    result: list[str] = []
    for block in _blocks(lines):
        if block[0].startswith("Attributes after"):
            block[0] = "Attributes:"
        formed = any(re.search(r"\S {3,}\S", line) for line in block) or _indent(block[0]) >= 4
        if formed and not SECTION.match(block[0]) and ">>>" not in block[0]:
            parts = [part for line in block for part in apart(line)]
            result += ["::", "", *(f"    {part}" for part in parts), ""]
        else:
            result += [*block, ""]
    return result


def escape(lines: list[str]) -> list[str]:
    """Put a backslash before bars and trailing underscores outside of code."""
    result, literal = [], False
    for line in lines:
        if line.strip() and not line.startswith(" "):
            literal = line.strip() == "::"
        if not literal and "::" not in line and not line.lstrip().startswith(">>>"):
            parts = CODE.split(line)
            parts[::2] = [re.sub(r"(?<!\\)(\||(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
            line = "".join(parts)
        result.append(line)
    return result


def fields(spec: type[Spec]) -> list[str]:
    """The fields of a spec as the arguments of a docstring."""
    lines = ["Args:"]
    for name, field in spec.model_fields.items():
        if name != "kind":
            default = "required" if field.is_required() else f"default {field.get_default(call_default_factory=True)!r}"
            lines.append(f"    {name}: {field.description or 'see above'} ({describe(spec, name)}; {default})")
    return [*lines, ""] if len(lines) > 1 else []


def _before_napoleon(_: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = keep_forms([line for line in lines if "`__init__.pyi`" not in line])
    if isinstance(thing, type) and issubclass(thing, Spec):
        lines += fields(thing)


def _after_napoleon(_: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = escape(lines)


def short(annotations: str) -> str:
    """Annotations as one would write them: an array by its name, a union of specs without what pydantic knows of it."""
    annotations = annotations.replace("jaxlib._jax.Array", "Array")
    return UNION.sub(lambda union: PATH.sub(r"\1", union[1]), annotations)


def _signature(
    _: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    if isinstance(thing, type) and issubclass(thing, Spec):
        return "", None  # its fields are listed
    if isinstance(thing, type) and issubclass(thing, nnx.Module):  # whose metaclass takes any arguments
        own = inspect.signature(thing.__init__)
        own = own.replace(parameters=list(own.parameters.values())[1:])
        signature = stringify_signature(own, unqualified_typehints=True)
    return None if signature is None else (short(signature), None if returns is None else short(returns))


def _skip(_: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what pydantic and named tuples add by themselves."""
    return True if name == "model_config" or type(thing).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to autodoc, on both sides of napoleon."""
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True}
