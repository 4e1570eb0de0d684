from pathlib import Path

import numpy as np
import pytest

from jaxflow.config.overrides import merge
from jaxflow.config.spec import parse_spec
from jaxflow.data import MinMax
from jaxflow.detection import (
    AutoencoderDetector,
    BestF1,
    FlowDetector,
    GaussianDetector,
    Percentile,
    TargetFalsePositiveRate,
)
from jaxflow.detection.check_parameters import DEFAULT_STEPS
from jaxflow.errors import InputError
from jaxflow.experiment.spec import DetectionSpec, Experiment
from jaxflow.models import AutoEncoderSpec, GaussianMixtureSpec, GaussianSpec, PrincipalComponentsSpec
from jaxflow.training import Checkpoints, FitSpec

SMALLEST = {"data": {"name": "wine"}, "model": {"kind": "gaussian"}}


def parse(**sections):
    return parse_spec(Experiment, SMALLEST | sections, "a.yaml")


def test_what_was_read_can_be_written_and_read_again():
    experiment = parse(
        model={"kind": "maf", "hidden": [3, 4]},
        train={"epochs": 3, "patience": None},
        split={"test_fraction": 0.3},
        detection={"threshold": {"kind": "best_f1"}, "labelled_fraction": 0.3, "validation_fraction": 0.2},
        preprocessing=[{"kind": "drop_constant"}, {"kind": "min_max"}],
        variants={"a": {"seed": 5}},
    )
    assert parse_spec(Experiment, experiment.model_dump(mode="json"), "b.yaml") == experiment


def test_defaults():
    experiment = parse()
    assert experiment.seed == 0
    assert experiment.split.protocol == "normal_only"
    assert experiment.preprocessing == DEFAULT_STEPS
    assert experiment.train is None
    assert experiment.detection == DetectionSpec(threshold=TargetFalsePositiveRate(rate=0.05), calibration_fraction=0.2)
    assert experiment.variants == {}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("maf", FlowDetector),
        ("realnvp", FlowDetector),
        ("iaf", FlowDetector),
        ("autoencoder", AutoencoderDetector),
        ("vae", AutoencoderDetector),
    ],
)
def test_detector_of_a_model_fitted_by_steps(kind, expected):
    experiment = parse(
        model={"kind": kind, "hidden": [7]},
        train={"epochs": 3},
        preprocessing=[{"kind": "min_max"}],
        detection={
            "threshold": {"kind": "percentile", "percentile": 90},
            "calibration_fraction": 0.3,
            "calibration_folds": 4,
            "validation_fraction": 0.4,
        },
        seed=5,
    )
    checkpoints = Checkpoints(directory=Path("kept"))
    detector = experiment.detector(progress=True, devices=2, checkpoints=checkpoints, callbacks=[])
    assert type(detector) is expected
    assert detector.get_params(deep=False) == {
        "model": experiment.model,
        "train": FitSpec(epochs=3),
        "columns": None,
        "preprocessing": (MinMax(),),
        "threshold": Percentile(percentile=90),
        "calibration_fraction": 0.3,
        "calibration_folds": 4,
        "validation_fraction": 0.4,
        "random_state": 5,
        "progress": True,
        "devices": 2,
        "checkpoints": checkpoints,
        "callbacks": [],
    }


@pytest.mark.parametrize(
    "spec",
    [GaussianSpec(covariance="diagonal"), GaussianMixtureSpec(components=3), PrincipalComponentsSpec(components=3)],
)
def test_detector_of_a_model_that_fits_itself(spec):
    detector = parse(model=spec.model_dump(), seed=5).detector(progress=True)
    assert type(detector) is GaussianDetector
    assert detector.get_params(deep=False) == {
        "model": spec,
        "columns": None,
        "preprocessing": DEFAULT_STEPS,
        "threshold": TargetFalsePositiveRate(rate=0.05),
        "calibration_fraction": 0.2,
        "calibration_folds": None,
        "random_state": 5,
    }


def test_a_detector_of_defaults_is_the_detector_by_itself():
    experiment = parse(model={"kind": "autoencoder"})
    detector = experiment.detector()
    # The fields that the experiment leaves open have one default, that of the detector.
    own = AutoencoderDetector(AutoEncoderSpec()).get_params(deep=False)
    own |= {"preprocessing": DEFAULT_STEPS, "threshold": TargetFalsePositiveRate()}
    assert detector.get_params(deep=False) == own


def test_a_variant_differs_in_its_keys_alone():
    experiment = parse(
        model={"kind": "maf", "layers": 3},
        train={"epochs": 7},
        variants={
            "deep-er_2": {"model.layers": 9, "seed": 4},
            "other": {"model.kind": "realnvp"},
            "gaussian": {"model": {"kind": "gaussian"}, "train": None},
        },
    )
    deeper = experiment.variant("deep-er_2", "a.yaml")
    assert deeper == parse(model={"kind": "maf", "layers": 9}, train={"epochs": 7}, seed=4)
    # Another kind starts from its own defaults.
    assert experiment.variant("other", "a.yaml").model == parse(model={"kind": "realnvp"}).model
    assert experiment.variant("gaussian", "a.yaml").model == GaussianSpec()
    assert experiment.model.layers == 3  # type: ignore[union-attr]


