from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.base import clone

from jaxflow.data.tables.frame import as_frame
from jaxflow.detection import AutoencoderDetector, Detector, FlowDetector, GaussianDetector, Percentile
from jaxflow.models import MAF, AutoEncoderSpec
from jaxflow.training import FitSpec

# As small as they can be: what is tested here is what happens around the model.
TRAIN = FitSpec(epochs=2, batch_size=64)
HOW: dict[str, Any] = {"threshold": Percentile(percentile=90), "calibration_folds": 0}
DETECTORS = {
    "flow": FlowDetector(MAF(layers=2, hidden=(8,)), train=TRAIN, **HOW),
    "gaussian": GaussianDetector(**HOW),
    "autoencoder": AutoencoderDetector(AutoEncoderSpec(hidden=(8,)), train=TRAIN, **HOW),
}


class Fitted(NamedTuple):
    detector: Detector
    x: np.ndarray
    unseen: np.ndarray


def make_rows(seed: int, n: int) -> np.ndarray:
    """Correlated rows of three features on very different scales, none of them around 0."""
    rng = np.random.default_rng(seed)
    mix = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.7], [0.0, 0.0, 1.0]])
    return rng.normal(size=(n, 3)) @ mix * [1.0, 200.0, 0.01] + [5.0, -1000.0, 0.3]


def _fresh(detector: Any, **parameters: Any) -> Any:
    """An unfitted detector with the same parameters but for these."""
    copy: Any = clone(detector)
    return copy.set_params(**parameters)


@pytest.fixture(scope="session")
def fresh():
    return _fresh


@pytest.fixture(scope="session", params=DETECTORS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def unfitted(kind) -> Detector:
    return DETECTORS[kind]


@pytest.fixture(scope="session")
def _fitted(unfitted) -> Fitted:
    x = make_rows(0, 200)
    return Fitted(_fresh(unfitted).fit(x), x, make_rows(1, 100))


@pytest.fixture
def fitted(_fitted) -> Fitted:
    """A fitted detector, the rows it was fitted on, and others like them; a new one, so that a test may change it."""
    detector = _fresh(_fitted.detector)
    vars(detector).update(vars(_fitted.detector))
    return Fitted(detector, _fitted.x, _fitted.unseen)


@pytest.fixture(scope="module")
def detector() -> Detector:
    """A fitted detector whose two columns have names, as one from files has."""
    x = np.random.default_rng(0).normal(size=(50, 2)) * [1.0, 100.0]
    return GaussianDetector(threshold=Percentile(percentile=80)).fit(as_frame(x, ("speed", "weight")))


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Rows for `detector`, of which it flags some."""
    return np.random.default_rng(1).normal(size=(10, 2)) * [2.0, 200.0]
