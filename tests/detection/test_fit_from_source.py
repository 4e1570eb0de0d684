"""Detectors fitted to rows from files."""

import jax
import numpy as np
import pytest

from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.detection import BestF1, FlowDetector, GaussianDetector, Percentile, TargetFalsePositiveRate, load
from jaxflow.detection import fit_from_source as from_source
from jaxflow.detection.fit_from_source import Remaining, divide, take_rows
from jaxflow.errors import InputError, NonFiniteLoss
from jaxflow.models import MAF
from jaxflow.training import FitSpec, NpyFile

TRAIN = FitSpec(epochs=5, batch_size=64, learning_rate=1e-2)
FLOW = MAF(layers=2, hidden=(16,))


def rows(n: int = 3000, seed: int = 0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(n, 3))
    return np.stack([10 + 2 * z[:, 0], z[:, 0] ** 2 + 0.1 * z[:, 1], np.exp(z[:, 2])], axis=1)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxflow.training.feeding.sources.MAPPED_ROWS", 256)
    np.save(tmp_path / "rows.npy", rows())
    return NpyFile(tmp_path / "rows.npy", buffer_rows=512)


def test_a_detector_of_a_file_is_about_as_good_as_one_of_the_rows(source, tmp_path):
    streamed = FlowDetector(FLOW, train=TRAIN, random_state=2).fit(source)
    resident = FlowDetector(FLOW, train=TRAIN, random_state=2).fit(rows())
    fresh = rows(seed=1)
    means = [detector.score_samples(fresh).mean() for detector in (streamed, resident)]
    assert means[0] == pytest.approx(means[1], abs=0.3)
    assert (streamed.n_train_, streamed.n_features_in_, streamed.columns_) == (3000, 3, ("x0", "x1", "x2"))
    assert len(streamed.calibration_scores_) == 600
    assert np.mean(streamed.predict(fresh) == -1) == pytest.approx(0.05, abs=0.03)
    streamed.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").anomaly_score(fresh), streamed.anomaly_score(fresh))


