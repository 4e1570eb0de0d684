from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, model_validator

from jaxflow.config import Spec, parse_spec
from jaxflow.config.explanation import show_value
from jaxflow.errors import InputError


class Maf(Spec):
    kind: Literal["maf"] = "maf"
    layers: int = Field(default=5, ge=1)
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(64, 64), min_length=1, max_length=3)


class RealNvp(Spec):
    kind: Literal["realnvp"] = "realnvp"
    scale: float | None = Field(default=2.0, gt=0, lt=9)
    activation: Literal["relu", "tanh"] = "relu"
    batch: int | Literal["auto"] = "auto"
    mixed: int | tuple[int, ...] | dict[str, int] = 1
    box: tuple[float, float] = (0, 1)
    flag: bool = False
    path: Path | None = None
    name: str = Field(default="x", min_length=1, pattern="^[a-z]*$")
    names: list[str] = Field(default_factory=list)
    grid: dict[str, float] = Field(default_factory=dict)
    low: float = 0
    high: float = 1

    @model_validator(mode="after")
    def _ordered(self):
        if self.low >= self.high:
            raise ValueError(f"low = {self.low}: expected less than high = {self.high}")
        return self


Model = Annotated[Maf | RealNvp, Field(discriminator="kind")]


class Experiment(Spec):
    model: Model = Maf()
    steps: list[Model] = Field(default_factory=list)
    seed: int


MODEL_MISTAKES = {
    "model = 5: expected a mapping of keys to values": 5,
    "model.kind is missing; model needs one": {},
    "model.kind = 'x': expected one of maf, realnvp": {"kind": "x"},
    "unknown key model.layer; did you mean layers?": {"kind": "maf", "layer": 3},
    "unknown key model.scale; expected one of kind, layers, hidden": {"kind": "maf", "scale": 3},
    "model.layers = 0: expected a value greater than or equal to 1": {"kind": "maf", "layers": 0},
    "model.layers = 1.5: expected a whole number": {"kind": "maf", "layers": 1.5},
    "model.layers = '1.5': expected a whole number": {"kind": "maf", "layers": "1.5"},
    "model.layers = null: expected a whole number": {"kind": "maf", "layers": None},
    "model.hidden = []: expected at least 1 item, got 0": {"kind": "maf", "hidden": []},
    "model.hidden = [1, 2, 3, 4]: expected at most 3 items, got 4": {"kind": "maf", "hidden": [1, 2, 3, 4]},
    "model.hidden[1] = -1: expected a value greater than or equal to 1": {"kind": "maf", "hidden": [1, -1]},
    "model.hidden: expected a list, got a mapping": {"kind": "maf", "hidden": {"a": 1}},
    "model.hidden = '64': expected a list": {"kind": "maf", "hidden": "64"},
}
REALNVP_MISTAKES = {
    "scale = 0: expected a value greater than 0": {"scale": 0},
    "scale = 9.5: expected a value less than 9": {"scale": 9.5},
    "scale = 'a': expected a number": {"scale": "a"},
    "activation = 'elu': expected 'relu' or 'tanh'": {"activation": "elu"},
    "activation = null: expected 'relu' or 'tanh'": {"activation": None},
    "batch = 'aut': expected a whole number or 'auto'": {"batch": "aut"},
    "mixed = 'a': expected a whole number or a list or a mapping of keys to values": {"mixed": "a"},
    "mixed[1] = 'a': expected a whole number": {"mixed": [1, "a"]},
    "mixed.b = 'a': expected a whole number": {"mixed": {"b": "a"}},
    "box[1] is missing": {"box": [1]},
    "box = [1, 2, 3]: expected at most 2 items, got 3": {"box": [1, 2, 3]},
    "flag = 'maybe': expected true or false": {"flag": "maybe"},
    "path = 3: expected a path": {"path": 3},
    "name = '': expected text with at least 1 character": {"name": ""},
    "name = 'A': expected text that matches pattern '^[a-z]*$'": {"name": "A"},
    "name = 3: expected text": {"name": 3},
    "names = 'a': expected a list": {"names": "a"},
    "grid.a = 'b': expected a number": {"grid": {"a": "b"}},
    "grid = [1]: expected a mapping of keys to values": {"grid": [1]},
}


def complaint(values, spec_type: Any = Experiment):
    with pytest.raises(InputError) as error:
        parse_spec(spec_type, values, "a.yaml")
    return str(error.value).removeprefix("a.yaml: ")


@pytest.mark.parametrize("sentence", MODEL_MISTAKES)
def test_mistakes_in_a_section_are_named_by_their_dotted_key(sentence):
    assert complaint({"seed": 0, "model": MODEL_MISTAKES[sentence]}) == sentence


@pytest.mark.parametrize("sentence", REALNVP_MISTAKES)
def test_mistakes_in_a_value_say_what_was_expected(sentence):
    assert complaint({"kind": "realnvp", **REALNVP_MISTAKES[sentence]}, Model) == sentence


def test_mistakes_at_the_top():
    assert complaint({}) == "seed is missing"
    assert complaint(5) == "the configuration = 5: expected a mapping of keys to values"
    assert complaint(None) == "the configuration = null: expected a mapping of keys to values"
    assert complaint({"layers": 3}, Model) == "kind is missing; the configuration needs one"


def test_mistakes_in_a_list_of_sections():
    steps = [{"kind": "maf"}, {"kind": "maf", "layers": 0}]
    expected = "steps[1].layers = 0: expected a value greater than or equal to 1"
    assert complaint({"seed": 0, "steps": steps}) == expected
    assert complaint({"seed": 0, "steps": [{"kin": "maf"}]}) == "steps[0].kind is missing; steps[0] needs one"
    assert complaint({"seed": 0, "steps": steps[0]}) == "steps: expected a list, got a mapping"


def test_the_first_of_several_mistakes_is_named():
    values = {"seed": 0, "model": {"kind": "maf", "layers": 0}, "steps": [{"kind": "maf", "hidden": [0]}]}
    assert complaint(values).startswith("model.layers = 0: ")


def test_a_section_says_what_its_own_validator_found():
    values = {"seed": 0, "model": {"kind": "realnvp", "low": 2}}
    assert complaint(values) == "model: low = 2.0: expected less than high = 1.0"


def test_a_key_that_is_no_text_is_named():
    assert complaint({"seed": 0, 5: 1}).startswith("unknown key [5]; ")


def test_values_are_shown_as_yaml_and_cut_short():
    assert [show_value(value) for value in (None, True, False, 0, 1, "a")] == [
        "null",
        "true",
        "false",
        "0",
        "1",
        "'a'",
    ]
    assert show_value("x" * 500) == "'" + "x" * 76 + "..."
