"""One command-line option for every field of a spec, and how options change a configuration."""

import argparse
import copy
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from jaxflow.config.explanation import show_value
from jaxflow.config.field_help import describe, json_types, metavar, plain_text
from jaxflow.config.spec import Spec
from jaxflow.config.yaml_file import parse_value
from jaxflow.errors import InputError

# Marks in a namespace what was given for a spec, beside the options of the script itself.
_MARK = "override:"


# Keys of which a section has one: giving the one starts the section afresh if it had the other.
RIVALS = {"name": "path", "path": "name"}


class _Owner(NamedTuple):
    """A spec class and one field of it; where a section may be one of several specs, a field may have several."""

    spec_type: type[Spec]
    name: str
    field: FieldInfo

    @property
    def label(self) -> str:
        """How the help calls the class."""
        return ", ".join(_kinds(self.spec_type)) or self.spec_type.__name__


def override_arguments(parser: argparse.ArgumentParser, spec_type: Any, prefix: str = "") -> None:
    """Add to a parser one option for every field of a spec, `--model.layers` for the field `layers` of `model`.

    Options stand in one group a section. The help of an option is the description of its field with its type, its
    range and its default. Where a section is a union of specs told apart by `kind`, the options of all of them
    appear, each naming the kinds it belongs to. Values are written as in a YAML file and checked by the spec, not
    here; a list may be written `64,64` as well as `'[64, 64]'`, and the value of a field of text is taken as it
    stands. An option that is not given leaves no trace in the namespace.

    The usage line that the parser has now is kept and ends in `[--SECTION.KEY VALUE ...]`, so that it stays one line:
    add a script's own options first.

    Args:
        parser: where the options go.
        spec_type: the spec class, or a union of spec classes told apart by their `kind`.
        prefix: the key under which the spec stands in the configuration; empty for the whole configuration.
    """
    if parser.usage is None:
        usage = parser.format_usage().partition(": ")[2].strip().replace("%", "%%")
        parser.usage = f"{usage} [--SECTION.KEY VALUE ...]"
    _add_section(parser, _specs(spec_type)[0], prefix, "", frozenset())


