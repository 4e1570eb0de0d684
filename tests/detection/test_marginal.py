"""How often normal rows with gaps are flagged, by a threshold that complete rows have set."""

import numpy as np
import pytest
from scipy.stats import chi2

from jaxflow.data import ColumnsSpec
from jaxflow.detection import GaussianDetector


@pytest.mark.parametrize("tails", ["none", "arcsinh", "rank_gaussian"])
def test_scores_keep_their_mean_however_much_is_missing(tails):
    def rows(seed):
        rng = np.random.default_rng(seed)
        return rng.choice([-5.0, 5.0], (2000, 4)) + 0.3 * rng.normal(size=(2000, 4))  # no value is near the median

    train = rows(0)
    train[np.random.default_rng(1).random(train.shape) < 0.05] = np.nan
    detector = GaussianDetector(columns=ColumnsSpec.model_validate({"missing": "model", "tails": tails})).fit(train)
    x = rows(2)
    means = []
    for missing in range(4):
        x[:, :missing] = np.nan
        means.append(detector.anomaly_score(x).mean())
    assert means == pytest.approx([means[0]] * 4, abs=0.6)


def test_rows_with_gaps_are_flagged_no_more_often_than_complete_ones():
    rng = np.random.default_rng(0)
    mixing = np.eye(4) + rng.normal(size=(4, 4)) / 2
    detector = GaussianDetector(columns=ColumnsSpec(missing="model")).fit(rng.normal(size=(4000, 4)) @ mixing.T)
    x = rng.normal(size=(4000, 4)) @ mixing.T
    rates = []
    for missing in range(4):
        gaps = rng.permuted(np.arange(4) < missing, axis=0)[None] & np.ones((len(x), 1), bool)
        rates.append(np.mean(detector.anomaly_score(np.where(gaps, np.nan, x)) > detector.threshold_))
    # As the docstring of `expected_scores` has it; the threshold itself is known to about a tenth of the rate.
    expected = [chi2.sf(chi2.isf(0.05, 4) - missing, 4 - missing) for missing in range(4)]
    assert rates == pytest.approx(expected, rel=0.3, abs=0.004)
    assert max(rates[1:]) < 0.05
    assert rates == sorted(rates, reverse=True)
