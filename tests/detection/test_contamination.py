"""False alarms and alarms, and the rows that a warning names."""

import warnings

import numpy as np
import pytest

from jaxflow.detection import ContaminationWarning, FlowDetector, GaussianDetector, contamination_estimate
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
    assert warning.held_out == 200
    assert len(warning.rows) == round(200 * warning.found.share) > 10
    assert max(warning.rows) < 100  # where the outliers are
    assert (np.diff(detector.anomaly_score(x[list(warning.rows)])) <= 0).all()  # the worst first
    with pytest.warns(ContaminationWarning, match="the threshold counts them as normal: leave them out there, too"):
        GaussianDetector(GaussianSpec(covariance="robust")).fit(x)


def test_rows_of_a_source_have_their_own_numbers(tmp_path):
    np.save(tmp_path / "rows.npy", contaminated(0, 1000, 0.1))
    train = FitSpec(epochs=2, trim=0.15)
    detector = FlowDetector(RealNVP(layers=2, hidden=(8,)), train=train)
    with pytest.warns(ContaminationWarning, match="of the source, counted from 0, the worst first, and the fit leaves"):
        detector.fit(NpyFile(tmp_path / "rows.npy"))
    assert detector.contamination_ is not None
    assert max(detector.contamination_.rows) < 100


def test_nothing_is_said_of_clean_rows_and_of_scores_of_training_rows():
    detector = GaussianDetector()
    assert detector.fit(contaminated(0, 1000, 0.0)).contamination_ is None
    assert detector.set_params(calibration_fraction=0.0).fit(contaminated(0, 1000, 0.1)).contamination_ is None


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
