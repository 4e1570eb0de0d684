"""A row is one row, whichever way it comes: as a frame, an array, a file or a record."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from jaxflow.data import ColumnsSpec
from jaxflow.data.tables.frame import Frame, as_frame, places_by_text
from jaxflow.data.tables.read_table import read_table
from jaxflow.detection import GaussianDetector
from jaxflow.detection.serving.score_files import answer_chunks, detector_chunks
from jaxflow.detection.serving.score_records import RecordAnswers
from jaxflow.errors import InputError


def machines(n=600, seed=0):
    rng = np.random.default_rng(seed)
    load = rng.normal(size=n)
    return pd.DataFrame({"load": load, "heat": load + 0.1 * rng.normal(size=n), "open": rng.random(n) < 0.4})


@pytest.fixture(scope="module")
def by_script():
    """Fitted as scripts fit: with the names of the columns, which scikit-learn has not seen."""
    detector = GaussianDetector().fit(as_frame(machines()))
    assert not hasattr(detector, "feature_names_in_")
    return detector


def test_a_table_is_matched_by_the_names_that_a_script_has_read(by_script):
    asked = machines(20, 1)
    expected = by_script.anomaly_score(asked.to_numpy(dtype=float))
    for table in (asked, pa.table(asked.to_dict("list")), asked[["open", "load", "heat"]], asked.assign(other=1.0)):
        np.testing.assert_array_equal(by_script.anomaly_score(table), expected)
    with pytest.raises(InputError, match="X: column heat is missing; the columns are load, open"):
        by_script.predict(asked[["load", "open"]])
    with pytest.raises(InputError, match="column heat is missing"):
        by_script.predict(asked.rename(columns={"heat": "temperature"}))


def test_names_that_arrays_are_given_are_looked_for_too():
    named = GaussianDetector().fit(machines()[["load", "heat"]].to_numpy())
    asked = machines(5, 1)[["load", "heat"]].set_axis(["x0", "x1"], axis=1)
    np.testing.assert_array_equal(named.anomaly_score(asked[["x1", "x0"]]), named.anomaly_score(asked.to_numpy()))
    with pytest.warns(UserWarning, match="was fitted without feature names"):
        named.anomaly_score(asked.set_axis(["a", "b"], axis=1))


def test_two_columns_of_one_name_are_refused():
    twice = pd.concat([machines()[["load"]], machines()[["load"]]], axis=1)
    with pytest.raises(InputError, match="X: column load"):
        GaussianDetector().fit(twice)


def test_a_record_may_say_true_and_false(by_script):
    answer = RecordAnswers(by_script)
    for row in machines(10, 1).to_dict("records"):
        record = json.loads(json.dumps(row))
        assert type(record["open"]) is bool
        plain = row | {"open": float(row["open"])}
        assert answer(record, "line 1") == answer(plain, "line 1")


@pytest.mark.parametrize("texts", [("True", "False"), ("true", "false"), ("1", "0")])
def test_true_is_the_category_that_is_written_like_it(texts):
    cells = machines()
    cells["open"] = np.where(cells["open"], *texts)
    columns = ColumnsSpec.model_validate({"types": {"open": "categorical"}})
    answer = RecordAnswers(GaussianDetector(columns=columns).fit(cells))
    for truth, text in zip((True, False), texts, strict=True):
        record = {"load": 0.3, "heat": 0.3}
        assert answer(record | {"open": truth}, "line 1") == answer(record | {"open": text}, "line 1")
        assert answer(record | {"open": truth}, "line 1")["anomaly"] == 0


def test_a_flag_declared_categorical_is_one_whoever_reads_it(tmp_path):
    cells = machines()
    cells.to_csv(tmp_path / "rows.csv", index=False)
    parquet.write_table(pa.table(cells.to_dict("list")), tmp_path / "rows.parquet")
    columns = ColumnsSpec.model_validate({"types": {"open": "categorical"}})
    fitted = [GaussianDetector(columns=columns).fit(cells)]
    for name in ("rows.csv", "rows.parquet"):
        read = read_table(tmp_path / name, label=None, categorical=["open"])
        fitted.append(GaussianDetector(columns=columns).fit(Frame(read.x, read.feature_names, read.categories)))
    assert {detector.inputs_.encoding.categories["open"] for detector in fitted} == {("0", "1"), ("False", "True")}
    expected = fitted[0].anomaly_score(cells)
    assert expected.max() < 100
    for detector in fitted:
        np.testing.assert_allclose(detector.anomaly_score(cells), expected, rtol=1e-5)
        for name in ("rows.csv", "rows.parquet"):
            chunks = detector_chunks(detector, tmp_path / name, 100)
            answered = pa.Table.from_batches(list(answer_chunks(detector, chunks)))
            np.testing.assert_allclose(answered["score"].to_numpy(), expected, rtol=1e-5)


def test_other_categories_are_not_taken_for_true_and_false():
    assert places_by_text(("1", "2", "3")) == {"1": 0, "2": 1, "3": 2}
    assert places_by_text(("True", "true")) == {"True": 0, "true": 1}
    assert places_by_text(("maybe", "True"))["1"] == 1
    assert "0" not in places_by_text(("maybe", "True"))


def test_a_blank_text_is_missing_everywhere(tmp_path):
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({"load": rng.normal(size=500), "kind": rng.choice(["x", "y", "", " "], 500)})
    detector = GaussianDetector(columns=ColumnsSpec(missing="median")).fit(cells)
    assert detector.inputs_.encoding.categories == {"kind": ("x", "y")}
    scores = detector.anomaly_score(cells)
    marked = cells.assign(kind=cells["kind"].where(cells["kind"].str.strip() != "", None))
    np.testing.assert_array_equal(detector.anomaly_score(marked), scores)
    np.testing.assert_array_equal(detector.anomaly_score(cells.to_numpy(dtype=object)), scores)
    parquet.write_table(pa.table(cells.to_dict("list")), tmp_path / "rows.parquet")
    cells.to_csv(tmp_path / "rows.csv", index=False)
    for name in ("rows.parquet", "rows.csv"):
        chunks = detector_chunks(detector, tmp_path / name, 100)
        answered = pa.Table.from_batches(list(answer_chunks(detector, chunks)))
        np.testing.assert_allclose(answered["score"].to_numpy(), scores, rtol=1e-6)
    answer = RecordAnswers(detector)
    for row in range(8):
        assert answer(cells.iloc[row].to_dict(), "line 1")["score"] == pytest.approx(scores[row], rel=1e-6)
    with pytest.raises(ValueError, match="column kind"):
        GaussianDetector().fit(cells)
    refusing = RecordAnswers(GaussianDetector().fit(cells[cells["kind"].str.strip() != ""]))
    with pytest.raises(InputError, match="line 1: column kind is '', expected a text"):
        refusing({"load": 0.0, "kind": ""}, "line 1")


def test_what_pandas_has_for_nothing_is_missing_in_arrays_too():
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({"load": pd.array(rng.normal(size=300)), "kind": rng.choice(["x", "y"], 300)})
    cells.loc[::7, "load"] = pd.NA
    detector = GaussianDetector(columns=ColumnsSpec(missing="median")).fit(cells)
    np.testing.assert_array_equal(detector.predict(cells.to_numpy()), detector.predict(cells))


@pytest.mark.parametrize("as_given", [np.asarray, np.ndarray.tolist, pd.DataFrame, lambda x: x.astype(object)])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_is_named_by_row_and_column(as_given, value):
    x = np.random.default_rng(0).normal(size=(30, 2))
    detector = GaussianDetector(calibration_fraction=0.0).fit(as_given(x))
    x[6, 1] = value
    sentence = "is missing, expected a value" if np.isnan(value) else f"is {value}, expected a finite number"
    for call in (detector.predict, detector.fit):
        with pytest.raises(InputError, match=f"^row 7, column x?1 {sentence}"):
            call(as_given(x))


def test_what_a_mask_hides_is_named_by_row_and_column():
    x = np.ma.masked_array(np.random.default_rng(0).normal(size=(30, 2)), mask=False)
    x[6, 1] = np.ma.masked
    with pytest.raises(InputError, match=r"^row 7, column x1 is missing, expected a value other than NaN or null"):
        GaussianDetector().fit(x)
