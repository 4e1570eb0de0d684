import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxflow.evaluation.score_axis import score_axis

RNG = np.random.default_rng(0)
BULK = RNG.normal(40, 3, 2000)


def test_close_scores_get_a_linear_axis_that_shows_them_all():
    axis = score_axis([BULK, BULK + 5], threshold=55.0)
    assert axis.linear
    assert axis.low < BULK.min()
    assert axis.high > max(BULK.max() + 5, 55.0)
    assert np.diff(axis.edges(10)) == pytest.approx(np.full(10, (axis.high - axis.low) / 10))


def test_far_scores_get_a_logarithmic_tail_and_the_bulk_keeps_its_share():
    axis = score_axis([BULK, np.array([1e3, 1e12, np.inf])], threshold=50.0)
    assert not axis.linear
    positions = axis.forward(np.array([axis.low, *np.quantile(BULK, [0.01, 0.99]), axis.high]))
    assert (positions[2] - positions[1]) / (positions[3] - positions[0]) > 0.15
    # 1e12 is beyond the farthest position and belongs to the bar at the edge.
    assert 1e6 < axis.high < 1e12


@pytest.mark.parametrize("far", [50.0, 1e9])
def test_forward_and_inverse_cancel_and_keep_the_order(far):
    axis = score_axis([BULK, np.array([far])], threshold=50.0)
    scores = np.linspace(axis.low, axis.high, 101)
    positions = axis.forward(scores)
    assert np.all(np.diff(positions) > 0)
    assert axis.inverse(positions) == pytest.approx(scores, rel=1e-9)


@pytest.mark.parametrize("far", [50.0, -1e9, 1e9])
def test_edges_end_where_the_axis_does_and_are_equally_wide_on_it(far):
    axis = score_axis([BULK, np.array([far])], threshold=50.0)
    edges = axis.edges(50)
    assert (edges[0], edges[-1]) == (axis.low, axis.high)
    widths = np.diff(axis.forward(edges))
    assert widths == pytest.approx(np.full(50, widths[0]), rel=1e-3)


@pytest.mark.parametrize("threshold", [1e15, -1e15])
def test_a_finite_threshold_is_inside_even_beyond_all_scores(threshold):
    axis = score_axis([BULK, np.array([1e3])], threshold)
    assert axis.low < threshold < axis.high


def test_the_bars_at_the_edges_touch_nothing_else():
    axis = score_axis([BULK, np.array([-1e12, 1e12])], threshold=50.0)
    left, right = axis.overflow(-1), axis.overflow(1)
    assert left[0] < left[1] < axis.low < axis.high < right[0] < right[1]


@pytest.mark.parametrize(
    "groups",
    [
        [np.full(5, 3.0)],
        [np.array([np.inf]), np.array([1.0, 2.0])],
        [np.array([np.inf])],
        [np.array([]), np.array([0.0])],
        [np.r_[np.zeros(90), np.arange(10.0)], np.array([1e7])],
        [np.array([1e300, 1e301, 1.1e301])],
        [np.repeat([1e6, np.nextafter(1e6, np.inf)], [5, 3]), np.array([1e7])],
    ],
    ids=["constant", "bulk infinite", "all infinite", "bulk empty", "mostly equal", "huge", "equal up to rounding"],
)
def test_scores_without_a_spread_still_get_an_axis(groups):
    axis = score_axis(groups, threshold=np.inf)
    assert np.isfinite([axis.low, axis.high]).all()
    assert np.all(np.diff(axis.edges(50)) > 0)


def test_mostly_equal_scores_do_not_flatten_the_others():
    assert not score_axis([np.r_[np.zeros(900), np.linspace(0, 9, 100)], np.array([1e7])], threshold=5.0).linear


def test_ticks_are_in_order_apart_and_inside():
    axis = score_axis([BULK, np.array([-1e5, 1e8])], threshold=50.0)
    ticks = np.array(axis.ticks())
    assert len(ticks) >= 4
    assert ticks.min() >= axis.low
    assert ticks.max() <= axis.high
    ends = axis.forward(np.array([axis.low, axis.high]))
    assert np.diff(axis.forward(ticks)).min() >= 0.1 * np.ptp(ends) - 1e-9


def test_applied_to_axes_it_is_their_scale():
    axis = score_axis([BULK, np.array([1e8])], threshold=50.0)
    axes = Figure().add_subplot()
    axis.apply(axes)
    assert axes.get_xscale() == "function"
    assert axes.get_xaxis().get_transform().transform(np.array([1e5])) == axis.forward(np.array([1e5]))
    assert [label.get_text() for label in axes.get_xticklabels()][-1] == "$10^{8}$"
