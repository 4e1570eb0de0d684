import jax
import numpy as np
import pytest

from jaxflow.data.encoding import Encoding
from jaxflow.detection import (
    BestF1,
    DoubtfulFit,
    FlowDetector,
    GaussianDetector,
    Percentile,
    TargetFalsePositiveRate,
    load,
)
from jaxflow.detection.calibration.out_of_fold import divide_folds, fold_count
from jaxflow.detection.scoring.table_encoder import NEVER_SEEN
from jaxflow.errors import InputError, NonFiniteLoss
from jaxflow.models import MAF, GaussianSpec
from jaxflow.training import Callback, Checkpoints, FitSpec, NpyFile

COMPILED = "/jax/core/compile/backend_compile_duration"
FLOW = MAF(layers=1, hidden=(4,))
TRAIN = FitSpec(epochs=2, batch_size=64)


def rows(seed=0, n=53, dim=3):
    return np.random.default_rng(seed).normal(size=(n, dim))


@pytest.mark.parametrize(
    ("n", "fraction", "folds", "expected"),
    [
        (497, 0.2, None, 5),  # 99 rows would be held out
        (500, 0.2, None, 0),
        (199, 0.5, None, 0),  # 99.5 is rounded to 100
        (3, 0.2, None, 3),
        (10_000, 0.2, 7, 7),
        (50, 0.2, 0, 0),
        (50, 0.0, None, 0),  # without calibration rows the training rows calibrate
        (50, 0.0, 4, 4),
    ],
)
def test_when_there_are_folds(n, fraction, folds, expected):
    assert fold_count(n, fraction, folds) == expected


def test_folds_are_drawn_at_random():
    first, again, other = (divide_folds(100, 5, np.random.default_rng(seed)) for seed in (0, 0, 1))
    for mine, same, another in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(mine.score, same.score)
        assert not np.array_equal(mine.score, another.score)
        assert np.diff(mine.score).max() > 1  # no row of a stretch of the table alone


