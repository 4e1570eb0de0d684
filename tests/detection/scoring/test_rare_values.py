"""What few rows hold, a flag, a category, a count, a gap, a level: some fold of the calibration lacks it."""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxflow.data import ColumnsSpec, DropConstant, Standardize
from jaxflow.detection import FlowDetector, GaussianDetector
from jaxflow.detection.calibration.out_of_fold import divide_folds
from jaxflow.detection.scoring.read_rows import read_rows
from jaxflow.detection.scoring.table_encoder import fit_inputs, grid_of
from jaxflow.models import MAF, Dequantized, EnsembleSpec, Gaussian, GaussianMixtureSpec, GaussianSpec
from jaxflow.training import FitSpec

FLOW = MAF(layers=1, hidden=(8,))
TRAIN = FitSpec(epochs=2)
N = 60


def table(rare, *, gaps=False, n=N, seed=0):
    """Columns of every kind, each with something that the rows `rare` alone have."""
    rng = np.random.default_rng(seed)
    has = np.isin(np.arange(n), rare)
    level = np.where(has, 7.0, rng.choice([0.0, 1.0, np.pi], n))
    amount = rng.normal(size=n)
    return pd.DataFrame(
        {
            "a": np.where(has & gaps, np.nan, amount),
            "flag": has.astype(float),
            "kind": np.where(has, "y", rng.choice(["x", "z"], n)),
            "count": np.where(has, 37.0, 6.0 * rng.integers(0, 5, n)),  # without it the grid has wider steps
            "level": level,
            "alone": np.where(has, amount, 0.0),  # a number like no other in rows that are alike
            "b": rng.normal(size=n),
        }
    )


@lru_cache
def dequantized(noise):
    """A model that has grids, with nothing in it that takes long to make."""
    return Dequantized(Gaussian(len(noise)), noise, rngs=nnx.Rngs(0))


@settings(max_examples=40, deadline=None)
@given(
    rare=st.sets(st.integers(0, N - 1), min_size=1, max_size=6),
    folds=st.integers(2, 8),
    seed=st.integers(0, 2**16),
    missing=st.sampled_from(["median", "model"]),
    drop=st.booleans(),
    tails=st.sampled_from(["none", "arcsinh", "rank_gaussian"]),
)
def test_folds_have_the_columns_and_grids_of_all_rows(rare, folds, seed, missing, drop, tails):
    columns = ColumnsSpec(missing=missing, tails=tails)
    frame = read_rows(GaussianDetector(), table(list(rare), gaps=True, seed=seed), reset=True, allow_missing=True)
    inputs = fit_inputs(frame, columns, (DropConstant(), Standardize()) if drop else (Standardize(),))
    codes = inputs.encoding.codes(frame)
    model, rng = dequantized(inputs.adapted(FLOW).dequantize), np.random.default_rng(seed)

    def grid(inputs, rows):
        """Which features are on a grid, and how far apart its places are in units of the table."""
        model.step[...], model.origin[...] = jnp.zeros(model.dim), jnp.zeros(model.dim)
        model.prepare(inputs.model_rows(codes)[0])
        model.prepare(inputs.training_rows(rows, rng, codes)[0])  # as the fit does with what it is given
        step = np.asarray(model.step[...], np.float64)
        return grid_of(model), np.where(step > 0, step * np.exp(-inputs.preprocessing.log_slopes[: inputs.dim]), 0)

    expected = grid(inputs, codes)
    for fold in divide_folds(N, folds, rng):
        refitted = inputs.refitted(codes, fold.learn)
        np.testing.assert_array_equal(refitted.sources, inputs.sources)
        np.testing.assert_array_equal(refitted.on_grid, inputs.on_grid)
        assert not refitted.never_seen(codes).any()
        found = grid(refitted, codes[fold.learn])
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


def test_what_can_be_measured_in_a_fold_is_measured_there():
    x = table([3])
    frame = read_rows(GaussianDetector(), x, reset=True, allow_missing=False).pick(("a", "b"))
    for tails in ("none", "arcsinh", "rank_gaussian"):
        inputs = fit_inputs(frame, ColumnsSpec(tails=tails), (DropConstant(), Standardize()))
        codes, learn = inputs.encoding.codes(frame), np.arange(0, N, 2)
        alone = fit_inputs(frame[learn], ColumnsSpec(tails=tails), (DropConstant(), Standardize()))
        np.testing.assert_array_equal(inputs.refitted(codes, learn).transform(codes), alone.transform(codes))


@pytest.mark.parametrize(
    "detector",
    [
        FlowDetector(FLOW, train=TRAIN, columns=ColumnsSpec(missing="model"), calibration_folds=2),
        FlowDetector(EnsembleSpec(member=FLOW, members=2), train=TRAIN, calibration_folds=2),
        FlowDetector(FLOW, train=TRAIN, columns=ColumnsSpec(missing="median", context=("kind", "count"))),
        GaussianDetector(),
        GaussianDetector(GaussianSpec(), columns=ColumnsSpec(missing="median", context=("kind", "flag"))),
        GaussianDetector(GaussianMixtureSpec(components=2), calibration_folds=7),
    ],
    ids=["flow", "ensemble", "conditional flow", "gaussian", "linear gaussian", "mixture"],
)
def test_all_models_are_calibrated(detector):
    columns = ColumnsSpec(missing="median") if detector.columns is None else detector.columns
    x = table([17], gaps=True)
    detector.set_params(columns=columns, random_state=0).fit(x)
    assert detector.calibration_source_ == "out_of_fold"
    scores = detector.calibration_scores_
    assert np.isfinite([*scores, detector.threshold_]).all()
    assert np.argmax(scores) == 17


def test_a_count_that_is_missing_has_a_median_that_there_is():
    """Half a count is on no grid of 256 places, and a flow refuses the column."""
    x = table([17])
    x["count"] = np.where(np.arange(N) < N / 2, np.arange(N) % 3, 200.0 + np.arange(N) % 2)
    x.loc[5, "count"] = np.nan
    frame = read_rows(GaussianDetector(), x, reset=True, allow_missing=True)
    inputs = fit_inputs(frame, ColumnsSpec(missing="median"), (DropConstant(), Standardize()))
    (column,) = [column for column in inputs.encoding.maps if column.name == "count"]
    assert column.fill in (2.0, 200.0)
    dequantized(inputs.adapted(FLOW).dequantize).prepare(inputs.model_rows(inputs.encoding.codes(frame))[0])
