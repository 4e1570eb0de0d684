import gzip
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from jaxflow.config.spec import parse_spec
from jaxflow.data.sets import card_transdata, registry
from jaxflow.data.sets.adbench import adbench_files
from jaxflow.data.sets.registry import DataSpec, dataset_names, load_dataset
from jaxflow.errors import InputError

TOYS = ("two_moons", "eight_gaussians", "pinwheel", "checkerboard", "spirals", "rings")
OFFLINE = ("breast_cancer", "wine", "digits", *TOYS, "gaussian_lesson")


def test_names():
    names = dataset_names()
    assert set(names) == {*OFFLINE, "card_transdata", "nsl_kdd", *(f"adbench/{name}" for name in adbench_files())}
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", OFFLINE)
def test_what_needs_no_file_loads_by_name(name, monkeypatch):
    monkeypatch.delenv("JAXFLOW_DATA", raising=False)
    dataset = load_dataset(name)
    assert dataset.name == name
    assert dataset.y is not None
    assert 0 < dataset.y.sum() < len(dataset.y) / 2
    by_spec = load_dataset(DataSpec(name=name))
    np.testing.assert_array_equal(by_spec.x, dataset.x)


def test_adbench_and_card_transdata_go_to_their_loaders(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(registry, "load_adbench", lambda name: asked.append(name) or load_dataset("wine"))
    load_dataset("adbench/magic.gamma")
    assert asked == ["magic.gamma"]
    monkeypatch.setenv("JAXFLOW_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"^card_transdata: .* is missing"):
        load_dataset("card_transdata")
    path = tmp_path / "card_transdata" / card_transdata.FILE
    path.parent.mkdir()
    path.write_bytes(gzip.compress(b"a,fraud\n1,0\n"))
    with pytest.raises(InputError, match="SHA-256"):
        load_dataset("card_transdata")


@pytest.mark.parametrize("name", [*TOYS, "gaussian_lesson"])
def test_seed_makes_the_points(name):
    first, again, other = (load_dataset(name, seed=seed).x for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_options_of_made_data():
    dataset = load_dataset(DataSpec(name="rings", size=50, anomaly_fraction=0.2))
    assert dataset.y is not None
    assert (len(dataset.y), dataset.y.sum()) == (60, 10)
    default = load_dataset("rings")
    assert default.y is not None
    assert (len(default.y), default.y.sum()) == (2200, 200)
    lesson, subtle = (load_dataset(DataSpec(name="gaussian_lesson", subtle=flag)) for flag in (False, True))
    assert lesson.x.shape == (210, 2)
    assert np.abs(lesson.x[200:]).max() > 3.5
    assert np.abs(subtle.x[200:]).max() <= 3.5


def test_features_of_a_named_data_set():
    chosen = load_dataset(DataSpec(name="wine", features=("hue", "ash")))
    whole = load_dataset("wine")
    np.testing.assert_array_equal(chosen.x[:, 1], whole.x[:, whole.feature_names.index("ash")])
    assert chosen.feature_names == ("hue", "ash")
    with pytest.raises(InputError, match=r"^wine: column tannin is missing; the columns are alcohol, "):
        load_dataset(DataSpec(name="wine", features=("tannin",)))


def test_a_file_of_the_user(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b,label,bad\n1,2,0,1\n3,4,1,0\n")
    dataset = load_dataset(DataSpec(path=path, features=("b",)))
    assert dataset.name == "mine"
    np.testing.assert_array_equal(dataset.x, [[2.0], [4.0]])
    np.testing.assert_array_equal(dataset.y, [0, 1])
    np.testing.assert_array_equal(load_dataset(DataSpec(path=path, label="bad")).y, [1, 0])
    unlabelled = load_dataset(DataSpec(path=path, label=None))
    assert unlabelled.y is None
    assert unlabelled.feature_names == ("a", "b", "label", "bad")


@pytest.mark.parametrize(
    "spec",
    [
        DataSpec(path=Path("a.csv")),
        DataSpec(path=Path("a.csv"), label=None),
        DataSpec(path=Path("a.csv"), label="bad", features=("x", "y")),
        DataSpec(name="wine"),
        DataSpec(name="gaussian_lesson", subtle=True, size=10),
    ],
)
def test_a_spec_survives_being_saved(spec):
    assert DataSpec.model_validate_json(spec.model_dump_json()) == spec
    assert parse_spec(DataSpec, spec.model_dump(), "saved") == spec
    assert hash(DataSpec.model_validate(spec.model_dump())) == hash(spec)


def test_every_field_has_a_line_of_help():
    assert all(field.description for field in DataSpec.model_fields.values())


def test_an_unknown_name_gets_the_closest_ones():
    with pytest.raises(InputError) as error:
        load_dataset("two_moon")
    assert str(error.value) == "unknown data set two_moon; did you mean two_moons?"
    with pytest.raises(InputError, match=r"^unknown data set thyroid; did you mean adbench/thyroid"):
        load_dataset("thyroid")
    with pytest.raises(InputError, match=r"^unknown data set q; expected one of breast_cancer, .* or adbench/<name>$"):
        load_dataset("q")


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({}, "c.yaml: the configuration: expected either name or path, one of them and not both"),
        ({"name": "wine", "path": "a.csv"}, "c.yaml: the configuration: expected either name or path"),
        ({"name": "wien"}, "c.yaml: name = 'wien': unknown data set wien; did you mean wine?"),
        ({"name": "wine", "label": "y"}, "c.yaml: label = 'y': expected no value, as wine has labels of its own"),
        ({"name": "wine", "subtle": True}, "c.yaml: subtle = true: expected no value, as it is an option of gauss"),
        ({"name": "rings", "subtle": False}, "c.yaml: subtle = false: expected no value, as it is an option of gauss"),
        ({"name": "wine", "size": 5}, "c.yaml: size = 5: expected no value, as it is an option of two_moons, "),
        ({"path": "a.csv", "size": 5}, "c.yaml: size = 5: expected no value, as it is an option of two_moons, "),
        ({"name": "digits", "anomaly_fraction": 0.1}, "c.yaml: anomaly_fraction = 0.1: expected no value, as it is "),
        ({"name": "rings", "size": 0}, "c.yaml: size = 0: expected a value greater than or equal to 1"),
        ({"name": "rings", "anomaly_fraction": 1.5}, "c.yaml: anomaly_fraction = 1.5: expected a value less than"),
        ({"path": "a.csv", "features": []}, "c.yaml: features = []: "),
        ({"path": "a.csv", "features": ["a", "a"]}, "c.yaml: features = ['a', 'a']: feature a is there twice"),
        ({"path": "a.csv", "features": ["label"]}, "c.yaml: features = ['label']: expected features only, and label"),
        ({"path": "a.csv", "lable": "y"}, "c.yaml: unknown key lable; did you mean label?"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(values, start):
    with pytest.raises(InputError) as error:
        parse_spec(DataSpec, values, "c.yaml")
    assert str(error.value).startswith(start)
    with pytest.raises(ValidationError):
        DataSpec(**values)
