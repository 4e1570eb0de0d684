"""As many features as rows: what is fitted then, and what is said."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from jaxflow.data import ColumnsSpec
from jaxflow.detection import DoubtfulFit, FlowDetector, GaussianDetector, Percentile, load
from jaxflow.detection.doubts.few_rows import fewest_rows, suited
from jaxflow.errors import InputError
from jaxflow.models import (
    MAF,
    AutoEncoderSpec,
    CommitteeMember,
    CommitteeSpec,
    GaussianMixtureSpec,
    GaussianSpec,
    KernelDensitySpec,
    PrincipalComponentsSpec,
)
from jaxflow.training import FitSpec


def rows(n, dim, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, dim)) + shift


@pytest.mark.parametrize(("n", "dim"), [(40, 30), (40, 60), (7, 4)])
def test_the_default_gaussian_shrinks_its_covariance_and_says_so(n, dim):
    with pytest.warns(DoubtfulFit, match=rf"{n} rows \({n - -(-n // 5)} where .* few for {dim} features: .* is shrunk"):
        detector = GaussianDetector(threshold=Percentile(percentile=80)).fit(rows(n, dim))
    assert detector.threshold_ < 10 * dim
    assert np.mean(detector.predict(rows(300, dim, 1, 3.0)) == -1) > 0.9
    assert detector.model_spec_.covariance == "ledoit_wolf"
    z = detector.preprocessing_.transform(rows(n, dim))
    expected = LedoitWolf(assume_centered=True).fit(z).covariance_
    factor = np.asarray(detector.model_.factor[...], np.float64)
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=1e-4, atol=1e-4)
    assert len(detector.doubts_) == 1


def test_a_table_of_many_categories_has_a_threshold_that_rows_reach(tmp_path):
    rng = np.random.default_rng(0)
    x = pd.DataFrame({f"c{i}": [f"k{place}" for place in rng.integers(0, 10, 100)] for i in range(12)})
    with pytest.warns(DoubtfulFit, match="few for 108 features"):
        detector = GaussianDetector().fit(x)
    assert detector.threshold_ < 1e4
    assert (detector.predict(x.head(5).assign(c3="new")) == -1).all()
    detector.save(tmp_path / "model")
    assert load(tmp_path / "model").doubts_ == ()


def test_enough_rows_are_left_alone():
    x = rows(300, 5)
    detector = GaussianDetector(threshold=Percentile()).fit(x)  # a warning would be an error
    said = GaussianDetector(GaussianSpec(covariance="full"), threshold=Percentile()).fit(x)
    np.testing.assert_array_equal(detector.calibration_scores_, said.calibration_scores_)
    assert (detector.model_spec_.covariance, detector.doubts_) == ("full", ())


@given(learn=st.integers(3, 10**6), folds=st.integers(0, 10), share=st.sampled_from([0.0, 0.1, 0.5]))
def test_the_smallest_fit_has_the_rows_that_are_left(learn, folds, share):
    fewest = fewest_rows(learn, folds if folds > 1 else 0, share)
    assert 0 <= fewest <= learn
    assert folds > 1 or share or fewest == learn


SAID = GaussianSpec(covariance="full")
RIDGE = GaussianSpec(regularization=0.01)
COMMITTEE = CommitteeSpec(members=(CommitteeMember(model=GaussianSpec()), CommitteeMember(model=KernelDensitySpec())))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (GaussianSpec(), "shrunk"),
        (SAID, "the covariance, full, is all but singular: choose covariance = ledoit_wolf"),
        (RIDGE, "the covariance, full, is all but singular"),
        (GaussianSpec(covariance="robust"), "the covariance, robust, is all but singular"),
        (GaussianMixtureSpec(), "or take a Gaussian with covariance = ledoit_wolf"),
        (PrincipalComponentsSpec(), "or take a Gaussian"),
        (MAF(), "or take a Gaussian"),
        (AutoEncoderSpec(), "much of what the model finds in them is chance; take more rows or leave columns out"),
        (COMMITTEE, "shrunk"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_each_model_says_what_helps(spec, sentence):
    enough, none = suited(spec, 200, 60, 20, 10)
    assert enough is spec
    assert none is None
    few, said = suited(spec, 200, 59, 20, 10)
    assert said is not None
    assert said.startswith("200 rows (59 where some are held out) to learn from are few for 30 features")
    assert sentence in said
    assert (few is not spec) == (sentence == "shrunk")


def test_a_covariance_for_few_rows_needs_no_word():
    for form in ("diagonal", "ledoit_wolf"):
        spec = GaussianSpec.model_validate({"covariance": form})
        assert suited(spec, 20, 16, 50, 0) == (spec, None)


@pytest.mark.parametrize(
    ("spec", "columns", "sentence"),
    [
        (GaussianMixtureSpec(), None, r"components = 8: expected at most .* there are 9 rows \(7 where some are held"),
        (GaussianSpec(covariance="robust"), None, r"robust covariance of 8 features .* there are 9 rows \(7 where"),
        (
            GaussianSpec(),
            ("x0", "x1", "x2", "x3", "x4", "x5"),
            "regression on 6 context features .* expected at least 8",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_anything_is(spec, columns, sentence, monkeypatch):
    monkeypatch.setattr(GaussianDetector, "_learn", None)
    x = pd.DataFrame(rows(9, 8), columns=[f"x{i}" for i in range(8)])
    with pytest.raises(InputError, match=sentence):
        GaussianDetector(spec, columns=None if columns is None else ColumnsSpec(context=columns)).fit(x)


def test_a_flow_says_it_too():
    detector = FlowDetector(MAF(layers=1, hidden=(8,)), train=FitSpec(epochs=2), calibration_folds=2)
    with pytest.warns(
        DoubtfulFit, match=r"20 rows \(9 where some are held out\) to learn from are few for 50 features"
    ):
        detector.set_params(threshold=Percentile(percentile=50)).fit(rows(20, 50))


@pytest.mark.filterwarnings("ignore:200 rows", "ignore:a text that no training row has")
def test_a_threshold_out_of_reach_is_said():
    """Every name is there once, so a fold has seen none of the others."""
    x = pd.DataFrame({"a": rows(200, 1)[:, 0], "name": [f"n{i % 150}" for i in range(200)]})
    with pytest.warns(DoubtfulFit, match=r"the threshold is .*, which hardly a row reaches: \d+ of the 200"):
        GaussianDetector(GaussianSpec(covariance="full", regularization=1e-6)).fit(x)
