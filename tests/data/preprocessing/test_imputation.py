import numpy as np
import pytest

from jaxflow.data.preprocessing.imputation import Imputer
from jaxflow.errors import InputError

MIX = np.array([[1.0, 0.9, 0.2], [0.0, 0.5, 0.4], [0.0, 0.0, 0.7]])
COVARIANCE = MIX.T @ MIX


def rows(n=4000, share=0.2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)) @ MIX + [1.0, -2.0, 3.0]
    gaps = rng.random(x.shape) < share
    gaps[gaps.all(axis=1), 0] = False
    return x, gaps


def test_mean_and_covariance_are_found_in_spite_of_gaps():
    x, gaps = rows()
    fitted = Imputer.fit(np.where(gaps, 1e9, x), gaps)
    np.testing.assert_allclose(fitted.mean, [1, -2, 3], atol=0.06)
    np.testing.assert_allclose(fitted.covariance, COVARIANCE, atol=0.06)
    complete = Imputer.fit(x, np.zeros(x.shape, bool))
    np.testing.assert_allclose(complete.covariance, np.cov(x.T, ddof=0), atol=1e-5)


def test_conditionals_are_those_of_the_normal_density():
    x, gaps = rows(50)
    density = Imputer(np.array([1.0, -2.0, 3.0]), COVARIANCE)
    seen = 0
    for pattern in density.patterns(gaps):
        precision = np.linalg.inv(COVARIANCE)[np.ix_(pattern.missing, pattern.missing)]
        np.testing.assert_allclose(np.linalg.inv(pattern.covariance), precision, atol=1e-9)
        assert all((np.flatnonzero(gaps[row]) == pattern.missing).all() for row in pattern.rows)
        seen += len(pattern.rows)
    assert seen == gaps.any(axis=1).sum()
    everything = next(density.patterns(np.ones((1, 3), bool)))
    np.testing.assert_array_equal(density.expected(everything, x[:1]), density.mean[None])


def test_donors_give_values_of_the_data_that_fit_the_row():
    x, gaps = rows()
    x[:, 2] = np.round(x[:, 2])
    fitted = Imputer.fit(x, gaps)
    filled = fitted.donated(np.where(gaps, np.nan, x), gaps, np.random.default_rng(1))
    np.testing.assert_array_equal(filled[~gaps], x[~gaps])
    assert np.isin(filled[gaps[:, 2], 2], x[:, 2]).all()
    lacking = gaps[:, 1] & ~gaps[:, 0]
    # 0 and 1 correlate with 0.87, and so they do where 1 was filled in.
    assert np.corrcoef(filled[lacking, 0], filled[lacking, 1])[0, 1] == pytest.approx(0.87, abs=0.05)


def test_values_that_no_row_has_together_are_refused():
    gaps = np.array([[True, False], [False, True]] * 10)
    gaps[3] = True
    z = np.random.default_rng(0).normal(size=gaps.shape)
    with pytest.raises(InputError, match="no training row has all of the 2 values that row 4 lacks"):
        Imputer.fit(z, gaps).donated(z, gaps, np.random.default_rng(0))


@pytest.mark.parametrize(
    "change",
    [
        {"mean": np.zeros(2)},
        {"mean": np.zeros(3, np.float32)},
        {"mean": np.array([0, np.nan, 0])},
        {"covariance": -np.eye(3)},
        {"more": np.zeros(3)},
    ],
)
def test_damaged_arrays_are_refused(change):
    fitted = Imputer(np.zeros(3), COVARIANCE)
    assert Imputer.restored(fitted.arrays(), 3).covariance is COVARIANCE
    with pytest.raises(InputError, match="for missing values"):
        Imputer.restored(fitted.arrays() | change, 3)