def test_a_variant_does_not_take_defaults_for_choices():
    # Nothing is said about labels, so those of the file are in the column that files have them in.
    experiment = parse(variants={"file": {"data.name": None, "data.path": "mine.csv"}})
    assert experiment.variant("file", "a.yaml") == parse(data={"name": None, "path": "mine.csv"})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model.layers": 3}, "a.yaml: variant bad: unknown key model.layers; expected one of kind, "),
        ({"model.covariance": "round"}, "a.yaml: variant bad: model.covariance = 'round': expected "),
        ({"modle.covariance": "full"}, "a.yaml: variant bad: unknown key modle; did you mean model?"),
    ],
)
def test_what_is_wrong_with_a_variant_names_it(changes, sentence):
    with pytest.raises(InputError) as error:
        parse(variants={"bad": changes}).variant("bad", "a.yaml")
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"train": {"epochs": 3}}, "a.yaml: train: expected no section train, as gaussian fits itself"),
        (
            {"model": {"kind": "pca"}, "train": {"epochs": 3}},
            "a.yaml: train: expected no section train, as pca fits itself",
        ),
        (
            {"detection": {"validation_fraction": 0.3}},
            "a.yaml: detection: expected no validation_fraction, as gaussian fits itself",
        ),
        (
            {"detection": {"labelled_fraction": 0.3}},
            "a.yaml: detection.labelled_fraction = 0.3: expected no value, as target_fpr needs no labels",
        ),
        (
            {"split": {"protocol": "unsupervised"}, "detection": {"threshold": {"kind": "best_f1"}}},
            "a.yaml: detection: expected another threshold than best_f1, as protocol unsupervised sees no labels",
        ),
        (
            {"split": {"protocol": "published"}, "detection": {"threshold": {"kind": "best_f1"}}},
            "a.yaml: detection: expected another threshold than best_f1, as protocol published leaves no anomalies to "
            "choose it by",
        ),
        (
            {"variants": {"Model": {}}},
            "a.yaml: variants: the name 'Model' is taken: the results of every run have a folder of that name",
        ),
        (
            {"variants": {"../up": {}}},
            "a.yaml: variants: the name '../up' must consist of letters, digits, - and _: it names a folder",
        ),
        (
            {"variants": {"": {}}},
            "a.yaml: variants: the name '' must consist of letters, digits, - and _: it names a folder",
        ),
        ({"variants": {"a": {"variants": {}}}}, "a.yaml: variants: the variant a cannot have variants of its own"),
        ({"variants": {"a": {"variants.b": {}}}}, "a.yaml: variants: the variant a cannot have variants of its own"),
        ({"variants": {"a": 3}}, "a.yaml: variants.a = 3: expected a mapping of keys to values"),
        ({"seed": -1}, "a.yaml: seed = -1: expected a value greater than or equal to 0"),
        ({"modle": {}}, "a.yaml: unknown key modle; did you mean model?"),
        ({"detection": {"calibration_folds": 1}}, "a.yaml: detection.calibration_folds = 1: expected 0 or at least 2"),
        ({"detection": {"calibration_fraction": 1}}, "a.yaml: detection.calibration_fraction = 1: expected a value "),
        ({"model": {"kind": "magic"}}, "a.yaml: model.kind = 'magic': expected one of maf, "),
        ({"preprocessing": [{"kind": "magic"}]}, "a.yaml: preprocessing[0].kind = 'magic': expected one of "),
    ],
)
def test_what_does_not_fit_together_is_refused(sections, sentence):
    with pytest.raises(InputError) as error:
        parse(**sections)
    assert str(error.value).startswith(sentence)


def test_best_f1_has_its_own_option():
    detection = parse(detection={"threshold": {"kind": "best_f1"}, "labelled_fraction": 0.3}).detection
    assert detection.threshold == BestF1()
    assert detection.labelled_fraction == 0.3


def test_an_option_changes_one_default_of_a_section_that_the_file_leaves_out():
    values = merge(SMALLEST, {"detection.threshold.rate": 0.01}, Experiment)
    experiment = parse_spec(Experiment, values, "a.yaml")
    assert experiment.detection == DetectionSpec(threshold=TargetFalsePositiveRate(rate=0.01))


def test_the_detector_of_an_experiment_can_be_fitted():
    experiment = parse(detection={"threshold": {"kind": "percentile"}})
    x = np.random.default_rng(0).normal(size=(40, 2))
    assert experiment.detector().fit(x).threshold_rule_ == Percentile()
