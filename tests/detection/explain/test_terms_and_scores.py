"""Contributions are terms of the score in the units of the data, whatever `tails` and preprocessing do to a column."""

from typing import Any

import numpy as np
import pytest

from jaxflow.data import ColumnsSpec, MinMax, Standardize
from jaxflow.detection import FlowDetector, GaussianDetector
from jaxflow.models import (
    MAF,
    EnsembleSpec,
    GaussianMixtureSpec,
    GaussianSpec,
    KernelDensitySpec,
    RealNVP,
)
from jaxflow.training import FitSpec

HOW: dict[str, Any] = {"calibration_folds": 0, "random_state": 0}
TRAIN = FitSpec(epochs=2, batch_size=64)
SINGLE = MAF(layers=1, hidden=(8,))
ENSEMBLE = EnsembleSpec(member=MAF(layers=1, hidden=(8,), permutation="random"), members=2)


def flow(spec, **more):
    return FlowDetector(spec, train=TRAIN, **HOW, **more)


DENSITIES = {
    "single": lambda **more: flow(SINGLE, **more),
    "ensemble": lambda **more: flow(ENSEMBLE, **more),
    "coupling": lambda **more: flow(RealNVP(layers=2, hidden=(8,)), **more),
    "gaussian": lambda **more: GaussianDetector(**HOW, **more),
    "diagonal": lambda **more: GaussianDetector(GaussianSpec(covariance="diagonal"), **HOW, **more),
    "mixture": lambda **more: GaussianDetector(GaussianMixtureSpec(components=2), **HOW, **more),
    "kernels": lambda **more: GaussianDetector(KernelDensitySpec(rows=100), **HOW, **more),
}


def rows(seed, n):
    """Heavy-tailed columns that depend on each other, one of them far from 0 and of another scale."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.8, 0.0], [0.0, 0.5, 0.6], [0.0, 0.0, 1.0]])
    return np.sinh(1.5 * normal) * [1.0, 100.0, 0.01] + [0.0, 500.0, 1.0]


@pytest.fixture(
    scope="module",
    params=[(name, tails) for name in DENSITIES for tails in ("none", "arcsinh", "rank_gaussian")],
    ids="-".join,
)
def fitted(request):
    name, tails = request.param
    steps = (MinMax(),) if tails == "arcsinh" else (Standardize(),)
    columns = ColumnsSpec.model_validate({"tails": tails})
    return DENSITIES[name](columns=columns, preprocessing=steps).fit(rows(0, 200))


def test_terms_are_those_of_the_score(fitted):
    x = rows(1, 40)
    scores = fitted.anomaly_score(x)
    for method in ("auto", "replacement"):
        explanation = fitted.explain(x, method)
        terms = explanation.contributions
        if explanation.method == "chain_rule":
            np.testing.assert_allclose(terms.sum(axis=1), scores, rtol=1e-4, atol=1e-3)
            continue
        # What a column is compared with is the same for every value that it takes in a row.
        for column in range(3):
            other = x.copy()
            other[:, column] = np.roll(x[:, column], 1)
            differ = terms[:, column] - fitted.explain(other, method).contributions[:, column]
            expected = scores - fitted.anomaly_score(other)
            lowest = (differ == 0) | (np.minimum(terms[:, column], terms[:, column] - differ) <= 0)
            compared = ~lowest if explanation.method == "replacement" else np.ones(len(x), bool)
            assert compared.mean() > 0.5
            np.testing.assert_allclose(differ[compared], expected[compared], rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize("tails", ["none", "arcsinh", "rank_gaussian"])
@pytest.mark.parametrize("spec", [SINGLE, ENSEMBLE], ids=["single", "ensemble"])
def test_chain_rule_terms_of_counts_texts_and_gaps_sum_to_the_score(spec, tails):
    def table(seed, n):
        rng, x = np.random.default_rng(seed), rows(seed, n)
        gaps = np.where(rng.random(n) < 0.1, np.nan, x[:, 0])
        return np.array([gaps, x[:, 1], rng.poisson(3, n), rng.choice(["a", "b"], n)], dtype=object).T

    columns = ColumnsSpec.model_validate({"tails": tails, "missing": "median"})
    detector = flow(spec, columns=columns).fit(table(0, 400))
    x = table(1, 60)
    explanation = detector.explain(x)
    assert explanation.method == "chain_rule"
    scores = detector.anomaly_score(x)
    assert np.max(scores) < 1e4  # no row has a value that was never seen
    np.testing.assert_allclose(explanation.contributions.sum(axis=1), scores, rtol=1e-4, atol=1e-3)


def test_conditional_terms_are_densities_of_the_column_in_its_own_units():
    for tails in ("none", "arcsinh", "rank_gaussian"):
        detector = DENSITIES["gaussian"](columns=ColumnsSpec.model_validate({"tails": tails})).fit(rows(0, 200))
        grid = 500 + 100 * np.sinh(np.linspace(-12, 12, 4001))
        line = np.tile(rows(1, 1), (len(grid), 1))
        line[:, 1] = grid
        density = np.exp(-detector.explain(line).contributions[:, 1])
        assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.02)
