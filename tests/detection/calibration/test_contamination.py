"""False alarms and alarms, and the rows that a warning names."""

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jaxflow.data import ColumnsSpec
from jaxflow.detection import BestF1, ContaminationWarning, FlowDetector, GaussianDetector, contamination_estimate
from jaxflow.detection.calibration.contamination import FAR_TAIL, contamination_of
from jaxflow.detection.calibration.robust_distance import robust_distances
from jaxflow.detection.numbered_rows import NumberedRows
from jaxflow.errors import InputError
from jaxflow.experiment.run import run_experiment
from jaxflow.experiment.run_files import write_run
from jaxflow.experiment.spec import Experiment
from jaxflow.models import GaussianSpec, RealNVP
from jaxflow.training import FitSpec, NpyFile


def groups(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape) + 6.0 * (rng.uniform(size=(shape[0], 1)) < 0.3)


CLEAN = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t": lambda rng, shape: rng.standard_t(5, size=shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "uniform": lambda rng, shape: rng.uniform(size=shape),
    "two groups": groups,
}


def gaussian_scores(train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    centred = held_out - train.mean(axis=0)
    return 0.5 * np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(train.T)), centred)


def contaminated(seed: int, n: int, share: float, dim: int = 10) -> np.ndarray:
    """Normal rows, of which the first are outliers all over the place."""
    rng = np.random.default_rng(seed)
    x, count = rng.normal(size=(n, dim)), round(share * n)
    x[:count] = rng.uniform(-10, 10, size=(count, dim))
    return x


@pytest.mark.parametrize("kind", CLEAN)
def test_clean_data_gives_hardly_an_alarm(kind):
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, dim = (100, 500, 2000)[seed % 3], (2, 8)[seed % 2]
        x = CLEAN[kind](rng, (5 * n, dim))
        alarms += contamination_estimate(gaussian_scores(x[n:], x[:n])).share > 0
    assert alarms <= 1


@pytest.mark.parametrize(("share", "n"), [(0.01, 5000), (0.05, 1000), (0.1, 500)])
def test_clear_outliers_are_found_and_counted(share, n):
    found = []
    for seed in range(20):
        train, held_out = contaminated(seed, 4 * n, share), contaminated(seed + 100, n, share)
        found.append(contamination_estimate(gaussian_scores(train, held_out)).share)
    assert np.mean(np.array(found) > 0) >= 0.9
    assert np.median(found) == pytest.approx(share, rel=0.2)


@pytest.mark.parametrize("far", [20.0, 1e2, 1e4, 1e8])
def test_however_far_out_a_group_is_it_is_found(far):
    rng = np.random.default_rng(0)
    scores = np.append(rng.exponential(size=300), far + rng.exponential(size=15))
    assert contamination_estimate(scores).share == pytest.approx(15 / 315)


def test_unit_and_origin_of_scores_are_of_no_account():
    scores = gaussian_scores(contaminated(0, 4000, 0.05), contaminated(1, 1000, 0.05))
    one, other = contamination_estimate(scores), contamination_estimate(3 * scores - 1000)
    assert one.share == other.share > 0
    assert other.above == pytest.approx(3 * one.above - 1000)
    assert np.mean(scores > one.above) == one.share


def test_scores_that_say_nothing():
    for scores in (np.zeros(100), np.ones(1), np.repeat(np.arange(5.0), 100), np.full(30, np.inf)):
        assert contamination_estimate(scores).share == 0
    # A value that many rows share, as where rows repeat, is one score and no group.
    scores = np.append(np.random.default_rng(0).exponential(size=500), np.full(50, 100.0))
    assert contamination_estimate(scores).share == 0
    with pytest.raises(InputError, match="1 of 2 scores are NaN"):
        contamination_estimate(np.array([0.0, np.nan]))


def test_infinite_scores_lie_apart_if_others_do():
    scores = gaussian_scores(contaminated(0, 4000, 0.05), contaminated(1, 1000, 0.05))
    scores[:20] = np.inf
    assert contamination_estimate(scores).share == pytest.approx(0.05, rel=0.2)


