import numpy as np
import pytest

from jaxflow.errors import InputError
from jaxflow.evaluation.density_plots import plot_density_2d

RNG = np.random.default_rng(0)
X = np.r_[RNG.normal(size=(60, 2)), RNG.uniform(3, 6, (5, 2))]
LABELS = np.r_[np.zeros(60, int), np.ones(5, int)]
THRESHOLD = -5.0


def gaussian(z):
    return -0.5 * np.sum(z**2, axis=1) - np.log(2 * np.pi)


def uniform(z):
    return np.where(np.all(np.abs(z) < 1, axis=1), -np.log(4.0), -np.inf)


FLAGGED = gaussian(X) < THRESHOLD


def _legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def _threshold_contour(figure):
    """Vertices of the one contour that is a dashed line and not a filled level."""
    (contour,) = [item for item in figure.axes[0].collections if getattr(item, "filled", None) is False]
    vertices = np.concatenate([path.vertices for path in contour.get_paths()])
    assert len(vertices) > 10
    return vertices


def test_rows_of_each_kind_have_their_own_marker_and_mistakes_a_mark(assert_legible):
    flagged = FLAGGED ^ np.isin(np.arange(65), [3, 62])  # a false alarm, and an anomaly that is missed
    figure = plot_density_2d(gaussian, X, LABELS, flagged, THRESHOLD, feature_names=("width (cm)", "mass (g)"))
    assert_legible(figure)
    axes = figure.axes[0]
    normal, anomalous, alarms, missed = axes.collections[1:5]
    assert np.array_equal(normal.get_offsets(), X[:60])
    assert np.array_equal(anomalous.get_offsets(), X[60:])
    assert np.array_equal(alarms.get_offsets(), X[:60][flagged[:60]])
    assert np.array_equal(missed.get_offsets(), X[[62]])
    assert len({len(np.asarray(marks.get_paths()[0].vertices)) for marks in (normal, anomalous, missed)}) == 3
    assert not np.array_equal(normal.get_facecolor(), anomalous.get_facecolor())
    assert len(alarms.get_facecolor()) == len(missed.get_facecolor()) == 0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width (cm)", "mass (g)")
    alarm = f"false alarm ({flagged[:60].sum()})"
    assert _legend(figure) == ["normal (60)", "anomaly (5)", alarm, "missed (1)", "threshold (-5.000 nats)"]
    assert figure.axes[1].get_ylabel() == "log-density (nats)"


def test_of_many_rows_without_a_mark_some_are_drawn_and_the_legend_says_how_many(assert_legible):
    x = RNG.normal(size=(1000, 2))
    flagged = gaussian(x) < THRESHOLD
    figure = plot_density_2d(gaussian, x, None, flagged, THRESHOLD)
    assert_legible(figure)
    rows, rings = figure.axes[0].collections[1:3]
    assert np.array_equal(rings.get_offsets(), x[flagged])
    drawn = {tuple(row) for row in np.asarray(rows.get_offsets())}
    assert {tuple(row) for row in x[flagged]} <= drawn
    assert 200 <= len(drawn) - flagged.sum() <= 300
    assert _legend(figure)[:2] == [f"row ({len(drawn)} of 1,000)", f"flagged ({flagged.sum()})"]


def test_the_scale_of_the_density_has_whole_numbers():
    bar = plot_density_2d(gaussian, X, LABELS, FLAGGED, THRESHOLD).axes[1]
    low, high = bar.get_ylim()
    ticks = list(bar.get_yticks())
    assert len(ticks) >= 4
    assert low <= min(ticks) < max(ticks) <= high
    assert ticks == [round(tick) for tick in ticks]


def test_the_threshold_contour_is_where_the_density_is_the_threshold():
    vertices = _threshold_contour(plot_density_2d(gaussian, X, LABELS, FLAGGED, THRESHOLD))
    radius = np.sqrt(2 * (-THRESHOLD - np.log(2 * np.pi)))
    assert np.hypot(*vertices.T) == pytest.approx(np.full(len(vertices), radius), abs=0.02)


