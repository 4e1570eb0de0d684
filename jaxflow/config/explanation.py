"""Validation errors in the words of someone who writes a configuration."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from jaxflow.errors import shown

# What pydantic calls by the names of Python types, in the words of someone who writes a configuration.
_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "none_required": "null",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def show_value(value: Any) -> str:
    """A value as a message shows it: in the words of YAML, and cut short where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return shown(value, 80)


def explain(errors: Sequence[Mapping[str, Any]], values: Any) -> str:
    """One sentence about the first error, or about all branches of the union that it belongs to.

    Args:
        errors: what pydantic's `ValidationError.errors()` returned.
        values: what was validated; it tells which parts of an error's location are keys.

    Returns:
        The offending key, its value and what was expected.
    """
    paths = [_plain_path(error, values) for error in errors]
    same = [(path, error) for path, error in zip(paths, errors, strict=True) if path[: len(paths[0])] == paths[0]]
    # The branch that got furthest into the value is the one that the user meant.
    deepest = max((path for path, _ in same), key=len)
    furthest = [(path, error) for path, error in same if path == deepest]
    for path, error in furthest:
        if sentence := _whole_sentence(path, error):
            return sentence
    path, error = furthest[0]
    name, value = _dotted(path) or "the configuration", error["input"]
    expected = " or ".join(dict.fromkeys(_expectation(error) for _, error in furthest))
    expected = expected.replace(" or expected ", " or ")
    if not isinstance(value, Mapping | BaseModel):
        return f"{name} = {show_value(value)}: {expected}"
    # A validator of a whole section names the keys it is about; the section's value would only hide them.
    return f"{name}: {expected}, got a mapping" if error["type"] in _EXPECTED else f"{name}: {expected}"


def _whole_sentence(path: list[Any], error: Mapping[str, Any]) -> str | None:
    """The message of an error that is about a key instead of a value."""
    context = error.get("ctx", {})
    match error["type"]:
        case "unknown_key":
            name = _dotted(path)
            return f"unknown key {name}; {context['hint']}"
        case "missing":
            return f"{_dotted(path)} is missing"
        case "boolean_as_number":
            return f"{_dotted(path)} = {show_value(context['value'])}: expected a number, not true or false"
        case "union_tag_not_found":
            return f"{_dotted([*path, 'kind'])} is missing; {_dotted(path) or 'the configuration'} needs one"
        case "union_tag_invalid":
            kinds = context["expected_tags"].replace("'", "")
            return f"{_dotted([*path, 'kind'])} = {show_value(context['tag'])}: expected one of {kinds}"
    return None


def _expectation(error: Mapping[str, Any]) -> str:
    kind, context, message = error["type"], error.get("ctx", {}), error["msg"]
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}"
    if kind == "too_short":
        return f"expected at least {_items(context['min_length'])}, got {context['actual_length']}"
    if kind == "too_long":
        return f"expected at most {_items(context['max_length'])}, got {context['actual_length']}"
    if "error" in context:  # raised by a validator of the spec itself
        return str(context["error"])
    for words, ours in (
        ("Input should be greater", "expected a value greater"),
        ("Input should be less", "expected a value less"),
        ("Input should be", "expected"),
        ("String should have", "expected text with"),
        ("String should match", "expected text that matches"),
    ):
        if message.startswith(words):
            return ours + message.removeprefix(words)
    return message


def _items(count: int) -> str:
    return f"{count} item" if count == 1 else f"{count} items"


def _plain_path(error: Mapping[str, Any], values: Any) -> list[Any]:
    """Drop from pydantic's location the tags of unions, which are no keys that the user wrote."""
    path: list[Any] = []
    here = values
    location = error["loc"]
    for depth, part in enumerate(location):
        absent = error["type"] == "missing" and depth == len(location) - 1
        if part in _keys(here):
            here = here[part]
        elif not absent:
            continue
        path.append(part)
    return [*path, error["ctx"]["key"]] if error["type"] in ("unknown_key", "boolean_as_number") else path


def _keys(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.keys()
    return range(len(value)) if isinstance(value, list | tuple) else ()


def _dotted(path: Sequence[Any]) -> str:
    """`model.hidden[0]` for ("model", "hidden", 0)."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_cut(part)}" for part in path).removeprefix(".")


def _cut(key: Any) -> str:
    text = key if isinstance(key, str) else shown(key, 80)
    return text if len(text) <= 80 else f"{text[:77]}..."
