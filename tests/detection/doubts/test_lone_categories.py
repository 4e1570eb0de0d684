"""Columns of texts that say nothing about the next row are named when a detector is fitted."""

import numpy as np
import pytest

from jaxflow.data import ColumnsSpec
from jaxflow.data.tables.frame import as_frame
from jaxflow.detection import DoubtfulFit, GaussianDetector
from jaxflow.models import GaussianSpec

pytestmark = pytest.mark.filterwarnings("ignore:the data to fit does not look clean")


def fitted(texts, **columns):
    rows = np.array([np.random.default_rng(0).normal(size=len(texts)), texts], dtype=object).T
    detector = GaussianDetector(
        GaussianSpec(covariance="diagonal"), columns=ColumnsSpec(**columns), calibration_fraction=0.0
    )
    return detector.fit(as_frame(rows, ("load", "price"))).doubts_


def mixed(form, n, share):
    rng = np.random.default_rng(1)
    return [form.format(rng.uniform(10, 999)) if rng.random() < share else f"kind {rng.integers(3)}" for _ in range(n)]


@pytest.mark.filterwarnings("ignore:the threshold is")
@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (mixed("${:.2f}", 120, 1.0), r"column price has 120 texts that look like numbers, such as '\$"),
        (mixed("${:.2f}", 120, 0.4), r"column price has \d\d texts that look like numbers, such as '\$"),
        (mixed("{:.1f} furlongs each", 120, 0.4), r"look like numbers"),
        (mixed("\u2212{:.0f}", 200, 0.9), "look like numbers, such as '\u2212"),
        ([f"{row % 60}K" for row in range(400)], "price has 60 texts that look like numbers"),
        ([f"host-{row}" for row in range(100)], "price has 100 texts that are in one row each, such as 'host-0'"),
        (mixed("user {:.6f}", 150, 0.2), r"price has \d\d texts that are in one row each"),
    ],
)
def test_a_column_of_lone_texts_is_named_with_one_of_them(texts, said):
    with pytest.warns(DoubtfulFit, match=f"a text that no training row has is an anomaly by itself, .*{said}"):
        fitted(texts)


@pytest.mark.parametrize(
    "texts",
    [
        ["10-20", "20-30", "30+", "<10"] * 20,
        [f"A{row % 5}" for row in range(60)],
        [f"{row % 8} rooms" for row in range(60)],
        [f"{row % 10:05d}" for row in range(60)],  # codes
        [f"kind {row % 40}" for row in range(80)],
        ["usual"] * 91 + [f"rare {row}" for row in range(9)],
        ["5 mm", "10 mm", "12 mm"] * 20,
    ],
)
def test_plain_categories_pass_without_a_word(texts):
    assert fitted(texts) == ()


def test_nothing_is_said_of_what_is_said_to_be_categorical():
    said = fitted(mixed("${:.2f}", 120, 0.4), types={"price": "categorical"})
    assert not any("anomaly by itself" in sentence for sentence in said)
