"""Detectors of tables as they come: texts, counts, contexts, missing and constant columns."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from pyarrow import csv, parquet

from jaxflow.data import ColumnsSpec, DropConstant, Frame, Standardize
from jaxflow.data.tables.frame import as_frame
from jaxflow.detection import AutoencoderDetector, FlowDetector, GaussianDetector, Percentile, load
from jaxflow.detection.scoring.table_encoder import NEVER_SEEN
from jaxflow.detection.serving.score_files import answer_chunks, detector_chunks, kept_texts
from jaxflow.detection.serving.score_records import RecordAnswers
from jaxflow.errors import InputError
from jaxflow.models import (
    MAF,
    AutoEncoderSpec,
    EnsembleSpec,
    GaussianMixtureSpec,
    GaussianSpec,
    PrincipalComponentsSpec,
    VariationalAutoEncoderSpec,
)
from jaxflow.training import FitSpec

TRAIN = FitSpec(epochs=3, batch_size=64)
FLOW = MAF(layers=2, hidden=(8,))
DETECTORS: dict[str, Any] = {
    "flow": FlowDetector(FLOW, train=TRAIN, threshold=Percentile()),
    "ensemble": FlowDetector(EnsembleSpec(member=FLOW, members=2), train=TRAIN, threshold=Percentile()),
    "gaussian": GaussianDetector(threshold=Percentile()),
    "autoencoder": AutoencoderDetector(AutoEncoderSpec(hidden=(8,)), train=TRAIN, threshold=Percentile()),
    "vae": AutoencoderDetector(VariationalAutoEncoderSpec(hidden=(8,)), train=TRAIN, threshold=Percentile()),
}


def columns(**values) -> ColumnsSpec:
    return ColumnsSpec.model_validate(values)


def machines(seed=0, n=240):
    """Load follows the hour; the word says where, the constant never changes, and some temperatures are missing."""
    rng = np.random.default_rng(seed)
    hour = rng.uniform(0, 24, n)
    load = 10 * np.sin(2 * np.pi * hour / 24) + rng.normal(size=n)
    return {
        "place": rng.choice(["north", "south", "east"], n),
        "hour": hour,
        "load": load,
        "alarms": rng.poisson(2, n).astype(float),
        "version": np.full(n, 7.0),
        "temperature": np.where(rng.random(n) < 0.2, np.nan, load + rng.normal(size=n)),
    }


def table(cells):
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in cells.items()})


SPEC = columns(types={"hour": {"kind": "circular", "period": 24}}, context=("hour",), missing="median")


@pytest.fixture(scope="module", params=DETECTORS)
def fitted(request):
    detector = DETECTORS[request.param]
    again: Any = type(detector)(**detector.get_params(deep=False) | {"columns": SPEC})
    return again.fit(table(machines()))


def test_texts_contexts_and_missing_values_are_scored(fitted):
    assert fitted.columns_ == tuple(fitted.feature_names_in_)
    assert dict(fitted.inputs_.describe()) == {
        "place": "categorical, 3 categories",
        "hour": "circular, period 24, context",
        "load": "continuous",
        "alarms": "discrete",
        "version": "constant",
        "temperature": "continuous, some missing",
    }
    assert fitted.inputs_.summary() == (
        "2 continuous, 1 categorical, 1 circular, 1 discrete, 1 constant; 1 of them the context of the others"
    )
    assert (fitted.inputs_.dim, fitted.inputs_.context_dim) == (6, 2)
    scores = fitted.anomaly_score(table(machines(1)))
    assert np.isfinite(scores).all()
    assert (fitted.predict(table(machines(1))) == -1).mean() < 0.3


@pytest.mark.parametrize(
    ("column", "value", "times"),
    [("place", "nowhere", 1), ("version", 8.0, 1), ("alarms", None, 1), ("version", None, 1), ("hour", None, 1)],
)
def test_a_value_never_seen_is_an_anomaly(fitted, column, value, times):
    cells = machines(1)
    known = fitted.anomaly_score(table(cells))
    cells[column] = np.array([value] * len(known), dtype=object if isinstance(value, str) else float)
    scores = fitted.anomaly_score(table(cells))
    assert (scores > NEVER_SEEN / 2).all() == bool(times)
    if times:
        assert (fitted.predict(table(cells)) == -1).all()
        assert len(np.unique(scores)) > 200  # what else they hold still counts


def test_saved_and_loaded_it_gives_the_same_answers(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    asked = table(machines(1))
    np.testing.assert_array_equal(again.anomaly_score(asked), fitted.anomaly_score(asked))
    assert again.inputs_.describe() == fitted.inputs_.describe()
    refitted = again.fit(table(machines()))
    np.testing.assert_array_equal(refitted.anomaly_score(asked), fitted.anomaly_score(asked))


def test_files_and_records_are_answered_as_tables_are(fitted, tmp_path):
    asked = table(machines(1))
    csv.write_csv(asked, tmp_path / "asked.csv")
    batches = list(answer_chunks(fitted, detector_chunks(fitted, tmp_path / "asked.csv", 100)))
    scores = np.concatenate([batch.column("score").to_numpy() for batch in batches])
    np.testing.assert_allclose(scores, fitted.anomaly_score(asked), rtol=1e-5, atol=1e-5)
    answer = RecordAnswers(fitted)
    for row, record in enumerate(asked.slice(0, 5).to_pylist()):
        score = answer(json.loads(json.dumps(record)), "here")["score"]
        assert score == pytest.approx(scores[row], rel=1e-5, abs=1e-5)
    with pytest.raises(InputError, match="here: column place is \\[1\\], expected a text"):
        answer(asked.slice(0, 1).to_pylist()[0] | {"place": [1]}, "here")


@pytest.mark.parametrize("missing", ["median", "model"])
def test_without_its_context_a_row_cannot_be_judged(missing):
    rng = np.random.default_rng(0)
    hour = rng.uniform(0, 24, 500)
    cells = {"hour": hour, "load": 10 * np.sin(2 * np.pi * (hour - 6) / 24) + rng.normal(size=500)}
    spec = columns(types={"hour": {"kind": "circular", "period": 24}}, context=("hour",), missing=missing)
    detector = GaussianDetector(columns=spec, threshold=Percentile(percentile=99)).fit(table(cells))
    # At noon the first would be normal, and the last at midnight; of neither is it known when it was.
    asked = pa.table({"hour": [None, 12.0, 0.0, None], "load": [10.0, 10.0, 10.0, -10.0]})
    assert detector.predict(asked).tolist() == [-1, 1, -1, -1]
    first, _, _, last = detector.explain(asked).top(1)
    assert [str(reason) for reason in (*first, *last)] == ["hour = missing (never seen)"] * 2


def test_what_a_discrete_column_cannot_hold_is_an_anomaly(tmp_path):
    rng = np.random.default_rng(0)
    cells = {
        "flag": (rng.random(500) < 0.4).astype(float),
        "count": rng.poisson(2, 500).clip(0, 6).astype(float),
        "level": rng.choice([1.0, 10.0, 1000.5], 500),
        "speed": rng.normal(size=500),
    }
    detector = GaussianDetector(threshold=Percentile()).fit(table(cells))
    asked = pa.table({"flag": [0, 0.5, 1, 1, 1], "count": [2, 2, 4.5, 7, 2], "level": [1, 10, 1000.5, 1, 500],
                      "speed": [0.0] * 5})  # fmt: skip
    scores = detector.anomaly_score(asked)
    assert (scores > NEVER_SEEN / 2).tolist() == [False, True, True, False, True]
    top = [reasons[0] for reasons in detector.explain(asked).top(1)]
    assert [str(top[row]) for row in (1, 2, 4)] == [
        "flag = 0.5 (never seen; normal: 0 or 1)",
        "count = 4.5 (never seen; normal: 0 to 6 in steps of 1)",
        "level = 500 (never seen; normal: 1, 10 or 1000)",
    ]
    detector.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").anomaly_score(asked), scores)
    assert detector.counterfactual(asked).changed[[1, 2, 4], [0, 1, 2]].all()


def test_the_context_is_not_judged_but_counts():
    cells = machines(n=2000)
    detector = GaussianDetector(columns=SPEC, threshold=Percentile(percentile=99)).fit(table(cells))
    noon = {name: values[:1].copy() for name, values in cells.items()}
    noon |= {"hour": np.array([6.0]), "load": np.array([10.0]), "temperature": np.array([10.0])}
    night = noon | {"hour": np.array([18.0])}
    assert detector.predict(table(noon))[0] == 1
    assert detector.predict(table(night))[0] == -1
    # By itself the hour is as good as any other.
    low = night | {"load": np.array([-10.0]), "temperature": np.array([-10.0])}
    assert detector.predict(table(low))[0] == 1
    with pytest.raises(InputError, match="GaussianDetector cannot draw rows by itself: they depend on the context"):
        detector.sample(3)


@pytest.mark.parametrize("tails", ["arcsinh", "rank_gaussian"])
def test_densities_stay_those_of_the_data(tails):
    x = np.exp(np.random.default_rng(0).normal(size=(4000, 1)))
    spec = columns(tails=tails)
    detector = GaussianDetector(columns=spec, threshold=Percentile(), calibration_fraction=0.0).fit(x)
    grid = np.sinh(np.linspace(-9, 9, 200_001))[:, None]
    density = np.exp(detector.score_samples(grid))
    assert np.trapezoid(density, grid[:, 0]) == pytest.approx(1, abs=0.02)
    if tails == "rank_gaussian":
        middle = np.quantile(x, [0.2, 0.4, 0.6, 0.8])[:, None]
        expected = scipy.stats.lognorm.logpdf(middle[:, 0], 1.0)
        np.testing.assert_allclose(detector.score_samples(middle), expected, atol=0.4)


def test_a_flow_gives_columns_on_a_grid_probabilities():
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, 2, 1000), rng.integers(0, 5, 1000)], axis=1) * [1.0, 10.0]
    detector = FlowDetector(FLOW, train=FitSpec(epochs=60, batch_size=128, learning_rate=3e-3)).fit(x)
    assert detector.model_spec_.dequantize == ("uniform", "uniform")
    cells = np.stack(np.meshgrid([0.0, 1.0], np.arange(5) * 10.0), axis=-1).reshape(-1, 2)
    probabilities = np.exp(detector.score_samples(cells))
    assert 0.8 < probabilities.sum() < 1.02  # each is a lower bound
    np.testing.assert_allclose(probabilities, 0.1, atol=0.06)


def test_noise_named_in_the_spec_is_left_as_it_is():
    x = np.random.default_rng(0).integers(0, 3, (100, 2)).astype(float)
    spec = MAF(layers=1, hidden=(4,), dequantize=("variational", "none"))
    detector = FlowDetector(spec, train=TRAIN).fit(x)
    assert detector.model_spec_.dequantize == ("variational", "none")
    plain = FlowDetector(FLOW, train=TRAIN, columns=columns(infer=False)).fit(x)
    assert plain.model_spec_ == FLOW


def test_missing_values_are_averaged_over_what_the_model_expects():
    mix = np.array([[1.0, 0.9, 0.2], [0.0, 0.4, 0.5], [0.0, 0.0, 0.6]])
    x = np.random.default_rng(0).normal(size=(3000, 3)) @ mix
    lacking = np.random.default_rng(1).random(x.shape) < 0.1
    detector = GaussianDetector(GaussianSpec(regularization=0.0), columns=columns(missing="model"))
    detector.fit(np.where(lacking, np.nan, x))
    asked = x[:20].copy()
    asked[:, 1] = np.nan
    covariance: Any = mix.T @ mix
    others = scipy.stats.multivariate_normal(np.zeros(2), covariance[np.ix_([0, 2], [0, 2])]).logpdf(asked[:, [0, 2]])
    left = 1 / np.linalg.inv(covariance)[1, 1]
    expected = -others + 0.5 * np.log(2 * np.pi * np.e * left)
    np.testing.assert_allclose(detector.anomaly_score(asked), expected, atol=0.15)
    # As often as without gaps a normal row is flagged, whatever it lacks.
    fresh = np.random.default_rng(2).normal(size=(3000, 3)) @ mix
    fresh[::2, 2] = np.nan
    flagged = detector.predict(fresh) == -1
    assert abs(flagged[::2].mean() - flagged[1::2].mean()) < 0.04
    assert 0.02 < flagged.mean() < 0.09


def test_the_model_fills_gaps_of_every_kind(tmp_path):
    cells = machines()
    cells["place"] = np.where(np.arange(240) % 7 == 0, None, cells["place"])
    cells["alarms"][::5] = np.nan
    detector = FlowDetector(FLOW, train=TRAIN, columns=columns(missing="model", context=("hour",)))
    detector.fit(table(cells))
    scores = detector.anomaly_score(table(cells))
    assert np.isfinite(scores).all()
    detector.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").anomaly_score(table(cells)), scores)
    np.testing.assert_allclose(detector.anomaly_score(table(cells).slice(3, 9)), scores[3:12], rtol=1e-5)


def test_constant_columns_can_be_ignored():
    x = np.random.default_rng(0).normal(size=(100, 2))
    x[:, 1] = 3.0
    steps = (DropConstant(never_seen="ignore"), Standardize())
    asked = x + np.array([0.0, 1.0])
    ignoring = GaussianDetector(preprocessing=steps, threshold=Percentile()).fit(x)
    np.testing.assert_array_equal(ignoring.anomaly_score(asked), ignoring.anomaly_score(x))
    flagging = GaussianDetector(threshold=Percentile()).fit(x)
    np.testing.assert_allclose(flagging.anomaly_score(asked), flagging.anomaly_score(x) + NEVER_SEEN)


def test_draws_have_the_texts_of_the_table():
    cells = machines()
    detector = GaussianDetector(threshold=Percentile(), columns=columns(missing="median")).fit(table(cells))
    draws = detector.sample(200, random_state=0)
    assert draws.schema == table(cells).schema
    assert set(draws["place"].to_pylist()) == {"north", "south", "east"}
    assert draws["temperature"].null_count / 200 == pytest.approx(0.2, abs=0.12)


def test_arrays_with_texts_and_frames_are_tables_too():
    cells = machines()
    x = np.array([cells["place"], cells["load"], cells["alarms"]], dtype=object).T
    detector = GaussianDetector(threshold=Percentile()).fit(x)
    assert detector.columns_ == ("x0", "x1", "x2")
    scores = detector.anomaly_score(x)
    frame = as_frame(x)
    np.testing.assert_array_equal(detector.anomaly_score(frame), scores)
    turned = Frame(frame.x[:, ::-1].copy(), frame.names[::-1], frame.categories)
    np.testing.assert_array_equal(detector.anomaly_score(turned), scores)
    with pytest.raises(InputError, match="X has 2 columns, expected 3"):
        detector.anomaly_score(x[:, :2])
    with pytest.raises(InputError, match="X: column x2 is missing; the columns are x0, x1"):
        detector.anomaly_score(frame.pick(("x0", "x1")))


@pytest.mark.parametrize(
    ("detector", "sentence"),
    [
        (GaussianDetector(columns=columns(context=("week",), missing="median")), "there is no column week"),
        (
            GaussianDetector(columns=columns(context=tuple(machines()), missing="median")),
            "expected one column at least that is judged",
        ),
        (GaussianDetector(), "row 4, column temperature is missing, expected a value"),
        (
            GaussianDetector(GaussianMixtureSpec(), columns=columns(context=("hour",), missing="median")),
            "a gaussian_mixture takes no context, got 1 context features",
        ),
        (
            GaussianDetector(PrincipalComponentsSpec(), columns=columns(context=("hour",), missing="median")),
            "a pca takes no context, got 1 context features",
        ),
        (
            AutoencoderDetector(columns=columns(missing="model")),
            "columns.missing = model needs a density, and autoencoder is none: expected median",
        ),
        (
            AutoencoderDetector(VariationalAutoEncoderSpec(), columns=columns(missing="model")),
            "columns.missing = model needs a density, and vae is none: expected median",
        ),
        (
            GaussianDetector(PrincipalComponentsSpec(), columns=columns(missing="model")),
            "columns.missing = model needs a density, and pca is none: expected median",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(detector, sentence):
    cells = machines()
    cells["temperature"][:3] = 1.0
    cells["temperature"][3] = np.nan
    with pytest.raises(InputError, match=sentence):
        detector.fit(table(cells))


def test_reasons_name_the_column_and_what_was_never_seen(fitted):
    cells = {name: values[:4].copy() for name, values in machines(1).items()}
    cells["load"][0] = 60.0
    cells["place"] = np.array(["north", "nowhere", "north", "south"])
    cells["version"][2] = 9.0
    explanation = fitted.explain(table(cells))
    first = [reasons[0] for reasons in explanation.top(1)]
    load = next(reason for reason in explanation.top(3)[0] if reason.column == "load")
    assert [reason.column for reason in first[1:3]] == ["place", "version"]
    assert [reason.never_seen for reason in first[:3]] == [False, True, True]
    assert str(first[1]) == "place = nowhere (never seen)"
    assert str(first[2]) == "version = 9 (never seen)"
    assert str(load).startswith("load = 60 (normal in this context: -")
    hour = explanation.columns.index("hour")
    assert (explanation.contributions[:, hour] == 0).all()
    place = next(record for record in explanation.records() if record["column"] == "place")
    assert place["value"] == "north"
    assert place["normal_low"] in {"north", "south", "east"}


NEW = {"nowhere": "nowhere", "a\nb": "a\\nb", "x" * 100: "x" * 57 + "...", "7": "7"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_texts_that_are_new_are_shown_as_they_stand(fitted, tmp_path, kind):
    asked = {name: values[:4] for name, values in machines(1).items()} | {"place": np.array(list(NEW), object)}
    shown = [f"place = {text} (never seen)" for text in NEW.values()]
    assert [str(reasons[0]) for reasons in fitted.explain(table(asked)).top(1)] == shown
    answer = RecordAnswers(fitted, 1)
    records = [answer(record, "here")["reasons"][0] for record in table(asked).to_pylist()]
    assert [record["value"] for record in records] == list(NEW.values())
    path = tmp_path / f"asked.{kind}"
    usual = {name: values[4:104] for name, values in machines(1).items()}
    rows = table({name: np.concatenate([usual[name], asked[name]]) for name in usual})
    if kind == "csv":
        csv.write_csv(rows, path, csv.WriteOptions(quoting_style="all_valid"))
    else:
        parquet.write_table(rows, path)
    kept = kept_texts(fitted)
    chunks = detector_chunks(fitted, path, 51, kept)
    found = pa.Table.from_batches(list(answer_chunks(fitted, chunks, 1, kept)))
    assert found.column("reasons").to_pylist()[100:] == shown
    np.testing.assert_allclose(found.column("score").to_numpy(), fitted.anomaly_score(rows), rtol=1e-5, atol=1e-5)


def test_what_would_have_to_change_leaves_the_context_alone(fitted):
    cells = {name: values[:2].copy() for name, values in machines(1).items()}
    cells["load"][:] = 80.0
    cells["place"] = np.array(["north", "nowhere"])
    found = fitted.counterfactual(table(cells))
    assert (found.scores <= fitted.threshold_).all()
    changed = {(record["row"], record["column"]) for record in found.records()}
    assert {(0, "load"), (1, "load"), (1, "place")} <= changed
    assert not changed & {(0, "hour"), (1, "hour")}
    place = next(record for record in found.records() if (record["row"], record["column"]) == (1, "place"))
    assert place["value"] == "nowhere"
    assert place["becomes"] in {"north", "south", "east"}
