import numpy as np
import pyarrow as pa
import pytest

from jaxflow.data import ColumnSpec, ColumnsSpec
from jaxflow.detection import GaussianDetector
from jaxflow.detection.explain.normal_range import ALIKE, NormalRange


def test_without_a_context_the_range_is_that_of_all_rows():
    rng = np.random.default_rng(0)
    normal = np.stack([rng.normal(size=1000), np.repeat([0.0, 1.0, 2.0, np.nan], [100, 700, 100, 100])], axis=1)
    normal[:900, 0][::9] = np.nan
    low, high = NormalRange(normal, [False, True], [False, False], None)(3, None)
    known = normal[~np.isnan(normal[:, 0]), 0]
    np.testing.assert_array_equal(low[:, 0], np.quantile(known, 0.01, method="inverted_cdf"))
    np.testing.assert_array_equal(high[:, 0], np.quantile(known, 0.99, method="inverted_cdf"))
    np.testing.assert_array_equal([low[:, 1], high[:, 1]], 1)
    empty = NormalRange(np.full((5, 2), np.nan), [False, True], [False, False], None)(1, None)
    assert np.isnan(empty).all()


@pytest.mark.parametrize("rows_at_once", [2, 1024])
def test_with_a_context_it_is_that_of_the_rows_with_the_nearest(rows_at_once, monkeypatch):
    monkeypatch.setattr("jaxflow.detection.explain.normal_range.ROWS_AT_ONCE", rows_at_once)
    rng = np.random.default_rng(1)
    context = rng.normal(size=(600, 2)) * [1, 1000]
    normal = np.stack([context[:, 0], 10 * context[:, 0] + rng.normal(size=600), context[:, 0] > 0], axis=1)
    normal[rng.random(600) < 0.1, 1] = np.nan
    asked = np.array([[0.0, 0.0], [1.0, 500.0], [-1.5, -900.0], [1e300, 0.0], [-1.0, 0.0]])
    low, high = NormalRange(normal, [False, False, True], [True, False, False], context)(5, asked)
    for row, place in enumerate(asked):
        scaled = np.clip((context - place) / context.std(axis=0), -1e100, 1e100)
        alike = normal[np.argsort(np.linalg.norm(scaled, axis=1), kind="stable")[:ALIKE]]
        known = alike[~np.isnan(alike[:, 1]), 1]
        if row != 3:  # as far away as that, all are equally near
            assert low[row, 1] == np.quantile(known, 0.01, method="inverted_cdf")
            assert high[row, 1] == np.quantile(known, 0.99, method="inverted_cdf")
    # The context itself is compared with all rows.
    np.testing.assert_array_equal(low[:, 0], np.quantile(normal[:, 0], 0.01, method="inverted_cdf"))
    assert low[:, 2].tolist()[1:3] == [1.0, 0.0]


def test_a_reason_says_what_is_normal_in_this_context():
    rng = np.random.default_rng(0)
    hour = rng.uniform(0, 24, 2000)
    level = np.where(hour < 12, "low", "high")
    table = {"hour": hour, "load": 10 * np.sin(2 * np.pi * (hour - 6) / 24) + rng.normal(size=2000), "level": level}
    columns = ColumnsSpec(types={"hour": ColumnSpec(kind="circular", period=24)}, context=("hour",))
    detector = GaussianDetector(columns=columns, random_state=0).fit(pa.table(table))
    asked = {"hour": [12.5, 0.1], "load": [10.0, 10.0], "level": ["high", "low"]}
    noon, midnight = detector.explain(pa.table(asked)).top(3)
    load = midnight[0]
    assert (load.column, load.in_context) == ("load", True)
    low, high = (float(value or 0) for value in (load.normal_low, load.normal_high))
    assert -13 < low < -10
    assert -10 < high < -5
    assert str(load) == f"load = 10 (normal in this context: {low:.4g} to {high:.4g})"
    by_name = {reason.column: reason for reason in noon}
    assert float(by_name["load"].normal_low or 0) < 10 < float(by_name["load"].normal_high or 0)
    assert by_name["level"].usual == "normal in this context: high"
    assert by_name["hour"].usual.startswith("normal: 0.")