def test_fit_warns_and_names_rows_of_x():
    x = contaminated(0, 1000, 0.1)
    detector = GaussianDetector()
    with pytest.warns(ContaminationWarning, match=r"rows [\d, ]+ and \d+ more of X, .* covariance = robust"):
        detector.fit(x)
    warning = detector.contamination_
    assert warning is not None
    assert (warning.by, warning.judged) == ("distance", 1000)
    assert len(warning.rows) == round(1000 * warning.found.share) > 80
    assert max(warning.rows) < 100  # where the outliers are
    far = np.linalg.norm(x[list(warning.rows)], axis=1)
    assert far[:20].mean() > far[-20:].mean()  # the worst first
    with pytest.warns(ContaminationWarning, match="the threshold counts them as normal: leave them out there, too"):
        GaussianDetector(GaussianSpec(covariance="robust")).fit(x)


def test_rows_keep_their_numbers_where_others_are_labelled():
    x, y = contaminated(0, 1000, 0.1), np.zeros(1000, int)
    x, y = np.concatenate([x[:50] + 50, x]), np.concatenate([y[:50] + 1, y])
    with pytest.warns(ContaminationWarning):
        detector = GaussianDetector(threshold=BestF1()).fit(x, y)
    assert detector.contamination_ is not None
    rows = detector.contamination_.rows
    assert 50 <= min(rows) <= max(rows) < 150  # of X as it was given


def test_rows_of_a_source_have_their_own_numbers(tmp_path):
    np.save(tmp_path / "rows.npy", contaminated(0, 1000, 0.1))
    train = FitSpec(epochs=2, trim=0.15)
    detector = FlowDetector(RealNVP(layers=2, hidden=(8,)), train=train)
    with pytest.warns(ContaminationWarning, match="of the source, counted from 0, the worst first, and the fit leaves"):
        detector.fit(NpyFile(tmp_path / "rows.npy"))
    assert detector.contamination_ is not None
    assert max(detector.contamination_.rows) < 100


def test_scores_are_looked_at_where_rows_do_not_lie_far_out():
    """Between two groups, or inside of a ring, an outlier is near to most rows but where no row is expected."""
    x, scores = np.random.default_rng(0).normal(size=(1000, 2)), np.random.default_rng(1).exponential(size=200)
    detector, normal = GaussianDetector().fit(x), NumberedRows(x, np.arange(1000) + 7)
    scores[:12] = np.linspace(1000, 1100, 12)  # of 200
    with pytest.warns(ContaminationWarning, match=r"0.06 of the 200 held-out rows have scores that lie apart"):
        found = contamination_of(detector, normal, normal[np.arange(200)], scores)
    assert found is not None
    assert sorted(found.rows) == list(range(7, 19))
    # Scores of rows that were learned from say little.
    detector.calibration_source_ = "training"
    assert contamination_of(detector, normal, normal[np.arange(200)], scores) is None


def mixed(kind, rng, n):
    """Clean rows: three features that spread, and one that few rows have."""
    a, b, c = rng.normal(size=(3, n))
    rare = rng.uniform(size=n) < 0.05
    return {
        "a rare flag": lambda: pa.table({"a": rare.astype(float), "b": b, "c": c}),
        "a rare category": lambda: pa.table({"a": rng.choice(["u", "v", "w"], n, p=[0.5, 0.45, 0.05]), "b": b, "c": c}),
        "a rare category of its own kind": lambda: pa.table(
            {"a": np.where(rare, "rare", "usual"), "b": b + 8 * rare, "c": c - 8 * rare}
        ),
        "missing": lambda: pa.table({"a": pa.array(np.where(rare, np.nan, a), from_pandas=True), "b": b, "c": c}),
        "mostly zero": lambda: pa.table({"a": np.where(rare, np.exp(a), 0.0), "b": b, "c": c}),
        "rare counts": lambda: pa.table({"a": rng.poisson(0.1, n).astype(float), "b": b, "c": c}),
        "a rare context": lambda: pa.table({"a": rare.astype(float), "b": b + 8 * rare, "c": c}),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    ["a rare flag", "a rare category", "a rare category of its own kind", "missing", "mostly zero", "rare counts",
     "a rare context"],
)  # fmt: skip
def test_clean_mixed_columns_give_hardly_an_alarm(kind):
    context = ("a",) if kind == "a rare context" else ()
    columns = ColumnsSpec(missing="median", context=context)
    alarms = 0
    for seed in range(5):
        x = mixed(kind, np.random.default_rng(seed), 2000)
        alarms += GaussianDetector(columns=columns, random_state=seed).fit(x).contamination_ is not None
    assert alarms == 0


