"""One detector for every kind of model; those of one kind are the same with another default."""

from pathlib import Path

import numpy as np
import pytest

from jaxflow import AnomalyDetector, AutoencoderDetector, FlowDetector, GaussianDetector, load
from jaxflow.errors import InputError
from jaxflow.models import MAF, AutoEncoderSpec, CommitteeSpec, GaussianSpec
from jaxflow.training import Checkpoints, FitSpec, NpyFile

X = np.random.default_rng(0).normal(size=(300, 3))
TRAIN = FitSpec(epochs=2, batch_size=64)


@pytest.mark.parametrize(
    ("kind", "model", "how"),
    [
        (FlowDetector, MAF(layers=1, hidden=(4,)), {"train": TRAIN}),
        (AutoencoderDetector, AutoEncoderSpec(hidden=(4,), latent=1), {"train": TRAIN}),
        (GaussianDetector, GaussianSpec(), {}),
    ],
)
def test_it_is_the_detector_of_its_model(kind, model, how, tmp_path):
    special, general = kind(model, **how).fit(X), AnomalyDetector(model, **how).fit(X)
    np.testing.assert_array_equal(general.score_samples(X), special.score_samples(X))
    assert general.threshold_ == special.threshold_
    general.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert type(loaded) is AnomalyDetector
    assert loaded.get_params(deep=False)["model"] == model
    np.testing.assert_array_equal(loaded.score_samples(X), general.score_samples(X))


def test_its_default_is_the_committee():
    assert AnomalyDetector()._model_spec() == CommitteeSpec()
    assert AnomalyDetector().set_params(model__power=2.0).model == CommitteeSpec(power=2.0)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"train": TRAIN}, "train = .*: gaussian fits itself, at once, expected None"),
        ({"checkpoints": Checkpoints(directory=Path("kept"))}, "checkpoints = .*: gaussian fits itself"),
        ({"devices": 2}, "devices = 2: gaussian fits itself, at once, expected 1"),
        ({"model": "maf"}, "model of AnomalyDetector = 'maf': expected the spec of a model"),
    ],
)
def test_what_means_nothing_to_its_model_is_refused(parameters, sentence):
    with pytest.raises(InputError, match=sentence):
        AnomalyDetector(GaussianSpec()).set_params(**parameters).fit(X)


def test_a_source_suits_no_model_that_fits_itself(tmp_path):
    np.save(tmp_path / "rows.npy", X)
    with pytest.raises(InputError, match="gaussian fits itself, to rows in memory"):
        AnomalyDetector(GaussianSpec()).fit(NpyFile(tmp_path / "rows.npy"))
