import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxflow.detection import AutoencoderDetector, Explanation, FlowDetector, GaussianDetector, Percentile, load
from jaxflow.detection.explain.explanation import NORMAL_ROWS, spread_out
from jaxflow.detection.explain.row_terms import terms_of_rows
from jaxflow.detection.storage.normal_rows_arrays import reasons_arrays, restore_reasons
from jaxflow.errors import InputError
from jaxflow.models import (
    MAF,
    AutoEncoderSpec,
    EnsembleSpec,
    GaussianMixtureSpec,
    PrincipalComponentsSpec,
    RealNVP,
    VariationalAutoEncoderSpec,
)
from jaxflow.training import FitSpec
from tests.models.small_committee import SMALL_COMMITTEE

DIM = 5
TRAIN = FitSpec(epochs=30, batch_size=64)
DETECTORS = {
    "flow": (FlowDetector(MAF(layers=2, hidden=(16,)), train=TRAIN), "replacement"),
    "coupling": (FlowDetector(RealNVP(layers=4, hidden=(16,)), train=TRAIN), "replacement"),
    "single": (FlowDetector(MAF(layers=1, hidden=(16,)), train=TRAIN), "chain_rule"),
    "ensemble": (FlowDetector(EnsembleSpec(member=MAF(layers=1, hidden=(16,)), members=2), train=TRAIN), "chain_rule"),
    "committee": (FlowDetector(SMALL_COMMITTEE, train=TRAIN), "replacement"),
    "gaussian": (GaussianDetector(), "conditional"),
    "mixture": (GaussianDetector(GaussianMixtureSpec(components=2)), "conditional"),
    "autoencoder": (AutoencoderDetector(AutoEncoderSpec(hidden=(16,), latent=2), train=TRAIN), "squared_error"),
    "vae": (AutoencoderDetector(VariationalAutoEncoderSpec(hidden=(16,), latent=2), train=TRAIN), "reconstruction"),
    "pca": (GaussianDetector(PrincipalComponentsSpec(components=2)), "squared_error"),
    "distance": (GaussianDetector(PrincipalComponentsSpec(components=2, score="mahalanobis")), "conditional"),
}