@pytest.mark.parametrize("threshold", [-2.0, -30.0])
def test_a_density_with_an_edge_has_a_contour_along_it(assert_legible, threshold):
    x = RNG.uniform(-1.5, 1.5, (50, 2))
    figure = plot_density_2d(uniform, x, None, np.isinf(uniform(x)), threshold)
    assert_legible(figure)
    vertices = _threshold_contour(figure)
    assert np.max(np.abs(vertices), axis=1) == pytest.approx(np.ones(len(vertices)), abs=0.05)
    assert _legend(figure)[0] == "row (50)"


def test_a_threshold_that_no_density_reaches_is_mentioned(assert_legible):
    figure = plot_density_2d(gaussian, X, None, np.ones(65, bool), 3.0)
    assert_legible(figure)
    assert "the threshold (3.000 nats) lies outside" in figure.axes[0].texts[0].get_text()
    assert len(_legend(figure)) == 2


def test_a_row_far_away_does_not_shrink_the_rest(assert_legible):
    x = np.r_[X, [[1e4, 0.0]]]
    figure = plot_density_2d(gaussian, x, None, np.zeros(66, bool))
    assert_legible(figure)
    assert figure.axes[0].get_xlim()[1] < 30
    assert figure.axes[0].texts[0].get_text() == "1 row lies outside the window"


def test_all_rows_are_inside_when_none_is_far():
    # Five times as long as the bulk is not far.
    x = np.r_[RNG.uniform(0, 1, (100, 2)), [[5.0, -3.0]]]
    figure = plot_density_2d(gaussian, x, None, np.zeros(101, bool))
    for limits, values in zip((figure.axes[0].get_xlim(), figure.axes[0].get_ylim()), x.T, strict=True):
        assert limits[0] < values.min()
        assert values.max() < limits[1]


def test_a_flat_density_and_a_constant_feature(assert_legible):
    x = np.c_[np.linspace(0, 1, 5), np.full(5, 2.0)]
    assert_legible(plot_density_2d(lambda z: np.zeros(len(z)), x, None, np.zeros(5, bool)))


def test_densities_so_low_that_a_difference_of_one_is_lost(assert_legible):
    assert_legible(plot_density_2d(lambda x: np.full(len(x), -1e60), X, None, np.zeros(65, bool)))


def test_the_grid_has_the_precision_of_the_data():
    seen = []

    def density(z):
        seen.append(z.dtype)
        return gaussian(z)

    plot_density_2d(density, X.astype(np.float32), None, np.zeros(65, bool))
    assert seen == [np.float32]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.ones((65, 3))}, r"x has shape \(65, 3\): expected at least one row of two features"),
        ({"x": np.ones((0, 2))}, r"x has shape \(0, 2\)"),
        ({"x": np.full((65, 2), np.nan)}, "x has 130 cells that are not finite"),
        ({"labels": np.zeros(3, int)}, r"labels has shape \(3,\) for 65 rows"),
        ({"labels": np.full(65, 2)}, "label = 2 in row 0"),
        ({"flagged": np.zeros(3, bool)}, r"flagged has shape \(3,\) for 65 rows"),
        ({"flagged": np.ones(65, int)}, "flagged is of type int64: expected booleans"),
        ({"feature_names": ("a",)}, r"feature_names = \['a'\]: expected two names"),
        ({"log_density": lambda z: np.full(len(z), np.nan)}, "log_density is NaN at 40000 of 40000 points"),
        ({"log_density": lambda z: np.full(len(z), -np.inf)}, "the highest log-density around the data is -inf"),
        ({"log_density": lambda z: z}, r"log_density gave shape \(40000, 2\) for 40000 points"),
    ],
)
def test_refusals(changes, message):
    good = {"log_density": gaussian, "x": X, "labels": LABELS, "flagged": FLAGGED}
    with pytest.raises(InputError, match=message):
        plot_density_2d(**(good | changes))
