"""Every number of a spec has a least and a greatest value, so that no description asks for what would never end."""

import importlib
import pkgutil
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import annotated_types
import pytest
from pydantic import Field

import jaxflow
from jaxflow.config import Spec, parse_spec
from jaxflow.errors import InputError
from jaxflow.models import AnyModelSpec
from jaxflow.training import FitSpec

# In the units of the user's data, where any finite number may be meant.
IN_UNITS_OF_DATA = {
    "ColumnMap": {"fill"},
    "Number": {"whole"},
    "Arcsinh": {"centre", "scale"},
    "RankGaussian": {"knots", "scores", "slopes"},
    "Circular": {"period", "origin"},
    "Steps": {"low", "high"},
    "Levels": {"levels"},
    "ColumnSpec": {"period"},
    "GivenThreshold": {"value"},
    "SavedDetector": {"threshold"},
}


def specs(of: type) -> Iterator[type]:
    """All classes of specs of the package."""
    for spec in of.__subclasses__():
        if spec.__module__.startswith("jaxflow."):
            yield spec
            yield from specs(spec)


def numbers(annotation: Any, limits: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The limits of each number that may stand in a field."""
    if annotation in (int, float):
        yield limits
    elif typing.get_origin(annotation) is Annotated:
        inner, *own = typing.get_args(annotation)
        own = [limit for one in own for limit in getattr(one, "metadata", [one])]
        yield from numbers(inner, (*limits, *own))
    elif typing.get_origin(annotation) is not Literal:
        for inner in typing.get_args(annotation):
            yield from numbers(inner, limits)


def unbounded(spec: type[Spec]) -> list[str]:
    """The fields of a spec in which a number has no least or no greatest value."""
    known = {name for owner in spec.__mro__ for name in IN_UNITS_OF_DATA.get(owner.__name__, ())}
    return [
        f"{spec.__name__}.{name}"
        for name, field in spec.model_fields.items()
        if name not in known
        for limits in numbers(field.annotation, tuple(field.metadata))
        if not any(isinstance(limit, annotated_types.Le | annotated_types.Lt) for limit in limits)
        or not any(isinstance(limit, annotated_types.Ge | annotated_types.Gt) for limit in limits)
    ]


def test_every_number_of_every_spec_is_bounded():
    for module in pkgutil.walk_packages(jaxflow.__path__, "jaxflow."):
        importlib.import_module(module.name)
    found = [name for spec in specs(Spec) for name in unbounded(spec)]
    assert found == []


def test_a_number_without_bounds_is_found():
    class Unbounded(Spec):
        right: int = Field(default=1, ge=0, le=2)
        above: tuple[Annotated[float, Field(ge=0)], ...] = ()
        below: int | None = Field(default=None, le=2)

    assert unbounded(Unbounded) == ["Unbounded.above", "Unbounded.below"]


HUGE = {
    "components of a base": {"kind": "maf", "base": {"kind": "mixture", "components": 10**12}},
    "a latent": {"kind": "autoencoder", "latent": 10**11},
    "draws": {"kind": "vae", "draws": 10**11},
    "components": {"kind": "gaussian_mixture", "components": 10**9},
    "starts": {"kind": "gaussian_mixture", "starts": 10**9},
    "rows": {"kind": "kernel_density", "rows": 10**12},
    "steps of a solver": {"kind": "cnf", "max_steps": 10**15},
    "digits of a solver": {"kind": "cnf", "tolerance": 1e-300},
    "probes": {"kind": "cnf", "probes": 10**9},
    "a context": {"kind": "nsf", "context_dim": 10**9},
    "blocks": {"kind": "custom", "layer": "jaxflow.bijectors.BlockAutoregressive", "options": {"layers": 10**9}},
    "units": {"kind": "custom", "layer": "jaxflow.bijectors.BlockAutoregressive", "options": {"hidden_factor": 10**5}},
    "solves": {"kind": "custom", "layer": "jaxflow.bijectors.NeuralODE", "options": {"max_steps": 10**9}},
    "widths": {"kind": "custom", "layer": "jaxflow.bijectors.NeuralODE", "options": {"hidden": [1] * 1000}},
    "a rank": {"kind": "custom", "layer": "jaxflow.bijectors.sylvester.Sylvester", "options": {"rank": 10**5}},
    "a member": {"kind": "ensemble", "member": {"kind": "maf", "draws": 10**9, "dequantize": "uniform"}},
    "a member of many": {"kind": "committee", "members": [{"model": {"kind": "maf", "context_dim": 10**9}}]},
}


@pytest.mark.parametrize("case", HUGE)
def test_what_would_never_end_is_refused_in_a_sentence(case):
    with pytest.raises(InputError, match=r"(expected a value|must be from|must have at most)"):
        parse_spec(AnyModelSpec, HUGE[case], "config.yaml")


@pytest.mark.parametrize("name", ["epochs", "steps", "batch_size", "patience"])
def test_no_fit_is_without_end(name):
    with pytest.raises(InputError, match=f"{name} = 100000000000000000000: expected a value less than or equal to"):
        parse_spec(FitSpec, {name: 10**20}, "config.yaml")


def test_a_layer_of_the_user_may_take_a_seed():
    values = {"kind": "custom", "layer": "my_layers.Cubic", "options": {"seed": 2**31, "hidden": [10**5] * 200}}
    assert parse_spec(AnyModelSpec, values, "config.yaml").options[0] == ("seed", 2**31)
    # What is larger is no whole number any more, and nothing is counted by it.
    (seed,) = parse_spec(AnyModelSpec, values | {"options": {"seed": 10**20}}, "config.yaml").options
    assert isinstance(seed[1], float)


@pytest.mark.parametrize("layer", ["my_layers.Cubic", "jaxflow.bijectors.BlockAutoregressive"])
def test_an_option_of_a_layer_is_given_once(layer):
    """As pairs, which is how they stand in a saved model, they could be given twice."""
    values = {"kind": "custom", "layer": layer, "options": [["a", 1], ["layers", 2], ["a", 1]]}
    with pytest.raises(InputError, match="'a' is there twice, expected each option once"):
        parse_spec(AnyModelSpec, values, "model")