def collect_overrides(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the values given for options of `override_arguments`: `{"model.layers": 8}` for `--model.layers 8`."""
    return {name.removeprefix(_MARK): value for name, value in vars(namespace).items() if name.startswith(_MARK)}


def merge(config: Mapping[str, Any], overrides: Mapping[str, Any], spec_type: Any = None) -> dict[str, Any]:
    """A configuration with some of its values replaced.

    A value given for a key replaces the key's value, a list or a mapping as a whole. Where `overrides` names another
    `kind` than the configuration, the section starts afresh: it holds that kind, the other overrides given for it
    and, for the rest, the new kind's defaults, because the values tuned for one kind mean little to another. The same
    holds where `overrides` gives a `path` to a section that has a `name`, or a `name` to one that has a `path`.

    Args:
        config: nested plain values, as a configuration file holds them; it is not changed.
        overrides: new values by dotted key, as `collect_overrides` returns them.
        spec_type: the spec that will read the result. A section that `config` does not name then starts from the
            default that the spec has for it, so that an option changes one value of that default and nothing else.

    Raises:
        InputError: if an override lies within something that is not a section.
    """
    merged: dict[str, Any] = copy.deepcopy(dict(config))
    # Whole sections come before what lies in them, and a kind before the other keys of its section.
    first = {"kind", *RIVALS}
    for path in sorted(overrides, key=lambda path: (path.count("."), path.rpartition(".")[2] not in first)):
        *sections, name = path.split(".")
        here, spec_types = merged, _specs(spec_type)[0]
        for depth, part in enumerate(sections):
            default, inner_types = _section_default(spec_types, here, part)
            at = ".".join(sections[: depth + 1])
            if part not in here:
                here[part] = default
            elif here[part] is None and at not in overrides:
                here[part] = {}
            if not isinstance(here[part], dict):
                raise InputError(
                    f"{at} = {show_value(here[part])}: expected a mapping of keys to values, since --{path} is given"
                )
            here, spec_types = here[part], inner_types
        if name == "kind" and here.get("kind", overrides[path]) != overrides[path]:
            here.clear()
        # `--data.path` on a config that names a data set means the file instead, not both.
        rival = RIVALS.get(name)
        if rival in here and ".".join([*sections, str(rival)]) not in overrides:
            here.clear()
        here[name] = overrides[path]
    return merged


def _add_section(
    parser: argparse.ArgumentParser,
    spec_types: list[type[Spec]],
    section: str,
    description: str,
    around: frozenset[type[Spec]],
) -> None:
    around = around.union(spec_types)
    group = parser.add_argument_group(section or "options of the configuration", description)
    inner: list[tuple[list[type[Spec]], str, str]] = []
    for name, owners in sorted(_fields(spec_types).items(), key=lambda item: item[0] != "kind"):
        path = f"{section}.{name}" if section else name
        specs, others = _alternatives(owners)
        # A spec that contains itself would go on for ever: from the second time on it is one YAML value.
        nested = [] if around.intersection(specs) else specs
        if others or not nested:
            group.add_argument(
                f"--{path}",
                dest=_MARK + path,
                default=argparse.SUPPRESS,
                metavar=metavar(_types(owners)),
                type=_reader(_types(owners)),
                help=_help(owners, spec_types).replace("%", "%%"),
            )
        if nested:
            inner.append((nested, path, _section_help(owners, spec_types, nested)))
    for nested, path, text in inner:
        _add_section(parser, nested, path, text, around)


def _fields(spec_types: list[type[Spec]]) -> dict[str, list[_Owner]]:
    fields: dict[str, list[_Owner]] = {}
    for spec_type in spec_types:
        for name, field in spec_type.model_fields.items():
            fields.setdefault(name, []).append(_Owner(spec_type, name, field))
    return fields


def _help(owners: list[_Owner], spec_types: list[type[Spec]]) -> str:
    if owners[0].name == "kind" and len(spec_types) > 1:
        return (
            f"one of {', '.join(owner.label for owner in owners)}; another kind than the configuration's starts "
            "this section afresh, from that kind's defaults and the other options given"
        )
    labels_by_text: dict[str, list[str]] = {}
    for owner in owners:
        facts = describe(owner.spec_type, owner.name)
        facts += "; required" if owner.field.is_required() else f"; default {plain_text(_default(owner.field))}"
        text = f"{owner.field.description or owner.name} ({facts})"
        labels_by_text.setdefault(text, []).append(owner.label)
    if len(spec_types) == 1:
        return next(iter(labels_by_text))
    return "; ".join(f"{', '.join(labels)}: {text}" for text, labels in labels_by_text.items())


def _section_help(owners: list[_Owner], spec_types: list[type[Spec]], nested: list[type[Spec]]) -> str:
    text = "; ".join(dict.fromkeys(owner.field.description or "" for owner in owners))
    facts = [f"only of {', '.join(owner.label for owner in owners)}"] if len(owners) < len(spec_types) else []
    field = owners[0].field
    default = None if field.is_required() else _default(field)
    if field.is_required():
        facts.append("required")
    elif default is None:
        facts.append("default null")
    elif len(nested) > 1 and "kind" in default:
        facts.append(f"default kind {default['kind']}")
    return f"{text} ({'; '.join(facts)})".strip() if facts else text


def _types(owners: list[_Owner]) -> frozenset[str]:
    return frozenset().union(*(json_types(owner.spec_type, owner.name) for owner in owners))


def _reader(accepted: frozenset[str]) -> Callable[[str], Any]:
    """How the text behind an option becomes a value, for a field that takes these JSON types."""

    def read(text: str) -> Any:
        if accepted <= {"string", "null"}:
            return None if "null" in accepted and text == "null" else text
        bare = text.strip() not in ("", "null") and not text.lstrip().startswith("[")
        if bare and (
            accepted <= {"array", "null"} or ("array" in accepted and "," in text and not text.lstrip().startswith("{"))
        ):
            text = f"[{text}]"
        try:
            return parse_value(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    return TypeAdapter(Any).dump_python(value, mode="json")


def _section_default(
    spec_types: list[type[Spec]], here: Mapping[str, Any], part: str
) -> tuple[dict[str, Any], list[type[Spec]]]:
    """Return a section's value where a configuration leaves it out, and the specs that may stand there."""
    chosen = [spec_type for spec_type in spec_types if here.get("kind") in _kinds(spec_type)] or spec_types
    owners = _fields(chosen).get(part, [])
    default = None if len(owners) != 1 or owners[0].field.is_required() else _default(owners[0].field)
    return (default if isinstance(default, dict) else {}), _alternatives(owners)[0]


def _alternatives(owners: list[_Owner]) -> tuple[list[type[Spec]], bool]:
    found = [_specs(owner.field.annotation) for owner in owners]
    return list(dict.fromkeys(spec for specs, _ in found for spec in specs)), any(others for _, others in found)


def _specs(annotation: Any) -> tuple[list[type[Spec]], bool]:
    """The spec classes in an annotation, and whether it allows anything else."""
    parts = list(_flat(annotation))
    specs = [part for part in parts if isinstance(part, type) and issubclass(part, Spec)]
    return list(dict.fromkeys(specs)), len(specs) < len(parts)


def _flat(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _flat(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _flat(part)
    else:
        yield annotation


def _kinds(spec_type: type[Spec]) -> tuple[str, ...]:
    field = spec_type.model_fields.get("kind")
    return get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
