"""Draws of detectors are rows that the detectors take for normal, in the form of the table that was fitted."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jaxflow import FlowDetector, GaussianDetector, InputError, load
from jaxflow.data import ColumnsSpec
from jaxflow.models import MAF, CommitteeMember, CommitteeSpec, GaussianMixtureSpec, GaussianSpec, KernelDensitySpec
from jaxflow.training import FitSpec

SPEC = ColumnsSpec.model_validate(
    {"missing": "median", "types": {"hour": {"kind": "circular", "period": 24}, "amount": {"tails": "arcsinh"}}}
)


def orders(n=300, seed=0):
    """A column of every kind, of which two have gaps, one takes one value only, and one lacks one category or none."""
    rng = np.random.default_rng(seed)
    place = rng.choice(["north", "south", "east"], n).astype(object)
    place[rng.random(n) < 0.2] = None
    return pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "count": rng.integers(0, 5, n),
            "age": rng.integers(18, 80, n).astype("uint8"),
            "flag": rng.random(n) > 0.5,
            "place": pd.Categorical(place),
            "hour": rng.vonmises(0, 1, n) % (2 * np.pi) * 12 / np.pi,
            "amount": np.exp(rng.normal(size=n)),
            "level": rng.choice([1.0, 2.1, 5.7, 10.0], n),
            "warmth": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "version": np.full(n, 3),
            "lone": pd.Series(["x"] * n, dtype="object"),
        }
    )


BRIEFLY = FitSpec(epochs=4, batch_size=64)
COMMITTEE = CommitteeSpec(
    members=(
        CommitteeMember(model=KernelDensitySpec(), view="rank_gaussian"),
        CommitteeMember(model=GaussianMixtureSpec(components=2), view="arcsinh"),
    )
)
DETECTORS = {
    "gaussian": GaussianDetector(GaussianSpec(), columns=SPEC),
    "mixture": GaussianDetector(GaussianMixtureSpec(components=2), columns=SPEC),
    "kernel_density": GaussianDetector(KernelDensitySpec(), columns=SPEC),
    "maf": FlowDetector(MAF(layers=1, hidden=(16,)), train=BRIEFLY, columns=SPEC, calibration_folds=0),
    "committee": FlowDetector(COMMITTEE, columns=SPEC, calibration_folds=0),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_about_as_many_draws_are_flagged_as_rows(name, fresh, tmp_path):
    table = orders()
    detector = fresh(DETECTORS[name]).fit(table)
    draws = detector.sample(400, random_state=0)
    # 5 % were asked for; a density that fits badly is free to find its own draws more normal than the rows.
    assert np.mean(detector.predict(draws) == -1) <= 0.15
    assert np.isfinite(detector.anomaly_score(draws)).all()
    assert draws.dtypes.to_dict() == table.dtypes.to_dict()
    for column in ("count", "age", "flag", "level", "version", "lone"):
        assert draws[column].min() >= table[column].min()
        assert draws[column].max() <= table[column].max()
    assert set(draws["level"]) <= {1.0, 2.1, 5.7, 10.0}
    assert set(draws["place"].dropna()) <= {"north", "south", "east"}
    assert draws["hour"].between(0, 24, inclusive="left").all()
    assert 0.05 < draws["place"].isna().mean() < 0.5
    assert 0.1 < draws["warmth"].isna().mean() < 0.6
    assert not draws.drop(columns=["place", "warmth"]).isna().any(axis=None)
    detector.save(tmp_path / "model")
    again = load(tmp_path / "model")
    pd.testing.assert_frame_equal(again.sample(400, random_state=0), draws)
    assert again.sample_table(3).column_names == list(table.columns)
    assert again.sample(0).dtypes.to_dict() == table.dtypes.to_dict()


def test_columns_whose_grid_nobody_can_be_sure_of_have_its_values_too():
    x = np.column_stack([np.arange(60) % 30, np.random.default_rng(0).normal(size=60)])
    detector = GaussianDetector(random_state=0).fit(x)
    assert not detector.inputs_.encoding.maps[0].is_bounded
    draws = detector.sample(300, random_state=0)[:, 0]
    assert set(draws) <= set(range(30))


@pytest.mark.parametrize("kind", ["refuse", "model"])
def test_where_gaps_are_not_marked_draws_have_none(kind):
    table = orders()[["size", "warmth", "count"]]
    if kind == "refuse":
        table = table.fillna(0.5)
    detector = GaussianDetector(columns=ColumnsSpec(missing=kind)).fit(table)
    assert not detector.sample(200, random_state=0).isna().any(axis=None)


def conditional():
    rng = np.random.default_rng(0)
    hour = rng.uniform(0, 24, 600)
    load = 10 * np.sin(2 * np.pi * hour / 24) + rng.normal(size=600)
    table = pa.table({"hour": hour, "load": load, "site": rng.choice(["a", "b"], 600)})
    spec = {"types": {"hour": {"kind": "circular", "period": 24}}, "context": ["hour", "site"]}
    return table, GaussianDetector(columns=ColumnsSpec.model_validate(spec)).fit(table)


def test_context_columns_are_carried_through():
    table, detector = conditional()
    context = pa.table({"site": ["a", "b"] * 100, "other": [None] * 200, "hour": np.resize([6.0, 18.0], 200)})
    draws = detector.sample(np.int64(200), random_state=0, context=context.drop_columns(["other"]))
    assert draws.schema == table.schema
    assert draws["hour"].to_pylist() == context["hour"].to_pylist()
    assert draws["site"].to_pylist() == context["site"].to_pylist()
    load = np.asarray(draws["load"])
    assert load[::2].mean() > 8
    assert load[1::2].mean() < -8
    assert np.mean(detector.predict(draws) == -1) < 0.15
    noon = detector.sample(5, random_state=0, context=np.array([[12.0, "b"]], dtype=object))
    assert noon["hour"].to_pylist() == [12.0] * 5


def test_a_context_that_does_not_suit_is_refused_in_one_sentence():
    _, detector = conditional()
    hours = {"hour": [1.0, 2.0], "site": ["a", "a"]}
    for context, sentence in (
        (None, "GaussianDetector cannot draw rows by itself: they depend on the context columns hour, site, expected"),
        (pa.table(hours), "context has 2 rows, expected 1 or count, which is 3"),
        (pa.table({"hour": [1.0]}), "context: column site is missing; the columns are hour"),
        (pa.table({"hour": [1.0], "site": ["c"]}), "context: row 1, column site is c, which no training row has"),
        (pa.table({"hour": [None], "site": ["a"]}), "row 1, column hour is missing"),
    ):
        with pytest.raises(InputError, match=f"^{sentence}"):
            detector.sample(3, context=context)
    with pytest.raises(InputError, match=r"^context is given, but GaussianDetector has no context columns: leave it"):
        GaussianDetector().fit(np.random.default_rng(0).normal(size=(50, 2))).sample(3, context=pa.table(hours))


@pytest.mark.parametrize("count", [2.5, "3", -1, True, None, np.float64(2)])
def test_a_count_that_is_none_is_refused(count, gaussian):
    with pytest.raises(InputError, match=r"^count = .*: expected a whole number of at least 0$"):
        gaussian.sample(count)


def test_counts_of_any_library_are_taken(gaussian):
    for count in (np.int64(3), np.uint8(3), np.array(3)):
        assert gaussian.sample(count, random_state=0).shape == (3, 2)


@pytest.fixture(scope="module")
def gaussian():
    return GaussianDetector().fit(np.random.default_rng(0).normal(size=(50, 2)))


@pytest.mark.parametrize("tails", ["none", "arcsinh", "rank_gaussian", "auto"])
def test_whole_numbers_on_no_short_grid_are_drawn_as_such_from_the_least_to_the_greatest(tails, tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"steps": rng.integers(1, 90_000, 200), "price": rng.integers(1, 9000, 200) * 1.0})
    detector = GaussianDetector(columns=ColumnsSpec(tails=tails)).fit(table)
    assert dict(detector.inputs_.describe())["steps"].startswith("continuous")
    draws = detector.sample(2000, random_state=0)
    for name in table:
        assert table[name].min() <= draws[name].min() < draws[name].max() <= table[name].max()
        np.testing.assert_array_equal(draws[name], draws[name].round())
    detector.save(tmp_path / "model")
    pd.testing.assert_frame_equal(load(tmp_path / "model").sample(2000, random_state=0), draws)
