import itertools

import numpy as np
import pytest

from jaxflow.errors import InputError
from jaxflow.evaluation.hit_rate import hit_rate, random_hit_rate


@pytest.mark.parametrize(
    ("truth", "percent", "expected"),
    [
        ((0, 1), 100, 1.0),
        ((0, 2), 100, 0.5),
        ((0, 2), 150, 1.0),  # 3 places
        ((0, 2), 149, 0.5),  # 2 places
        ((3, 4), 100, 0.0),
        ((1,), 150, 0.0),  # 1 place
        ((0, 1, 2, 3, 4), 150, 1.0),  # 7 places of 5
        ((2,), 50, 0.0),  # no place
    ],
)
def test_hits_among_the_first(truth, percent, expected):
    assert hit_rate(np.array([np.inf, 5.0, 4.0, 1.0, -np.inf]), truth, percent) == expected


@pytest.mark.parametrize("percent", [100, 150])
def test_ties_count_as_the_mean_over_their_orders(percent):
    terms, truth = np.array([2.0, 1.0, 1.0, 1.0, 0.0]), (1, 4)
    rates = []
    for order in itertools.permutations([0.1, 0.2, 0.3]):
        untied = terms.copy()
        untied[1:4] += order
        rates.append(hit_rate(untied, truth, percent))
    assert hit_rate(terms, truth, percent) == pytest.approx(np.mean(rates))


@pytest.mark.parametrize("percent", [100, 150])
def test_random_is_the_mean_over_all_orders(percent):
    truth = (0, 3)
    rates = [hit_rate(np.array(order, float), truth, percent) for order in itertools.permutations(range(5))]
    assert random_hit_rate(5, truth, percent) == pytest.approx(np.mean(rates))
    assert hit_rate(np.zeros(5), truth, percent) == pytest.approx(np.mean(rates))


@pytest.mark.parametrize("truth", [(), (5,), (-1,), (1, 1)])
def test_a_truth_about_other_columns_is_refused(truth):
    with pytest.raises(InputError, match="expected different columns from 0 to 4"):
        hit_rate(np.zeros(5), truth)


def test_a_term_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="the term of column 1 is NaN"):
        hit_rate(np.array([1.0, np.nan]), (0,))
