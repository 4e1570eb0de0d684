import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from jaxflow.detection.thresholds.generalized_pareto import Tail, fit_generalized_pareto, fit_tail

SHAPES = (-0.9, -0.5, -0.2, 0.0, 0.1, 0.5, 1.0, 2.0)


def likelihood(y, shape, scale):
    if shape == -1:  # scipy gives the largest number no density
        return -len(y) * math.log(scale)
    return float(np.sum(scipy.stats.genpareto.logpdf(y, shape, scale=scale)))


def sample(seed) -> np.ndarray:
    """Excesses of random size, shape and scale; every fifth sample has many ties."""
    rng = np.random.default_rng(seed)
    count, shape = rng.choice([1, 2, 3, 5, 10, 30, 100, 300]), rng.choice(SHAPES)
    y: Any = scipy.stats.genpareto.rvs(shape, scale=10 ** rng.uniform(-3, 3), size=count, random_state=rng)
    return np.ceil(3 * y / np.median(y)) if seed % 5 == 0 else y


def test_no_likelihood_is_lower_than_scipys():
    compared = 0
    for seed in range(120):
        y = sample(seed)
        shape, _, scale = scipy.stats.genpareto.fit(y, floc=0)
        if shape < -1:  # there the likelihood has no maximum, and scipy stops somewhere
            continue
        ours, theirs = likelihood(y, *fit_generalized_pareto(y)), likelihood(y, shape, scale)
        assert ours >= theirs - 1e-9 * max(1, abs(theirs)), seed
        compared += 1
    assert compared > 60


@pytest.mark.parametrize("shape", SHAPES)
def test_many_excesses_give_the_shape_back(shape):
    y: Any = scipy.stats.genpareto.rvs(shape, scale=3.0, size=20_000, random_state=np.random.default_rng(0))
    found, scale = fit_generalized_pareto(y)
    assert found == pytest.approx(shape, abs=0.05)
    assert scale == pytest.approx(3.0, rel=0.06)


def test_the_unit_of_the_scores_does_not_matter():
    y = sample(3)
    shape, scale = fit_generalized_pareto(y)
    assert fit_generalized_pareto(y * 1e-200) == pytest.approx((shape, scale * 1e-200), rel=1e-9)
    assert fit_generalized_pareto(y * 1e200) == pytest.approx((shape, scale * 1e200), rel=1e-9)


def test_a_tail_without_an_end_is_the_most_likely_of_those():
    ended = 0
    for seed in range(60):
        y = sample(seed)
        free, endless = fit_generalized_pareto(y), fit_generalized_pareto(y, endless=True)
        assert endless[0] >= 0
        assert endless == free or free[0] < 0
        ended += free[0] < 0
        for shape in (0.0, 0.1, 1.0):
            for scale in (0.3, 1.0, 3.0):
                assert likelihood(y, *endless) >= likelihood(y, shape, scale * y.mean()) - 1e-9 * len(y)
    assert ended > 10


@pytest.mark.parametrize(("n", "beyond"), [(2, 1), (3, 1), (7, 3), (12, 6), (19, 9), (30, 10), (400, 20)])
def test_of_few_scores_the_upper_half_makes_up_the_tail_at_most(n, beyond):
    scores = np.arange(n) ** 1.5
    tail = fit_tail(scores, 0.05)
    assert tail is not None
    assert (tail.level, tail.share) == (scores[-1 - beyond], beyond / n)


@pytest.mark.parametrize("excesses", [[8.0, 9.0, 9.5, 10.0], [3.0, 3.0, 3.0], [0.5]])
def test_numbers_that_pile_up_at_the_largest_are_uniform_up_to_it(excesses):
    # Towards shapes below -1 the likelihood would grow without bound.
    assert fit_generalized_pareto(np.array(excesses)) == (-1.0, pytest.approx(max(excesses)))
    shape, scale = fit_generalized_pareto(np.array(excesses), endless=True)
    assert (shape, scale) == (0.0, pytest.approx(np.mean(excesses)))


@pytest.mark.parametrize("shape", [-0.5, 0.0, 1e-9, 0.5])
def test_a_quantile_is_exceeded_by_its_share(shape):
    tail = Tail(10.0, 0.1, shape, 2.0)
    for rate in (0.1, 0.03, 1e-6):
        beyond = scipy.stats.genpareto.sf(tail.quantile(rate) - 10.0, shape, scale=2.0)
        assert 0.1 * beyond == pytest.approx(rate, rel=1e-5)
    assert Tail(0.0, 0.1, 5.0, 1e300).quantile(1e-9) == np.finfo(float).max


def test_what_makes_up_a_tail():
    scores = np.random.default_rng(0).permutation(np.r_[np.arange(100.0), np.inf, np.inf, -np.inf])
    tail = fit_tail(scores, 0.2)
    assert tail is not None
    assert (tail.level, tail.share) == (79.0, 20 / 101)  # of all but those of +inf
    # Scores equal to the level do not exceed it.
    tied = fit_tail(np.array([1.0] * 50 + [2.0] * 45 + [3.0] * 5), 0.1)
    assert tied is not None
    assert (tied.level, tied.share) == (2.0, 0.05)


@pytest.mark.parametrize("scores", [[1.0], [2.0, 2.0], [1.0, np.inf], [-np.inf, 1.0], [-1.7e308, 1.7e308]])
def test_where_nothing_is_to_be_learned(scores):
    assert fit_tail(np.array(scores), 0.1) is None
