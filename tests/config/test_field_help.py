from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from jaxflow.config import Spec
from jaxflow.config.field_help import describe, json_types, metavar, plain_text


class Inner(Spec):
    kind: Literal["inner"] = "inner"


class Other(Spec):
    kind: Literal["other"] = "other"


class Plain(Spec):
    epochs: int = Field(default=10, ge=1, le=99)
    rate: float = Field(default=1e-3, gt=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    activation: Literal["relu", "tanh"] = "relu"
    only: Literal["this"] = "this"
    name: str = Field(default="ab", min_length=2, pattern="^a")
    path: Path | None = None
    shuffle: bool = True
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(64, 64), min_length=1, max_length=4)
    box: tuple[float, Annotated[float, Field(gt=0)]] = (0, 1)
    few: list[int] = Field(default_factory=list, max_length=3)
    grid: dict[str, float] = Field(default_factory=dict)
    batch: int | Literal["auto"] = "auto"
    inner: Inner | None = None
    steps: list[Annotated[Inner | Other, Field(discriminator="kind")]] = Field(default_factory=list)
    anything: Any = None


@pytest.mark.parametrize(
    ("name", "words", "types", "placeholder"),
    [
        ("epochs", "whole number >= 1, <= 99", {"integer"}, "INT"),
        ("rate", "number > 0, < 1", {"number"}, "NUMBER"),
        ("patience", "whole number >= 1 or null", {"integer", "null"}, "INT"),
        ("activation", "one of relu, tanh", {"string"}, "TEXT"),
        ("only", "this", {"string"}, "TEXT"),
        ("name", "text of at least 2 characters, that matches ^a", {"string"}, "TEXT"),
        ("path", "path or null", {"string", "null"}, "TEXT"),
        ("shuffle", "true or false", {"boolean"}, "BOOL"),
        ("hidden", "list of at least 1 and at most 4: whole number >= 1", {"array"}, "LIST"),
        ("box", "list of 2: number, number > 0", {"array"}, "LIST"),
        ("few", "list of at most 3: whole number", {"array"}, "LIST"),
        ("grid", "mapping of keys to: number", {"object"}, "VALUE"),
        ("batch", "whole number or auto", {"integer", "string"}, "VALUE"),
        ("inner", "mapping with kind inner or null", {"object", "null"}, "VALUE"),
        ("steps", "list of: mapping with kind inner or other", {"array"}, "LIST"),
    ],
)
def test_fields_in_words(name, words, types, placeholder):
    assert describe(Plain, name) == words
    assert json_types(Plain, name) == types
    assert metavar(json_types(Plain, name)) == placeholder


def test_a_field_of_any_type_accepts_every_json_type():
    assert describe(Plain, "anything") == "any value"
    assert json_types(Plain, "anything") == {
        "integer",
        "number",
        "boolean",
        "string",
        "array",
        "object",
        "null",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ("relu", "relu"), ("", '""'), ([64, 1e-3], "[64, 0.001]"), ({"a": 1}, '{"a": 1}')],
)
def test_values_as_one_writes_them(value, text):
    assert plain_text(value) == text