@pytest.mark.parametrize(("n", "folds"), [(53, 5), (50, 5), (7, 3), (4, 4), (9, 2)])
def test_each_row_is_scored_once_and_all_folds_learn_from_equally_many(n, folds):
    parts = divide_folds(n, folds, np.random.default_rng(0))
    assert len(parts) == folds
    assert {len(part.learn) for part in parts} == {n - -(-n // folds)}
    np.testing.assert_array_equal(np.sort(np.concatenate([part.score for part in parts])), np.arange(n))
    for part in parts:
        assert not np.intersect1d(part.learn, part.score).size
        for numbers in part:
            np.testing.assert_array_equal(numbers, np.unique(numbers))


def test_the_scores_are_those_of_models_that_have_not_seen_the_row():
    x = rows()
    x[7] = 30.0  # a model that has seen this row finds it far less anomalous
    detector = GaussianDetector(calibration_folds=None, threshold=Percentile()).fit(x)
    assert detector.calibration_source_ == "out_of_fold"
    assert detector.calibration_scores_.shape == (53,)
    assert detector.calibration_scores_[7] > 20 * detector.anomaly_score(x)[7]
    # The model itself learned from all rows, as without calibration.
    alone = GaussianDetector(calibration_fraction=0.0, threshold=Percentile()).fit(x)
    np.testing.assert_array_equal(detector.anomaly_score(x), alone.anomaly_score(x))
    again = GaussianDetector(threshold=Percentile()).fit(x)
    np.testing.assert_array_equal(again.calibration_scores_, detector.calibration_scores_)


def test_they_are_the_scores_of_one_detector_a_fold(monkeypatch):
    x, seen = rows(), []
    original = GaussianDetector._learn

    def remembered(self, learned, rng, **options):
        seen.append((self, learned.numbers))
        np.testing.assert_array_equal(learned.codes, x[learned.numbers])
        return original(self, learned, rng, **options)

    monkeypatch.setattr(GaussianDetector, "_learn", remembered)
    detector = GaussianDetector(calibration_folds=4, threshold=Percentile()).fit(x)
    assert seen[0][0] is detector
    assert [len(numbers) for _, numbers in seen] == [53, 39, 39, 39, 39]
    parts = np.full(53, -1)
    for index, (fold, _) in enumerate(seen[1:]):
        parts[fold.scores_of_rows(x) == detector.calibration_scores_] = index
    assert sorted(np.bincount(parts)) == [13, 13, 13, 14]
    for index, (_, numbers) in enumerate(seen[1:]):
        assert (parts[numbers] != index).all()


@pytest.mark.parametrize("folds", [0, 4])
def test_rows_are_encoded_once(folds, monkeypatch):
    encoded, original = [], Encoding.codes
    monkeypatch.setattr(Encoding, "codes", lambda self, frame: (encoded.append(len(frame)), original(self, frame))[1])
    x = np.concatenate([rows(), rows(1, 6) + 8.0])
    GaussianDetector(threshold=BestF1(), calibration_folds=folds).fit(x, np.repeat([0, 1], [53, 6]))
    assert encoded == [59]


def test_the_rate_is_about_kept_where_training_scores_are_far_too_low():
    flagged = {0.0: [], 0.2: []}
    rule = TargetFalsePositiveRate(rate=0.1)
    for seed in range(15):
        x = rows(seed, 640, 10)
        for fraction, shares in flagged.items():
            detector = GaussianDetector(GaussianSpec(), threshold=rule, calibration_fraction=fraction).fit(x[:40])
            shares.append(np.mean(detector.anomaly_score(x[40:]) > detector.threshold_))
    assert np.mean(flagged[0.0]) > 0.25
    assert 0.03 < np.mean(flagged[0.2]) < 0.12


def test_labelled_anomalies_are_scored_by_the_model_itself():
    x = np.concatenate([rows(), rows(1, 6) + 8.0])
    y = np.repeat([0, 1], [53, 6])
    detector = GaussianDetector(threshold=BestF1()).fit(x, y)
    np.testing.assert_array_equal(detector.calibration_labels_, y)
    np.testing.assert_array_equal(detector.calibration_scores_[53:], detector.anomaly_score(x[53:]))
    np.testing.assert_array_equal(detector.predict(x) == -1, y == 1)


def test_a_column_constant_in_one_fold_alone_counts_in_all():
    x = rows()
    x[:, 1] = 0.0
    x[11, 1] = 1e-9
    detector = GaussianDetector(threshold=Percentile(percentile=90)).fit(x)
    assert detector.preprocessing_.dim_out == 3
    # A density without that column would be lower by log 1e-9: a fifth of the scores would be 20 nats too high.
    scores = np.sort(detector.calibration_scores_)
    assert scores[-2] - scores[0] < 15


def test_only_the_last_fit_is_shown_and_kept(tmp_path, capsys):
    told = []

    class Told(Callback):
        def update(self, row):
            told.append(row["epoch"])

    watcher = Told()
    detector = FlowDetector(
        FLOW, train=TRAIN, threshold=Percentile(), progress=True, callbacks=[watcher],
        checkpoints=Checkpoints(directory=tmp_path / "kept", seconds=0.0),
    )  # fmt: skip
    detector.fit(rows())
    assert told == [1, 2]
    assert capsys.readouterr().err.count("epoch 2/2") == 1
    assert detector.calibration_scores_.shape == (53,)
    assert (detector.progress, detector.callbacks) == (True, [watcher])


def test_folds_share_their_programs(monkeypatch):
    compiled, after = [], []
    original = FlowDetector._learn

    def remembered(*arguments, **options):
        result = yield from original(*arguments, **options)
        after.append(len(compiled))
        return result

    def count(event, *_, **__):
        if event == COMPILED:
            compiled.append(event)

    monkeypatch.setattr(FlowDetector, "_learn", remembered)
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        # Of 53 rows, 4 folds score 14, 13, 13 and 13.
        FlowDetector(FLOW, train=TRAIN, threshold=Percentile(), calibration_folds=4).fit(rows())
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    # Each entry is what was compiled until then, of the fit to all rows and of the four others.
    assert len(after) == 5
    assert after[2:] == [after[2]] * 3


def test_everything_needed_is_saved(tmp_path):
    detector = GaussianDetector(threshold=Percentile(), calibration_folds=6).fit(rows())
    detector.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert (again.calibration_folds, again.calibration_source_) == (6, "out_of_fold")
    np.testing.assert_array_equal(again.fit(rows()).calibration_scores_, detector.calibration_scores_)


def test_a_fold_that_cannot_be_fitted_names_its_rows():
    x = rows()
    x[17] = 1e30
    detector = FlowDetector(
        FLOW, train=TRAIN, preprocessing=(), validation_fraction=0.0, threshold=Percentile(), calibration_folds=3
    )
    with pytest.raises(NonFiniteLoss, match="row 17 of X, counted from 0"):
        detector.fit(x)


def test_a_fit_that_ends_early_is_not_tried_again_in_folds():
    x = rows(0, 200)
    x[17] = 1e30
    train = FitSpec(epochs=2, batch_size=8)
    detector = FlowDetector(FLOW, train=train, preprocessing=(), validation_fraction=0.0, threshold=Percentile())
    with pytest.raises(NonFiniteLoss, match="because of row 17 of X") as error:
        detector.fit(x)
    assert error.value.result is not None
    assert detector.calibration_source_ == "training"
    np.testing.assert_allclose(detector.calibration_scores_, detector.anomaly_score(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("detector", "n", "sentence"),
    [
        (GaussianDetector(calibration_folds=9), 8, "calibration_folds = 9: expected at most one for each of 8 normal "),
        (GaussianDetector(calibration_folds=2, calibration_fraction=0.0), 1, "n_samples = 1: expected at least 2 "),
        (FlowDetector(calibration_folds=2), 3, "n_samples = 3: expected at least 4 normal rows, to fit and to "),
    ],
)
def test_too_few_rows_for_the_folds_are_refused(detector, n, sentence):
    with pytest.raises(InputError) as error:
        detector.fit(rows(0, n))
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("n", [3, 4, 6])
def test_few_rows_are_enough(n):
    detector = GaussianDetector(threshold=Percentile(percentile=50)).fit(rows(0, n, 1))
    assert detector.calibration_scores_.shape == (n,)
    assert detector.calibration_source_ == "out_of_fold"


def test_rows_from_files_have_no_folds(tmp_path):
    np.save(tmp_path / "rows.npy", rows(0, 200))
    detector = FlowDetector(FLOW, train=TRAIN, threshold=Percentile()).fit(NpyFile(tmp_path / "rows.npy"))
    assert detector.calibration_source_ == "held_out"
    assert len(detector.calibration_scores_) == 40
    with pytest.raises(InputError, match="calibration_folds = 5: expected None or 0, as rows of a source are held out"):
        detector.set_params(calibration_folds=5).fit(NpyFile(tmp_path / "rows.npy"))


@pytest.mark.parametrize(
    ("n", "folds", "sentence"),
    [
        (2, None, "n_samples = 2: expected at least 4 normal rows, so that each of 2 folds leaves two to learn from"),
        (3, 2, "n_samples = 3: expected at least 4 normal rows, so that each of 2 folds leaves two to learn from"),
    ],
)
def test_different_rows_are_not_said_to_be_the_same(n, folds, sentence):
    with pytest.raises(InputError) as error:
        GaussianDetector(calibration_folds=folds).fit(rows(0, n, 2))
    assert str(error.value) == sentence


def test_a_fold_that_cannot_be_fitted_says_that_it_is_one():
    x = np.zeros((20, 1))
    x[3] = 1.0
    with pytest.raises(
        InputError, match=r"4 rows left out to calibrate, 16 remain: .*; with calibration_folds = 0 there"
    ):
        GaussianDetector().fit(x)


def test_labels_of_one_kind_are_told_apart():
    for label, missing in (
        (0, "needs anomalies, and all 40 labels are 0"),
        (1, "needs normal rows, and all 40 labels"),
    ):
        with pytest.raises(InputError, match=missing):
            GaussianDetector(threshold=BestF1()).fit(rows(0, 40), np.full(40, label))


def test_a_category_that_only_one_row_has_counts_as_never_seen():
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 31) ** 1.6

    def table(n):
        texts = [rng.choice([f"t{place}" for place in range(30)], n, p=shares / shares.sum()) for _ in range(4)]
        return np.array([rng.normal(size=n), *texts], dtype=object).T

    train = table(200)
    lone = [np.array([np.sum(column == text) == 1 for text in column]) for column in train.T[1:]]
    with pytest.warns(DoubtfulFit):
        detector = GaussianDetector(random_state=0).fit(train)
    assert detector.calibration_source_ == "out_of_fold"
    assert np.array_equal(detector.calibration_scores_ > NEVER_SEEN / 2, np.any(lone, axis=0))
    # So the rate is about that which was asked for, and was five times as high when folds knew what they had not seen.
    assert np.mean(detector.predict(table(2000)) == -1) < 0.11
