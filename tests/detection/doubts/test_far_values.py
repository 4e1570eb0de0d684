"""Values far out that make all others of their column look alike."""

import numpy as np
import pytest

from jaxflow.data import ColumnsSpec
from jaxflow.data.tables.frame import as_frame
from jaxflow.detection import DoubtfulFit, FlowDetector, GaussianDetector
from jaxflow.models import MAF
from jaxflow.training import FitSpec, NpyFile

pytestmark = pytest.mark.filterwarnings("ignore:the data to fit does not look clean")


def rows(n=1000, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3))


def with_values(count, value, n=1000):
    x = rows(n)
    x[:count, 1] = value
    return as_frame(x, ("a", "amount", "b"))


@pytest.mark.parametrize(
    ("count", "value", "n", "said"),
    [
        (8, -9999.0, 1000, r"amount reaches \d\d?,\d{3} of them \(8 of 1,000 values are exactly -9999\)"),
        (2, 9999.0, 1000, r"amount reaches \d\d?,\d{3} of them \(2 of 1,000 values are exactly 9999\)"),
        (1, 1e12, 1000, r"amount reaches 1e\+12 of them; try"),
        (8, -9999.0 + np.arange(8) / 7, 1000, r"amount reaches \d\d?,\d{3} of them; try"),
        (60, 99.0, 1000, r"amount reaches \d\d\d? of them \(60 of 1,000 values are exactly 99\)"),
        (1, 300.0, 100, r"amount reaches [23]\d\d of them; try"),
        (400, -9999.0, 1000, r"amount reaches \d\d?,\d{3} of them \(400 of 1,000 values are exactly -9999\)"),
    ],
)
def test_a_column_with_values_far_out_is_named(count, value, n, said):
    with pytest.warns(DoubtfulFit, match=f"set the scale of 1 column, .* {said}") as caught:
        detector = GaussianDetector(calibration_fraction=0.0).fit(with_values(count, value, n))
    assert [str(one.message) for one in caught if isinstance(one.message, DoubtfulFit)] == list(detector.doubts_)
    assert "columns.tails = auto" in detector.doubts_[0]


def test_one_sentence_names_all_such_columns_the_worst_first():
    x = rows()
    x[0, 0], x[0, 1] = 1e6, 1e9
    with pytest.warns(DoubtfulFit, match=r"scale of 2 columns.* amount reaches .* a reaches") as caught:
        GaussianDetector(calibration_fraction=0.0).fit(as_frame(x, ("a", "amount", "b")))
    assert sum(isinstance(one.message, DoubtfulFit) for one in caught) == 1


def test_the_rows_that_calibrate_are_counted_too():
    with pytest.warns(DoubtfulFit, match="8 of 1,000 values are exactly -9999"):
        GaussianDetector().fit(with_values(8, -9999.0))


@pytest.mark.parametrize(
    "column",
    [
        np.random.default_rng(0).normal(size=1000),
        np.random.default_rng(0).standard_t(3, 1000),
        np.exp(np.random.default_rng(0).normal(size=1000)),
        np.where(np.random.default_rng(0).random(1000) < 0.9, 0.0, np.random.default_rng(1).exponential(size=1000)),
        np.random.default_rng(0).uniform(size=1000),
    ],
    ids=["normal", "Student's t", "lognormal", "mostly zero", "uniform"],
)
def test_usual_columns_are_not_named(column):
    x = rows()
    x[:, 1] = column
    assert GaussianDetector().fit(x).doubts_ == ()


@pytest.mark.parametrize("gaps", [1, 10, 199])
@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_column_of_one_value_with_gaps_is_not_named(gaps, value):
    x = rows(200)
    x[:, 1] = value
    x[:gaps, 1] = np.nan
    detector = GaussianDetector(columns=ColumnsSpec(missing="median"), random_state=0).fit(x)
    assert np.isfinite(detector.threshold_)
    assert not any("set the scale" in doubt for doubt in detector.doubts_)


@pytest.mark.parametrize("columns", [{"tails": "auto"}, {"types": {"amount": {"tails": "auto"}}}])
def test_with_tails_chosen_nothing_is_said_and_values_off_most_are_flagged(columns):
    detector = GaussianDetector(columns=ColumnsSpec.model_validate(columns)).fit(with_values(8, -9999.0))
    assert detector.doubts_ == ()
    asked = np.zeros((2, 3))
    asked[1, 1] = 300.0
    np.testing.assert_array_equal(detector.predict(as_frame(asked, ("a", "amount", "b"))), [1, -1])


def test_amounts_with_heavy_tails_are_judged_from_the_first_fit_on():
    x = rows(600)
    x[:, 1] = np.exp(2.5 * x[:, 1] + 3.0)
    detector = GaussianDetector(columns=ColumnsSpec(tails="auto")).fit(x)
    asked = np.tile([0.0, np.exp(3.0), 0.0], (2, 1))
    asked[1, 1] = np.exp(3.0 + 2.5 * 4.5)
    np.testing.assert_array_equal(detector.predict(asked), [1, -1])


def test_a_source_is_looked_at_too(tmp_path):
    np.save(tmp_path / "rows.npy", with_values(8, -9999.0).x)
    detector = FlowDetector(MAF(layers=1, hidden=(8,)), train=FitSpec(epochs=1))
    with pytest.warns(DoubtfulFit, match="set the scale of 1 column"):
        detector.fit(NpyFile(tmp_path / "rows.npy"))
    auto = detector.set_params(columns=ColumnsSpec(tails="auto")).fit(NpyFile(tmp_path / "rows.npy"))
    assert [column.kind for column in auto.inputs_.encoding.maps][::2] == ["continuous"] * 2
    assert auto.inputs_.encoding.maps[1].kind in ("arcsinh", "rank_gaussian")


@pytest.mark.parametrize("tails", ["auto", "arcsinh"])
def test_numbers_too_far_out_for_arcsinh_are_named(tails):
    said = r"amount reaches \d\d\d of them by arcsinh \(8 of 1,000 values are exactly -1e\+300\); make missing"
    detector = GaussianDetector(calibration_fraction=0.0, columns=ColumnsSpec(tails=tails))
    with pytest.warns(DoubtfulFit, match=said):
        detector.fit(with_values(8, -1e300))
    assert "try columns.tails" not in detector.doubts_[0]
