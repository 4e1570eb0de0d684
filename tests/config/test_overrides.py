import argparse
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from jaxflow.config import Spec, parse_spec
from jaxflow.config.overrides import collect_overrides, merge, override_arguments
from jaxflow.errors import InputError


class Base(Spec):
    scale: float = Field(default=1.0, gt=0, description="width of the base")


class Maf(Spec):
    kind: Literal["maf"] = "maf"
    layers: int = Field(default=5, ge=1, description="number of layers")
    hidden: tuple[int, ...] = Field(default=(64, 64), description="widths of 100% of the layers")
    base: Base = Field(default=Base(), description="the base distribution")


class RealNvp(Spec):
    kind: Literal["realnvp"] = "realnvp"
    layers: int = Field(default=8, ge=2, description="number of couplings")
    clamp: float | None = Field(default=2.0, gt=0, description="largest log-scale")


class Gaussian(Spec):
    kind: Literal["gaussian"] = "gaussian"
    covariance: Literal["full", "diagonal"] = Field(default="full", description="shape of the covariance")


class Fit(Spec):
    epochs: int = Field(default=10, ge=1, description="passes over the data")
    rate: float = Field(default=1e-3, gt=0, description="learning rate")


class Ensemble(Spec):
    members: int = Field(default=4, ge=2, description="number of members")


class Experiment(Spec):
    model: Annotated[Maf | RealNvp | Gaussian, Field(discriminator="kind")] = Field(
        default=Maf(layers=7), description="the model"
    )
    train: Fit = Field(default_factory=lambda: Fit(epochs=50), description="how it is fitted")
    ensemble: Ensemble | None = Field(default=None, description="more than one model")
    data: str = Field(description="name of the data set")
    file: Path | None = Field(default=None, description="a file instead")
    limit: int | list[int] = Field(default=3, description="one or more limits")
    steps: list[Annotated[Maf | RealNvp, Field(discriminator="kind")]] = Field(
        default_factory=list, description="what comes first"
    )
    shape: list[int] | dict[str, int] = Field(default=[1], description="one or the other")
    grid: dict[str, int] = Field(default_factory=dict, description="a grid")


class Tree(Spec):
    depth: int = Field(default=0, description="depth")
    child: "Tree | None" = Field(default=None, description="below")


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser(prog="train.py", exit_on_error=False)
    parser.add_argument("--config")
    override_arguments(parser, Experiment)
    return parser


def help_of(parser, option):
    text = re.sub(r"\s+", " ", parser.format_help())
    return text.partition(f" --{option} ")[2].partition(" --")[0].strip()


def test_the_help_of_an_option_has_type_range_and_default(parser):
    assert help_of(parser, "train.epochs").startswith("INT passes over the data (whole number >= 1; default 10)")
    assert help_of(parser, "data").startswith("TEXT name of the data set (text; required)")
    assert help_of(parser, "file").startswith("TEXT a file instead (path or null; default null)")


def test_the_help_of_a_union_names_the_kinds(parser):
    assert help_of(parser, "model.layers") == (
        "INT maf: number of layers (whole number >= 1; default 5); "
        "realnvp: number of couplings (whole number >= 2; default 8)"
    )
    assert help_of(parser, "model.hidden") == (
        "LIST maf: widths of 100% of the layers (list of: whole number; default [64, 64])"
    )
    assert help_of(parser, "model.kind").startswith(
        "TEXT one of maf, realnvp, gaussian; another kind than the configuration's starts this section afresh"
    )


def test_fields_that_kinds_share_are_described_once():
    class Left(Spec):
        kind: Literal["left"] = "left"
        seed: int = Field(default=0, description="seed")

    class Right(Left):
        kind: Literal["right"] = "right"  # pyright: ignore[reportIncompatibleVariableOverride]

    parser = argparse.ArgumentParser(prog="train.py")
    override_arguments(parser, Annotated[Left | Right, Field(discriminator="kind")], prefix="model")
    assert help_of(parser, "model.seed") == "INT left, right: seed (whole number; default 0)"


def test_sections_have_groups_that_say_what_they_are(parser):
    text = re.sub(r"\s+", " ", parser.format_help())
    assert "model: the model (default kind maf)" in text
    assert "model.base: the base distribution (only of maf)" in text
    assert "train: how it is fitted" in text
    assert "ensemble: more than one model (default null)" in text