def test_the_same_seed_gives_the_same_detector(source):
    scores = [
        FlowDetector(FLOW, train=TRAIN, random_state=seed).fit(source).anomaly_score(rows(10)) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert np.all(scores[0] != scores[2])


def test_held_out_rows_are_never_learned_from(source, monkeypatch):
    parts = []

    def remembered(*args):
        parts.append(divide(*args))
        return parts[-1]

    seen = []
    original = Remaining._read
    monkeypatch.setattr("jaxflow.detection.fit_from_source.divide", remembered)
    monkeypatch.setattr(Remaining, "_read", lambda self, chunk: (seen.append(original(self, chunk)), seen[-1])[1])
    detector = FlowDetector(FLOW, train=TRAIN.model_copy(update={"epochs": 1}), preprocessing=()).fit(source)
    held = rows()[parts[0].held]
    learnt = {tuple(row) for row in np.concatenate(seen).tolist()}
    assert len(learnt) == 3000 - len(held)
    assert not learnt & {tuple(row) for row in held.tolist()}
    expected = detector.scores_of_rows(rows()[parts[0].calibrate])
    np.testing.assert_allclose(detector.calibration_scores_, expected, rtol=1e-5)


@pytest.mark.parametrize(("calibration", "validation"), [(0.2, 0.1), (0.0, 0.1), (0.3, 0.0), (0.0, 0.0)])
def test_rows_are_divided_without_overlap(calibration, validation, monkeypatch):
    monkeypatch.setattr(from_source, "HELD_OUT_ROWS", 150)
    monkeypatch.setattr(from_source, "PREPROCESSING_ROWS", 300)
    parts = divide(1000, calibration, validation, np.random.default_rng(0))
    assert len(parts.calibrate) == 150  # without rows of their own those of preprocessing
    assert len(parts.validate) == (round((1 - calibration) * 1000 * validation) if validation else 0)
    assert len(parts.held) == len(parts.validate) + (150 if calibration else 0)
    assert not np.intersect1d(parts.held, parts.prepare).size
    assert len(parts.prepare) >= 300
    assert np.intersect1d(parts.calibrate, parts.held).size == (150 if calibration else 0)
    for numbers in parts:
        np.testing.assert_array_equal(numbers, np.unique(numbers))


def test_rows_are_taken_by_number(source):
    numbers = np.array([0, 255, 256, 700, 2999])
    np.testing.assert_array_equal(take_rows(source, numbers), rows()[numbers])


def test_what_remains_knows_its_numbers_in_the_first_source(source):
    left_out, more = np.array([0, 1, 255, 256, 700]), np.array([0, 3, 2000, 2994])
    remaining = Remaining(source, left_out, lambda values: values, source.columns)
    expected = np.delete(np.arange(3000), left_out)
    np.testing.assert_array_equal(remaining.originals(np.arange(2995)), expected)
    again = Remaining(remaining, more, lambda values: values, source.columns)
    expected = np.delete(expected, more)
    np.testing.assert_array_equal(again.originals(np.arange(2991)), expected)
    numbers = np.array([0, 100, 1997, 2990])
    np.testing.assert_array_equal(take_rows(again, numbers), rows()[expected[numbers]])
    assert again.where(100) == source.where(int(expected[100]))


def test_numbers_of_a_file_may_be_said_to_be_categories(tmp_path):
    x = rows(600)
    x[:, 2] = np.array([10.0, 20.0, 35.0])[np.arange(600) % 3]
    np.save(tmp_path / "rows.npy", x)
    columns = ColumnsSpec.model_validate({"types": {"x2": {"kind": "categorical"}}})
    detector = FlowDetector(FLOW, train=TRAIN, columns=columns, threshold=Percentile())
    detector.fit(NpyFile(tmp_path / "rows.npy"))
    assert set(detector.normal_rows_[:, 2]) == {0, 1, 2}  # as `codes` gives them
    resident = FlowDetector(FLOW, train=TRAIN, columns=columns, threshold=Percentile()).fit(x)
    medians = [np.median(fitted.anomaly_score(x)) for fitted in (detector, resident)]
    assert medians[0] == pytest.approx(medians[1], abs=0.5)
    x[:, 2] = 50.0
    assert (detector.predict(x) == -1).all()


def test_large_offsets_keep_their_digits(tmp_path):
    """Seconds since 1970 need more digits than float32 has; preprocessing takes the offset off first."""
    offset = np.array([1.7e9, 0.0, 0.0])
    np.save(tmp_path / "rows.npy", rows() + offset)
    detector = FlowDetector(FLOW, train=TRAIN).fit(NpyFile(tmp_path / "rows.npy"))
    fresh = rows(seed=1)
    plain = FlowDetector(FLOW, train=TRAIN)
    np.save(tmp_path / "plain.npy", rows())
    scores = plain.fit(NpyFile(tmp_path / "plain.npy")).score_samples(fresh)
    np.testing.assert_allclose(detector.score_samples(fresh + offset), scores, atol=1e-2)


@pytest.mark.parametrize(
    ("n", "calibration", "validation"), [(3, 0.9, 0.9), (10, 0.9, 0.9), (2, 0.9, 0.0), (2, 0.0, 0.9)]
)
def test_a_row_is_left_to_learn_from(n, calibration, validation):
    parts = divide(n, calibration, validation, np.random.default_rng(0))
    assert len(parts.prepare) >= 1
    assert not calibration or len(parts.calibrate)
    assert not validation or len(parts.validate)


def test_a_row_is_named_by_its_place_in_the_file(tmp_path):
    x = rows(400)
    x[124] = 1e30
    np.save(tmp_path / "rows.npy", x)
    detector = FlowDetector(FLOW, train=TRAIN, preprocessing=(), validation_fraction=0.0)
    with pytest.raises(NonFiniteLoss, match=r"row 124 of the source, counted from 0 \(the first is .*npy: index 124\)"):
        detector.fit(NpyFile(tmp_path / "rows.npy"))


def test_float64_reaches_the_thread_that_reads(source):
    train = FitSpec(epochs=1, precision="float64")
    detector = FlowDetector(FLOW, train=train).fit(source)
    assert detector.float_type_ == "float64"
    assert np.all(np.isfinite(detector.anomaly_score(rows(5))))
    assert not jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]


def test_what_needs_the_rows_in_memory_is_refused(source):
    with pytest.raises(InputError, match="gaussian fits itself, to rows in memory, not to a source"):
        GaussianDetector().fit(source)
    with pytest.raises(InputError, match="best_f1 needs labels, and a source has none: calibrate afterwards"):
        FlowDetector(FLOW, train=TRAIN, threshold=BestF1()).fit(source)


def test_calibration_by_training_rows_is_possible(source):
    detector = FlowDetector(FLOW, train=TRAIN, calibration_fraction=0.0, threshold=Percentile()).fit(source)
    assert len(detector.calibration_scores_) > 2000
    assert detector.set_threshold(TargetFalsePositiveRate(rate=0.1)).threshold_ < np.inf
