"""Specs: hyperparameters with their ranges and one line of help each."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from jaxflow.config.explanation import explain
from jaxflow.errors import InputError

LONGEST_KEY = 80  # in letters; to look for a likeness of a long one takes long


class Spec(BaseModel):
    """Base of everything that can be configured: a model, a preprocessing step, a fit, an experiment.

    A spec is immutable and hashable, so it can be a static argument of a compiled function. An unknown key, a wrong
    type or a value out of range raises pydantic's `ValidationError`; scripts go through `parse_spec`, which turns that
    into one sentence. True and false are no numbers here, although Python would take them for 1 and 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for key in values:
                if key not in cls.model_fields:
                    known = list(cls.model_fields)
                    close = difflib.get_close_matches(str(key)[:LONGEST_KEY], known, n=1)
                    hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
                    raise PydanticCustomError("unknown_key", "unknown key {key}; {hint}", {"key": key, "hint": hint})
        return values

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_booleans_as_numbers(cls, values: Any, check: Callable[[Any], Any]) -> Any:
        spec = check(values)
        if isinstance(values, Mapping):
            for key, value in values.items():
                if _boolean_became_number(value, getattr(spec, key)):
                    raise PydanticCustomError("boolean_as_number", "a number", {"key": key, "value": value})
        return spec


def parse_spec(spec_type: Any, values: Any, source: str) -> Any:
    """Build a spec from plain values.

    Args:
        spec_type: the spec class, or a union of spec classes told apart by their `kind`.
        values: what a YAML file, a JSON file or the command line said.
        source: where `values` came from; it opens every error message.

    Raises:
        InputError: naming the first offending key, its value and what was expected.
    """
    try:
        return TypeAdapter(spec_type).validate_python(values)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error.errors(), values)}") from None


def _boolean_became_number(value: Any, checked: Any) -> bool:
    if isinstance(value, bool):
        return isinstance(checked, int | float) and not isinstance(checked, bool)
    if isinstance(value, list | tuple) and isinstance(checked, list | tuple):
        return any(map(_boolean_became_number, value, checked))
    if isinstance(value, Mapping) and isinstance(checked, Mapping):
        return any(_boolean_became_number(value[key], checked[key]) for key in value if key in checked)
    return False