def test_a_section_has_an_option_of_its_own_only_where_it_can_be_something_else(parser):
    assert help_of(parser, "ensemble") == "VALUE more than one model (mapping or null; default null)"
    assert "--train " not in parser.format_help()
    assert "--model " not in parser.format_help()


def test_the_kind_stands_first(parser):
    assert re.findall(r"--model\.\w+ ", parser.format_help())[0] == "--model.kind "


def test_the_usage_stays_short(parser):
    assert parser.format_usage() == "usage: train.py [-h] [--config CONFIG] [--SECTION.KEY VALUE ...]\n"


def test_only_what_is_given_is_an_override(parser):
    assert collect_overrides(parser.parse_args(["--config", "a.yaml"])) == {}
    given = parser.parse_args(["--config", "a.yaml", "--model.layers", "8", "--data", "wine"])
    assert collect_overrides(given) == {"model.layers": 8, "data": "wine"}
    assert given.config == "a.yaml"


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("model.layers", "8", 8),
        ("model.layers", "many", "many"),  # refused by the spec, in its own words
        ("model.layers", "null", None),
        ("train.rate", "1e-4", 1e-4),
        ("model.hidden", "[64, 32]", [64, 32]),
        ("model.hidden", " [64]", [64]),
        ("model.hidden", "64,32", [64, 32]),
        ("model.hidden", "64", [64]),
        ("model.hidden", "[]", []),
        ("limit", "64", 64),
        ("limit", "64,32", [64, 32]),
        ("steps", "{kind: maf}, {kind: realnvp}", [{"kind": "maf"}, {"kind": "realnvp"}]),
        ("grid", "{a: 1, b: 2}", {"a": 1, "b": 2}),
        ("shape", "1,2", [1, 2]),
        ("shape", "{a: 1, b: 2}", {"a": 1, "b": 2}),
        ("data", "1", "1"),
        ("data", "null", "null"),
        ("data", "a: b", "a: b"),
        ("data", "", ""),
        ("file", "1e-3", "1e-3"),
        ("file", "null", None),
        ("ensemble", "null", None),
    ],
)
def test_values_are_read_as_yaml_but_text_as_it_stands(parser, option, text, value):
    got = collect_overrides(parser.parse_args([f"--{option}={text}"]))[option]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("text", ["[64", "", "{"])
def test_a_value_that_is_no_yaml_is_refused(parser, text):
    with pytest.raises(argparse.ArgumentError, match=r"argument --train.epochs: .*(is not a YAML value|is empty)"):
        parser.parse_args([f"--train.epochs={text}"])


def test_a_prefix_stands_before_every_key():
    parser = argparse.ArgumentParser()
    override_arguments(parser, Fit, prefix="train")
    overrides = collect_overrides(parser.parse_args(["--train.epochs", "3"]))
    assert overrides == {"train.epochs": 3}
    assert merge({}, overrides) == {"train": {"epochs": 3}}


def test_a_union_may_stand_at_the_top():
    parser = argparse.ArgumentParser()
    model = Annotated[Maf | RealNvp, Field(discriminator="kind")]
    override_arguments(parser, model)
    overrides = collect_overrides(parser.parse_args(["--kind", "realnvp", "--clamp", "1"]))
    assert parse_spec(model, merge({"kind": "maf", "layers": 2}, overrides, model), "a") == RealNvp(clamp=1.0)


def test_a_spec_that_contains_itself_ends_in_one_yaml_value():
    parser = argparse.ArgumentParser()
    override_arguments(parser, Tree)
    assert "--child.depth" not in parser.format_help()
    overrides = collect_overrides(parser.parse_args(["--child", "{depth: 1, child: {depth: 2}}"]))
    assert parse_spec(Tree, merge({}, overrides, Tree), "a") == Tree(child=Tree(depth=1, child=Tree(depth=2)))


