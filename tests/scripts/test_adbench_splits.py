"""The divisions of the benchmark: that of published tables to the digit, and the honest ones."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from jaxflow.data import Dataset
from jaxflow.data.sets.adbench import load_adbench
from jaxflow.errors import InputError
from tests.scripts.script_modules import script_module

splits = script_module("adbench.splits")
benchmark_split, copies = splits.benchmark_split, splits.copies

# ROC-AUC in percent as published by Livernoche et al. (2024), for the sets of 1,000 to 50,000 rows that are at hand.
PUBLISHED = Path(__file__).parents[2] / "results/adbench/published.csv"
SETS = (
    "annthyroid", "cardio", "fault", "letter", "mammography", "mnist", "optdigits", "pendigits", "satellite", "shuttle",
    "spambase", "thyroid", "vowels", "wilt",
)  # fmt: skip


def dataset(normal: int = 1500, anomalies: int = 100) -> Dataset:
    """Rows whose first column is their number; the anomalies come first."""
    n = normal + anomalies
    x = np.stack([np.arange(n, dtype=float), np.zeros(n)], axis=1)
    y = (np.arange(n) < anomalies).astype(np.int64)
    return Dataset("made", x, y, ("number", "zero"))


def histogram_scores(train, test, bins=10, regularizer=0.1, tolerance=0.5):
    """HBOS (Goldstein and Dengel 2012) with the settings of PyOD, which the published tables ran."""
    total = np.zeros(len(test))
    for learned, asked in zip(train.T, test.T, strict=True):
        density, edges = np.histogram(learned, bins=bins, density=True)
        surprise = -np.log2(density + regularizer)
        place = np.clip(np.digitize(asked, edges, right=True) - 1, 0, bins - 1)
        margin = tolerance * (edges[1] - edges[0])
        near = (asked >= edges[0] - margin) & (asked <= edges[-1] + margin)
        total += np.where(near, surprise[place], surprise.max())
    return total


@pytest.mark.parametrize("name", SETS)
def test_agrees_with_published_cells(name):
    if not (Path(os.environ.get("JAXFLOW_DATA", "missing")) / "adbench").is_dir():
        pytest.skip("needs $JAXFLOW_DATA/adbench")
    with PUBLISHED.open(newline="", encoding="utf-8") as lines:
        published = {(cell["dataset"], cell["method"]): float(cell["roc_auc"]) for cell in csv.DictReader(lines)}
    split = benchmark_split(load_adbench(name), "dte", 0)
    scaler = StandardScaler().fit(split.x_train)
    train, test = scaler.transform(split.x_train), scaler.transform(split.x_test)
    scores = {
        "kNN": NearestNeighbors(n_neighbors=5).fit(train).kneighbors(test)[0][:, -1],
        "LOF": -LocalOutlierFactor(n_neighbors=20, novelty=True).fit(train).score_samples(test),
        "HBOS": histogram_scores(train, test),
    }
    for method, found in scores.items():
        assert 100 * roc_auc_score(split.y_test, found) == pytest.approx(published[name, method], abs=0.05)


def test_published_tables_learn_from_the_first_half_in_file_order():
    split = benchmark_split(dataset(), "dte", 3)
    np.testing.assert_array_equal(split.x_train[:, 0], np.arange(100, 850))
    assert split.y_test.sum() == 100
    assert not split.copied.any()


def test_published_tables_draw_small_sets_with_replacement_as_their_code_does():
    split = benchmark_split(dataset(300, 50), "dte", 2)
    # The calls of the published code itself.
    np.random.seed(2)  # noqa: NPY002
    drawn = np.random.choice(np.arange(350), 1000, replace=True)  # noqa: NPY002
    normal = drawn[drawn >= 50]
    half = round(0.5 * len(normal))
    np.testing.assert_array_equal(split.x_train[:, 0], normal[:half])
    np.testing.assert_array_equal(split.x_test[:, 0], np.concatenate([normal[half:], drawn[drawn < 50]]))
    assert 0.5 < split.copied[split.y_test == 0].mean() < 1


def test_published_tables_cut_large_sets_as_their_code_does():
    split = benchmark_split(dataset(50_000, 1000), "dte", 4)
    np.random.seed(4)  # noqa: NPY002
    drawn = np.random.choice(51_000, 50_000, replace=False)  # noqa: NPY002
    normal = drawn[drawn >= 1000]
    np.testing.assert_array_equal(split.x_train[:, 0], normal[: round(0.5 * len(normal))])
    np.testing.assert_array_equal(split.x_test[-split.y_test.sum() :, 0], drawn[drawn < 1000])


@pytest.mark.parametrize("protocol", ["dte", "random"])
def test_large_sets_are_cut(protocol):
    split = benchmark_split(dataset(59_000, 1000), protocol, 0)
    assert len(split.x_train) + len(split.x_test) == 50_000
    numbers = np.concatenate([split.x_train, split.x_test])[:, 0]
    assert len(np.unique(numbers)) == 50_000


def test_random_halves_depend_on_the_seed_alone():
    first, again, other = (benchmark_split(dataset(), "random", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.x_train, again.x_train)
    assert not np.array_equal(first.x_train, other.x_train)
    assert len(first.x_train) == 750
    numbers = np.concatenate([first.x_train, first.x_test])[:, 0]
    np.testing.assert_array_equal(np.sort(numbers), np.arange(1600))


def test_contamination_is_as_wanted_and_the_test_rows_stay():
    clean, dirty = (benchmark_split(dataset(), "contaminated", 0, rate) for rate in (0.0, 0.05))
    assert clean.contamination == 0
    assert dirty.contamination == pytest.approx(0.05, abs=0.001)
    np.testing.assert_array_equal(clean.x_test, dirty.x_test)
    assert dirty.y_test.sum() == 50
    assert not set(dirty.x_train[:, 0]) & set(dirty.x_test[:, 0])
    assert len(dirty.x_train) == len(clean.x_train) == 750
    np.testing.assert_array_equal(dirty.x_train[:712], clean.x_train[:712])


def test_copies_are_rows_equal_in_every_column():
    x = np.array([[1.0, 0.0], [1.0, -0.0], [1.0, 2.0]])
    np.testing.assert_array_equal(copies(x, np.array([[1.0, 0.0], [2.0, 2.0]])), [True, True, False])


def test_refusals():
    with pytest.raises(InputError, match=r"75 anomalies among the training rows .* but only 50 of 100"):
        benchmark_split(dataset(), "contaminated", 0, 0.1)
    with pytest.raises(InputError, match=r"contamination = 0.1: expected 0 for protocol random"):
        benchmark_split(dataset(), "random", 0, 0.1)
    with pytest.raises(InputError, match=r"contamination = 0.9: expected a share from 0 to 0.5"):
        benchmark_split(dataset(), "contaminated", 0, 0.9)
    with pytest.raises(InputError, match="made: 1500 normal rows and 0 anomalies"):
        benchmark_split(dataset(anomalies=0), "random", 0)
