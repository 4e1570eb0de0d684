import re

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from jaxflow.data.sets.sklearn_sets import breast_cancer, digits, wine


@pytest.mark.parametrize(
    ("load", "source", "anomalous", "shape", "anomalies"),
    [
        (breast_cancer, load_breast_cancer, "malignant", (569, 30), 212),
        (wine, load_wine, "class_2", (178, 13), 48),
        (digits, load_digits, 8, (1797, 64), 174),
    ],
)
def test_one_class_is_the_anomaly(load, source, anomalous, shape, anomalies):
    dataset, bunch = load(), source()
    assert dataset.name == load.__name__
    assert dataset.x.shape == shape
    np.testing.assert_array_equal(dataset.x, bunch.data)
    np.testing.assert_array_equal(dataset.y, bunch.target_names[bunch.target] == anomalous)
    assert dataset.y is not None
    assert dataset.y.sum() == anomalies
    assert all(re.fullmatch(r"[0-9A-Za-z_]+", name) for name in dataset.feature_names)


def test_feature_names_are_those_of_scikit_learn():
    assert breast_cancer().feature_names[:2] == ("mean_radius", "mean_texture")
    assert "od280_od315_of_diluted_wines" in wine().feature_names
    assert digits().feature_names[-1] == "pixel_7_7"