def test_a_cloud_of_outliers_that_a_gaussian_learns_is_found():
    """Beside each other and not far out: they draw mean and covariance to themselves, so that their scores are low."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 6)) @ rng.normal(size=(6, 6))
    x[:120] = 0.3 * rng.normal(size=(120, 6)) + 4 * x.std(axis=0)
    x[:, 5] = x[:, 5] > 0  # a flag does not hide them
    scores = gaussian_scores(x[:, :5], x[:, :5])
    assert contamination_estimate(scores).share == 0
    with pytest.warns(ContaminationWarning, match=r"rows looked at lie apart .* robust standard deviations away"):
        detector = GaussianDetector().fit(x)
    assert detector.contamination_ is not None
    assert max(detector.contamination_.rows) < 120
    assert len(detector.contamination_.rows) > 100


@pytest.mark.parametrize("kind", [*CLEAN, "t with 3", "log-normal"])
def test_robust_distances_of_clean_rows_have_no_valley(kind):
    draw: dict[str, Any] = CLEAN | {
        "t with 3": lambda rng, shape: rng.standard_t(3, size=shape),
        "log-normal": lambda rng, shape: rng.lognormal(size=shape),
    }
    alarms = 0
    for seed in range(30):
        n, dim = (100, 500, 2000)[seed % 3], (1, 2, 8)[seed // 3 % 3]
        distances = robust_distances(draw[kind](np.random.default_rng(seed), (n, dim)))
        assert distances is not None
        alarms += contamination_estimate(distances, FAR_TAIL).share > 0
    assert alarms == 0


def test_robust_distances_are_those_of_normal_rows():
    x = np.random.default_rng(0).normal(size=(5000, 4)) @ np.random.default_rng(1).normal(size=(4, 4))
    distances = robust_distances(x)
    assert distances is not None
    exact = gaussian_scores(x, x) * 2
    assert np.corrcoef(distances, exact)[0, 1] > 0.99
    np.testing.assert_allclose(distances.mean(), 4, rtol=0.1)
    outside = np.concatenate([x, np.full((500, 4), 50.0)])
    found = robust_distances(outside)
    assert found is not None
    np.testing.assert_allclose(np.median(found[:5000] / distances), 1, rtol=0.15)
    assert robust_distances(x[:30]) is None
    assert robust_distances(x[:, :0]) is None
    assert robust_distances(np.zeros((100, 1))) is None


def test_nothing_is_said_of_clean_rows():
    detector = GaussianDetector()
    assert detector.fit(contaminated(0, 1000, 0.0)).contamination_ is None
    assert detector.set_params(calibration_fraction=0.0).fit(contaminated(0, 1000, 0.0)).contamination_ is None
    with pytest.warns(ContaminationWarning, match="rows looked at"):
        detector.fit(contaminated(0, 1000, 0.1))  # no rows need be held out to see it


def test_an_experiment_names_rows_of_the_file_and_reports_them(tmp_path):
    x = np.random.default_rng(0).permutation(contaminated(0, 1500, 0.1))
    names = ",".join(f"x{i}" for i in range(10))
    np.savetxt(tmp_path / "rows.csv", x, delimiter=",", header=names, comments="")
    data = {"path": tmp_path / "rows.csv", "label": None}
    experiment = Experiment.model_validate({"data": data, "model": {"kind": "gaussian"}})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = run_experiment(experiment)
    (said,) = [str(one.message) for one in caught if isinstance(one.message, ContaminationWarning)]
    assert run.contamination is not None
    assert "of rows, counted from 1, the worst first" in said
    outside = np.abs(x[np.array(run.contamination.rows) - 1]).max(axis=1)
    assert (outside > 5).all()
    write_run(run, tmp_path / "out", title="rows", provenance={})
    assert f"Warning: {said}." in (tmp_path / "out" / "report.md").read_text()
