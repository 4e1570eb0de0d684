from typing import Literal

import pytest
from pydantic import Field, ValidationError

from jaxflow.config import Spec, parse_spec
from jaxflow.errors import InputError


class Fit(Spec):
    epochs: int = Field(default=10, ge=1)
    rate: float = Field(default=1e-3, gt=0)
    shuffle: bool = True
    hidden: tuple[int, ...] = (64, 64)
    weights: dict[str, float] = Field(default_factory=dict)
    limit: int | Literal["auto"] | bool = "auto"


def test_a_spec_is_immutable_and_compares_by_value():
    fit = Fit(epochs=3)
    with pytest.raises(ValidationError, match="frozen"):
        fit.epochs = 4  # pyright: ignore[reportAttributeAccessIssue]
    assert fit == Fit(epochs=3) != Fit(epochs=4)


def test_plain_values_take_the_types_of_the_fields():
    fit = parse_spec(Fit, {"epochs": 1e2, "rate": 1, "hidden": [8, 8], "shuffle": "off"}, "fit.yaml")
    assert fit == Fit(epochs=100, rate=1.0, hidden=(8, 8), shuffle=False)
    assert type(fit.epochs) is int
    assert type(fit.rate) is float


def test_defaults_are_checked_too():
    class Wrong(Spec):
        epochs: int = Field(default=0, ge=1)

    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Wrong()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(value):
    with pytest.raises(InputError, match=r"^fit.yaml: rate = -?(nan|inf): expected a finite number$"):
        parse_spec(Fit, {"rate": value}, "fit.yaml")


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"epochs": True}, "epochs = true"),
        ({"rate": True}, "rate = true"),
        ({"hidden": [64, True]}, r"hidden = \[64, True\]"),
        ({"weights": {"a": True}}, "weights = {'a': True}"),
    ],
)
def test_a_boolean_is_no_number(values, shown):
    with pytest.raises(InputError, match=f"^fit.yaml: {shown}: expected a number, not true or false$"):
        parse_spec(Fit, values, "fit.yaml")


def test_a_boolean_stays_one_where_it_may_stand():
    assert parse_spec(Fit, {"limit": True, "shuffle": False}, "fit.yaml").limit is True


def test_an_unknown_key_is_refused_with_the_closest_known_one():
    with pytest.raises(InputError, match=r"^fit.yaml: unknown key epoch; did you mean epochs\?$"):
        parse_spec(Fit, {"epoch": 3}, "fit.yaml")
    with pytest.raises(InputError, match=r"^fit.yaml: unknown key zz; expected one of epochs, rate, shuffle, "):
        parse_spec(Fit, {"zz": 3}, "fit.yaml")


def test_a_spec_that_is_built_already_passes_through():
    fit = Fit(epochs=3)
    assert parse_spec(Fit, fit, "fit.yaml") is fit
