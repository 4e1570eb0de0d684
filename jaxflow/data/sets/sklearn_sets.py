"""Real data that comes with scikit-learn, so that it is there offline."""

import re
from collections.abc import Iterable

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from jaxflow.data.dataset import Dataset


def breast_cancer() -> Dataset:
    """569 tumours, 30 features of the cell nuclei; the 212 malignant ones are the anomalies (Street et al. 1993)."""
    x, target, names = _loaded(load_breast_cancer())
    return _dataset("breast_cancer", x, target == 0, names)


def wine() -> Dataset:
    """178 wines of three cultivars, 13 chemical features; the 48 of class 2, the smallest, are the anomalies."""
    x, target, names = _loaded(load_wine())
    return _dataset("wine", x, target == 2, names)


def digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels with grey values 0 to 16; the 174 eights are the anomalies.

    An eight is made of strokes that other digits have too (3, 9, 0), so it is among the harder digits to tell. The
    values are whole numbers and some pixels never change: a density needs noise and `drop_constant` first.
    """
    x, target, names = _loaded(load_digits())
    return _dataset("digits", x, target == 8, names)


def _loaded(bunch) -> tuple[np.ndarray, np.ndarray, Iterable[str]]:
    return bunch.data, bunch.target, bunch.feature_names


def _dataset(name: str, x: np.ndarray, anomaly: np.ndarray, names: Iterable[str]) -> Dataset:
    # A header without spaces and slashes needs no quoting anywhere.
    safe = tuple(re.sub(r"[^0-9A-Za-z]+", "_", str(feature)) for feature in names)
    return Dataset(name, np.asarray(x, dtype=np.float64), anomaly.astype(np.int64), safe)
