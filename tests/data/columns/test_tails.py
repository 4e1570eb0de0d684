"""Which map suits the tails of a column."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxflow.data import ColumnsSpec
from jaxflow.data.columns.numeric_maps import AnyColumnMap
from jaxflow.data.columns.tails import fit_tails
from jaxflow.data.encoding import Encoding
from jaxflow.data.tables.frame import as_frame

HEAVY = {
    "lognormal": lambda rng, n: np.exp(2 * rng.normal(size=n)),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "sentinels": lambda rng, n: np.where(np.arange(n) < 8, -9999.0, rng.normal(size=n)),
    "about a sentinel": lambda rng, n: np.where(np.arange(n) < 8, -9999.0 + rng.normal(size=n), rng.normal(size=n)),
    "one value": lambda rng, n: np.where(np.arange(n) == 5, 1e12, rng.normal(size=n)),
}


@pytest.mark.parametrize(("n", "most"), [(5, 0.0), (30, 0.05), (100, 0.02), (1000, 0.0)])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_normal_columns_stay_as_they_are(unit, n, most):
    """All but a few of small ones: a gain of two standard errors comes by chance too."""
    rng = np.random.default_rng(0)
    columns = (rng.normal(size=(100, n)) + 3.0) * unit
    bent = [fit_tails(values, name="a", fill=0.0).kind != "continuous" for values in columns]
    assert np.mean(bent) <= most


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**20), n=st.sampled_from([200, 1000, 5000]), unit=st.sampled_from([1e-3, 1.0, 1e3]))
@pytest.mark.parametrize("kind", HEAVY)
def test_heavy_tails_and_sentinels_are_drawn_in(kind, seed, n, unit):
    values = unit * HEAVY[kind](np.random.default_rng(seed), n)
    column = fit_tails(values, name="a", fill=0.0)
    assert column.kind in ("arcsinh", "rank_gaussian")
    # What most rows have takes up some of the scale that all of them have.
    z = column.expand(values)[:, 0]
    assert np.subtract(*np.quantile(z, [0.75, 0.25])) > 0.3 * z.std()


def test_auto_is_decided_for_each_column_and_kept_as_decided():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=400), np.exp(2 * rng.normal(size=400)), rng.integers(0, 2, 400)])
    frame = as_frame(x, ("plain", "amount", "flag"))
    maps = Encoding.fit(frame, ColumnsSpec(tails="auto")).maps
    assert [column.kind for column in maps][::2] == ["continuous", "discrete"]
    assert maps[1].kind in ("arcsinh", "rank_gaussian")
    (one,) = [
        column
        for column in Encoding.fit(frame, ColumnsSpec.model_validate({"types": {"amount": {"tails": "auto"}}})).maps
        if column.name == "amount"
    ]
    assert one == maps[1]


def test_a_value_whose_square_overflows_is_drawn_in():
    values = np.append(np.random.default_rng(0).normal(size=200), 1e200)
    assert fit_tails(values, name="a", fill=0.0).kind != "continuous"


@pytest.mark.parametrize("values", [np.arange(4.0), np.append(np.zeros(40), [1.5, np.pi])])
def test_what_halves_cannot_tell_stays_as_it_is(values):
    column: AnyColumnMap = fit_tails(values, name="a", fill=0.0)
    assert column.expand(values).shape == (len(values), 1)