def correlated(seed, n):
    """Columns that all follow two hidden ones, on different scales; the third of six is constant."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 2))
    weights = np.array([[1.0, 0.8, -0.6, 0.9, 0.2], [0.1, -0.5, 0.8, 0.5, 1.0]])
    x = (hidden @ weights + 0.15 * rng.normal(size=(n, DIM))) * [1, 100, 0.01, 3, 7] + [0, -50, 5, 2, 1]
    return np.insert(x, 2, 4.0, axis=1)


def corrupted(seed, n):
    """Rows like those, in each of which one column is moved within its usual range; and which one."""
    rng = np.random.default_rng(seed)
    x, columns = correlated(seed, n), rng.choice([0, 1, 3, 4, 5], n)
    spread = x.std(axis=0)
    x[np.arange(n), columns] += 2.0 * spread[columns] * rng.choice([-1, 1], n)
    return x, columns


@pytest.fixture(scope="module", params=DETECTORS)
def fitted(request):
    detector, method = DETECTORS[request.param]
    return detector.fit(correlated(0, 1500)), method


def test_the_corrupted_column_is_found(fitted):
    detector, method = fitted
    x, columns = corrupted(1, 100)
    explanation = detector.explain(x)
    assert explanation.method == method
    assert explanation.contributions.shape == explanation.calibrated.shape == x.shape
    found = explanation.calibrated.argmax(axis=1)
    # Of a broken relation the chain rule blames the later column, and an autoencoder spreads the error.
    least = {"replacement": 0.55, "conditional": 0.75, "chain_rule": 0.4, "squared_error": 0.5, "reconstruction": 0.5}[
        method
    ]
    assert np.mean(found == columns) >= least
    np.testing.assert_array_equal(explanation.contributions[:, 2], 0)
    np.testing.assert_array_equal(explanation.calibrated[:, 2], 0)
    np.testing.assert_array_equal(explanation.scores, detector.anomaly_score(x))


def test_replacement_explains_every_model(fitted):
    detector, _ = fitted
    x, columns = corrupted(2, 100)
    found = detector.explain(x, "replacement").calibrated.argmax(axis=1)
    assert np.mean(found == columns) >= 0.5


def test_calibrated_terms_of_normal_rows_are_alike_in_every_column(fitted):
    detector, _ = fitted
    calibrated = np.delete(detector.explain(correlated(3, 600)).calibrated, 2, axis=1)
    for share in (0.5, 0.9):
        np.testing.assert_allclose(np.quantile(calibrated, share, axis=0), -np.log(1 - share), rtol=0.4)


def test_a_loaded_detector_explains_bit_for_bit(fitted, tmp_path):
    detector, _ = fitted
    x, _ = corrupted(4, 20)
    before = detector.explain(x)
    detector.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.normal_rows_, detector.normal_rows_)
    after = again.explain(x)
    for name in ("contributions", "calibrated", "scores", "normal_low", "normal_high"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


@pytest.fixture(scope="module")
def gaussian():
    return GaussianDetector().fit(correlated(0, 6000))


def test_normal_rows_are_kept_from_those_that_calibrate(gaussian):
    train = correlated(0, 6000)
    assert len(gaussian.normal_rows_) == NORMAL_ROWS
    assert {tuple(row) for row in gaussian.normal_rows_} <= {tuple(row) for row in train}
    scores = gaussian.anomaly_score(gaussian.normal_rows_)
    assert np.isin(scores, gaussian.calibration_scores_).mean() > 0.99
    explanation = gaussian.explain(train[:3])
    low, high = np.quantile(gaussian.normal_rows_, [0.01, 0.99], axis=0)
    np.testing.assert_allclose(explanation.normal_low, np.tile(low, (3, 1)), rtol=0.1, atol=0.1)
    np.testing.assert_allclose(explanation.normal_high, np.tile(high, (3, 1)), rtol=0.1, atol=0.1)


def test_calibrate_replaces_the_rows_to_compare_with():
    detector = GaussianDetector().fit(correlated(0, 300))
    x, _ = corrupted(1, 5)
    before = detector.explain(x)
    others, labels = correlated(5, 40), np.arange(40) < 10
    others[:, 0] *= 3
    detector.calibrate(others, labels.astype(int))
    np.testing.assert_array_equal(detector.normal_rows_, others[~labels])
    after = detector.explain(x)
    np.testing.assert_array_equal(after.contributions, before.contributions)
    assert np.any(after.calibrated != before.calibrated)


def test_top_and_records():
    explanation = Explanation(
        ("a", "b", "c"), np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([9.0, 8]), "conditional",
        np.array([[1.0, 2, 0], [9, 0, 7]]), np.array([[5.0, 5, 0], [0, 0, np.inf]]), np.zeros((2, 3)),
        np.ones((2, 3)), np.zeros((2, 3), bool), {}, np.array([False, False, True]),
    )  # fmt: skip
    assert [[reason.column for reason in reasons] for reasons in explanation.top(2)] == [["b", "a"], ["c", "a"]]
    assert explanation.top(1)[0][0] == ("b", 2.0, 2.0, 5.0, 0.0, 1.0, False, False, "")
    assert len(explanation.top(9)[0]) == 3
    records = explanation.records()
    assert len(records) == 6
    assert records[5] == {
        "row": 1, "score": 8.0, "column": "c", "value": 6.0, "contribution": 7.0, "calibrated": np.inf,
        "normal_low": 0.0, "normal_high": 1.0, "never_seen": False, "in_context": True, "seen": "",
    }  # fmt: skip
    with pytest.raises(InputError, match="count = 0"):
        explanation.top(0)


def test_rows_in_chunks_are_explained_as_by_themselves(gaussian, monkeypatch):
    rng = np.random.default_rng(6)
    z, candidates = rng.normal(size=(300, DIM)), rng.normal(size=(32, DIM))
    how = {"sources": [0, 1, 1, 2, 0], "candidates": candidates}
    for method in ("conditional", "replacement"):
        whole = terms_of_rows(gaussian.model_, z, None, method=method, **how)
        monkeypatch.setattr("jaxflow.detection.explain.row_terms.CHUNK_ROWS", 32 * 128)
        np.testing.assert_allclose(terms_of_rows(gaussian.model_, z, None, method=method, **how), whole, rtol=1e-5)
        assert whole.shape == (300, 3)


def test_rows_far_out_are_explained(gaussian):
    x = correlated(7, 3)
    x[0, 1], x[1, 1], x[1, 4], x[2, 1] = 1e300, -1e300, 1e300, 1e6
    explanation = gaussian.explain(x)
    assert not np.isnan(explanation.calibrated).any()
    assert np.isposinf(explanation.calibrated[:2, 1]).all()
    assert explanation.calibrated[2].argmax() == 1


@pytest.mark.parametrize("count", [1, 7, 1000, 1001, 5000])
def test_rows_are_taken_at_even_distances(count):
    kept = spread_out(np.arange(count, dtype=float)[:, None], NORMAL_ROWS)[:, 0]
    assert len(kept) == min(count, NORMAL_ROWS)
    assert kept[0] == 0
    assert kept[-1] == count - 1
    assert len(kept) < 2 or np.ptp(np.diff(kept)) <= 1


def test_what_cannot_be_explained_is_refused(gaussian, tmp_path):
    with pytest.raises(InputError, match="method = 'chain_rule' does not suit this Gaussian"):
        gaussian.explain(correlated(0, 2), "chain_rule")
    with pytest.raises(InputError, match="count = -1"):
        gaussian.explain(correlated(0, 2)).top(-1)
    with pytest.raises(ValueError, match="5 features"):
        gaussian.explain(correlated(0, 2)[:, :5])


def test_a_detector_saved_without_normal_rows_scores_but_does_not_explain(tmp_path):
    detector = GaussianDetector(threshold=Percentile()).fit(correlated(0, 100))
    arrays = reasons_arrays(detector)
    del detector.normal_rows_
    detector.save(tmp_path / "model")
    assert "reasons.normal_rows" not in load_file(tmp_path / "model" / "weights.safetensors")
    again = load(tmp_path / "model")
    with pytest.raises(InputError, match="saved without normal rows"):
        again.explain(correlated(1, 2))
    with pytest.raises(InputError, match="saved without normal rows"):
        again.counterfactual(correlated(1, 2))
    assert again.calibrate(correlated(2, 30)).explain(correlated(1, 2)).calibrated.shape == (2, 6)
    for wrong in (arrays["normal_rows"][:, :2], arrays["normal_rows"][0], arrays["normal_rows"].astype(np.float32)):
        with pytest.raises(InputError, match=r"the array reasons.normal_rows is float"):
            restore_reasons(again, {"normal_rows": wrong})
    with pytest.raises(InputError, match=r"the array reasons.other"):
        restore_reasons(again, {**arrays, "other": np.zeros(2)})