def test_merging_changes_only_what_is_given():
    config = {"model": {"kind": "maf", "layers": 3, "hidden": [1, 2]}, "train": {"epochs": 5}, "data": "wine"}
    merged = merge(config, {"model.layers": 4, "train.rate": 0.5, "model.base.scale": 2.0}, Experiment)
    assert merged == {
        "model": {"kind": "maf", "layers": 4, "hidden": [1, 2], "base": {"scale": 2.0}},
        "train": {"epochs": 5, "rate": 0.5},
        "data": "wine",
    }
    assert config["model"] == {"kind": "maf", "layers": 3, "hidden": [1, 2]}
    merged["model"]["hidden"].append(3)
    assert config["model"]["hidden"] == [1, 2]


def test_a_list_or_a_mapping_is_replaced_as_a_whole():
    merged = merge({"grid": {"a": 1}, "limit": [1, 2]}, {"grid": {"b": 2}, "limit": [3]}, Experiment)
    assert merged == {"grid": {"b": 2}, "limit": [3]}


def test_another_kind_starts_its_section_afresh():
    config = {"model": {"kind": "maf", "layers": 3, "hidden": [1, 2]}, "data": "wine"}
    merged = merge(config, {"model.clamp": 1.0, "model.kind": "realnvp"}, Experiment)
    assert merged == {"model": {"kind": "realnvp", "clamp": 1.0}, "data": "wine"}
    assert merge({"data": "wine"}, {"model.kind": "gaussian"}, Experiment)["model"] == {"kind": "gaussian"}


def test_the_same_kind_changes_nothing():
    config = {"model": {"kind": "maf", "layers": 3}, "train": {"epochs": 2}}
    assert merge(config, {"model.kind": "maf"}, Experiment) == config
    assert merge({"model": {"layers": 3}}, {"model.kind": "maf"}) == {"model": {"kind": "maf", "layers": 3}}


def test_a_section_left_out_starts_from_its_default():
    merged = merge({"data": "wine"}, {"model.hidden": [8], "train.rate": 0.5}, Experiment)
    experiment = parse_spec(Experiment, merged, "a.yaml")
    assert experiment.model == Maf(layers=7, hidden=(8,))
    assert experiment.train == Fit(epochs=50, rate=0.5)


def test_a_section_left_out_starts_from_the_default_of_its_kind():
    class Wide(Spec):
        kind: Literal["wide"] = "wide"
        fit: Fit = Fit(epochs=77)

    class Narrow(Spec):
        kind: Literal["narrow"] = "narrow"
        fit: Fit = Fit(epochs=33)

    either = Annotated[Wide | Narrow, Field(discriminator="kind")]
    merged = merge({"kind": "narrow"}, {"fit.rate": 0.5}, either)
    assert merged == {"kind": "narrow", "fit": {"epochs": 33, "rate": 0.5}}


def test_a_section_that_is_null_can_be_filled():
    for config in ({"data": "wine"}, {"data": "wine", "ensemble": None}):
        assert merge(config, {"ensemble.members": 6}, Experiment)["ensemble"] == {"members": 6}
    assert merge({"ensemble": {"members": 3}}, {"ensemble": None}, Experiment) == {"ensemble": None}


def test_a_section_and_a_key_in_it_may_be_given_together():
    overrides = {"ensemble.members": 6, "ensemble": {"members": 3}}
    assert merge({}, overrides, Experiment) == {"ensemble": {"members": 6}}


def test_options_that_contradict_are_refused():
    with pytest.raises(InputError, match=r"^ensemble = null: expected a mapping .* since --ensemble.members is given$"):
        merge({}, {"ensemble": None, "ensemble.members": 6}, Experiment)


def test_an_option_within_something_that_is_no_section_is_refused():
    with pytest.raises(InputError, match=r"^model = 5: expected a mapping .* since --model.layers is given$"):
        merge({"model": 5}, {"model.layers": 6}, Experiment)


@pytest.mark.parametrize(("old", "new"), [("name", "path"), ("path", "name")])
def test_a_path_takes_the_place_of_a_name_and_the_other_way_round(old, new):
    config = {"data": {old: "old", "size": 3}}
    assert merge(config, {"data.label": "y", f"data.{new}": "new"}) == {"data": {new: "new", "label": "y"}}
    assert merge(config, {f"data.{old}": "new"}) == {"data": {old: "new", "size": 3}}
    assert merge(config, {"data.name": "a", "data.path": "b"}) == {"data": {"name": "a", "path": "b", "size": 3}}
