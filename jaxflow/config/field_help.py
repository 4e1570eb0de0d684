"""Describe in words what a field of a spec accepts, for the help of its option."""

import functools
import json
from collections.abc import Mapping
from typing import Any

from jaxflow.config.spec import Spec

_WORDS = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}
_METAVARS = {"integer": "INT", "number": "NUMBER", "boolean": "BOOL", "string": "TEXT", "array": "LIST"}
_BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


def describe(spec_type: type[Spec], name: str) -> str:
    """The type and the range of a field: `whole number >= 1`, `one of relu, tanh`, `list of: number > 0`."""
    schema = _schema(spec_type)
    return _in_words(schema["properties"][name], schema.get("$defs", {}))


def json_types(spec_type: type[Spec], name: str) -> frozenset[str]:
    """The JSON types that a field accepts: integer, number, boolean, string, null, array, object."""
    schema = _schema(spec_type)
    return frozenset(_types(schema["properties"][name], schema.get("$defs", {})))


def metavar(accepted: frozenset[str]) -> str:
    """The placeholder for the value of an option that takes these JSON types."""
    accepted = accepted - {"null"}
    return _METAVARS.get(next(iter(accepted)), "VALUE") if len(accepted) == 1 else "VALUE"


def plain_text(value: Any) -> str:
    """A value as one would write it on the command line."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


@functools.cache
def _schema(spec_type: type[Spec]) -> dict[str, Any]:
    schema = spec_type.model_json_schema()
    # A spec that contains itself stands among the definitions, where it can be referred to.
    return {**schema, **_resolve(schema, schema.get("$defs", {}))}


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _branches(schema: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    return schema.get("anyOf") or schema.get("oneOf")


def _types(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> set[str]:
    schema = _resolve(schema, definitions)
    if branches := _branches(schema):
        return set().union(*(_types(branch, definitions) for branch in branches))
    return {schema["type"]} if "type" in schema else set(_METAVARS) | {"null", "object"}


def _in_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    schema = _resolve(schema, definitions)
    if branches := _branches(schema):
        words = list(dict.fromkeys(_in_words(branch, definitions) for branch in branches))
        # A long union of specs differs in the kind alone.
        return " or ".join([*words[:1], *(text.removeprefix("mapping with kind ") for text in words[1:])])
    if "const" in schema:
        return plain_text(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(map(plain_text, schema['enum']))}"
    kind = schema.get("type")
    if kind == "array":
        return _list_in_words(schema, definitions)
    if kind == "object":
        return _mapping_in_words(schema, definitions)
    if schema.get("format") == "path":
        return "path"
    words = _WORDS.get(str(kind), "any value")
    bounds = [f"{sign} {plain_text(schema[key])}" for key, sign in _BOUNDS.items() if key in schema]
    if schema.get("minLength"):
        bounds.append(f"of at least {schema['minLength']} characters")
    if "pattern" in schema:
        bounds.append(f"that matches {schema['pattern']}")
    return " ".join([words, ", ".join(bounds)]).strip()


def _list_in_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])}: " + ", ".join(
            _in_words(item, definitions) for item in schema["prefixItems"]
        )
    least, most = schema.get("minItems"), schema.get("maxItems")
    size = f" at least {least}" if least else ""
    size += f"{' and' if size else ''} at most {most}" if most is not None else ""
    items = _in_words(schema["items"], definitions) if "items" in schema else "any value"
    return f"list of{size}: {items}"


def _mapping_in_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "properties" in schema:  # a spec
        kinds = schema["properties"].get("kind")
        return f"mapping with kind {_in_words(kinds, definitions)}" if kinds else "mapping"
    items = schema.get("additionalProperties")
    return f"mapping of keys to: {_in_words(items, definitions)}" if isinstance(items, dict) else "mapping"
