"""Detectors give frames of pandas and polars the scores of the same cells in arrays."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jaxflow.data import ColumnsSpec
from jaxflow.detection import GaussianDetector, Percentile
from jaxflow.errors import InputError

ROWS = 120
MIXED = [1, 2.5, "x", "1", None]


def cells() -> dict[str, list[Any]]:
    """Columns of every kind as lists, None where a cell is missing."""
    rng = np.random.default_rng(0)

    def lacking(values):
        return [None if lost else value for value, lost in zip(values, rng.random(ROWS) < 0.2, strict=True)]

    return {
        "speed": rng.normal(size=ROWS).tolist(),
        "heat": lacking(rng.normal(size=ROWS).tolist()),
        "count": lacking(rng.poisson(3, ROWS).tolist()),
        "alarm": (rng.random(ROWS) < 0.4).tolist(),
        "place": lacking(rng.choice(["north", "south", "east"], ROWS).tolist()),
        "shift": rng.choice(["day", "night"], ROWS).tolist(),
    }


def objects(columns) -> np.ndarray:
    """The same cells as an array of objects."""
    return np.array(list(columns.values()), dtype=object).T


def fitted(X) -> GaussianDetector:
    detector = GaussianDetector(columns=ColumnsSpec(missing="median"), threshold=Percentile())
    detector.fit(X)
    return detector


@pytest.fixture(scope="module")
def scores():
    return fitted(objects(cells())).anomaly_score(objects(cells()))


def pandas_frame(pandas):
    columns = cells()
    series = {name: pandas.Series(values) for name, values in columns.items()}
    series["count"] = pandas.Series(columns["count"], dtype="Int64")
    series["shift"] = series["shift"].astype("category")
    series["place"] = pandas.Series(columns["place"], dtype=object)
    return pandas.DataFrame(series)


def polars_frame(polars):
    frame = polars.DataFrame(cells())
    return frame.with_columns(polars.col("shift").cast(polars.Categorical))


@pytest.fixture(params=["pandas", "polars"])
def frame(request):
    library = pytest.importorskip(request.param)
    return {"pandas": pandas_frame, "polars": polars_frame}[request.param](library)


def test_a_frame_has_the_scores_of_its_cells(frame, scores):
    detector = fitted(frame)
    assert detector.columns_ == tuple(cells())
    np.testing.assert_array_equal(detector.anomaly_score(frame), scores)
    np.testing.assert_array_equal(detector.anomaly_score(pa.table(cells())), scores)
    np.testing.assert_array_equal(detector.predict(frame), fitted(objects(cells())).predict(objects(cells())))
    reasons = detector.explain(frame[:2]).top(6)
    assert {reason.column for reason in reasons[0]} == set(cells())
    assert all(reason.value in (None, "north", "south", "east") for reason in reasons[1] if reason.column == "place")


def test_columns_in_another_order_are_refused_by_name(frame):
    with pytest.raises(ValueError, match="feature names should match"):
        fitted(frame).predict(frame[list(cells())[::-1]])


@pytest.mark.parametrize("index", ["numbers", "times", "unnamed", "two"])
def test_the_index_of_pandas_is_no_column(index, scores):
    pandas = pytest.importorskip("pandas")
    frame, number = pandas_frame(pandas), np.arange(ROWS)[::-1] * 3
    frame.index = {
        "numbers": pandas.Index(number, name="id"),
        "times": pandas.date_range("2020", periods=ROWS, freq="h", name="time"),
        "unnamed": pandas.Index([f"row {row}" for row in number]),
        "two": pandas.MultiIndex.from_arrays([number, number], names=["id", "speed"]),
    }[index]
    detector = fitted(frame)
    assert detector.columns_ == tuple(cells())
    np.testing.assert_array_equal(detector.anomaly_score(frame), scores)
    np.testing.assert_array_equal(detector.anomaly_score(pandas_frame(pandas)[:5]), scores[:5])
    # The same frame on its way through Arrow, as it comes from a Parquet file.
    np.testing.assert_array_equal(fitted(pa.Table.from_pandas(frame)).anomaly_score(frame), scores)


def test_numbers_and_texts_in_one_column_of_pandas_are_read_as_in_an_array():
    pandas = pytest.importorskip("pandas")
    columns = {"speed": cells()["speed"], "code": (MIXED * ROWS)[:ROWS]}
    frame = pandas.DataFrame(columns)
    assert frame["code"].dtype == object
    expected = fitted(objects(columns)).anomaly_score(objects(columns))
    np.testing.assert_array_equal(fitted(frame).anomaly_score(frame), expected)


def test_names_that_are_numbers_are_names():
    pandas = pytest.importorskip("pandas")
    x = np.random.default_rng(0).normal(size=(50, 2))
    detector = fitted(pandas.DataFrame(x))
    assert detector.columns_ == ("0", "1")
    np.testing.assert_array_equal(detector.anomaly_score(pandas.DataFrame(x)), fitted(x).anomaly_score(x))


def test_times_are_refused_with_what_to_do(frame):
    times = np.datetime64("2020-01-01", "us") + np.arange(len(frame))
    timed = frame.assign(t=times) if hasattr(frame, "assign") else frame.hstack([type(frame)({"t": times})["t"]])
    sentence = "X: column t holds timestamp.*: make numbers of it, such as columns of the hour and the weekday"
    with pytest.raises(InputError, match=sentence):
        fitted(timed)


def test_a_query_of_polars_is_not_carried_out_behind_its_back():
    polars = pytest.importorskip("polars")
    with pytest.raises(InputError, match="X is a LazyFrame, whose rows are yet to be computed"):
        fitted(polars_frame(polars).lazy())
