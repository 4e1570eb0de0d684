import numpy as np
import pytest

from jaxflow.data.sets.toy import (
    TOY_DENSITIES,
    checkerboard,
    eight_gaussians,
    gaussian_lesson,
    pinwheel,
    rings,
    spirals,
    toy_dataset,
    two_moons,
)

SIZE = 20_000


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def assert_even(parts, count):
    """Each of `count` equally likely parts has its share, to five standard deviations."""
    shares = np.bincount(parts, minlength=count) / len(parts)
    assert len(shares) == count
    spread = np.sqrt(1 / count * (1 - 1 / count) / len(parts))
    np.testing.assert_allclose(shares, 1 / count, atol=5 * spread)


@pytest.mark.parametrize("name", TOY_DENSITIES)
def test_samples_are_those_of_the_generator_and_stay_on_the_square(name):
    draw = TOY_DENSITIES[name]
    x = draw(np.random.default_rng(3), 5001)
    assert x.shape == (5001, 2)
    assert x.dtype == np.float64
    assert np.mean(np.abs(x) <= 4.0) > 0.999
    assert np.abs(x).max() > 2.5
    np.testing.assert_array_equal(x, draw(np.random.default_rng(3), 5001))
    assert (x != draw(np.random.default_rng(4), 5001)).all()


def test_two_moons_lie_on_two_half_circles(rng):
    x = two_moons(rng, SIZE)
    upper, lower = x - [-1.0, -0.5], x - [1.0, 0.5]
    off_upper, off_lower = np.abs(np.hypot(*upper.T) - 2.0), np.abs(np.hypot(*lower.T) - 2.0)
    on_upper = (off_upper < 1.0) & (upper[:, 1] > -1.0)
    on_lower = (off_lower < 1.0) & (lower[:, 1] < 1.0)
    assert (on_upper | on_lower).all()
    # The sign of y tells the moons apart but near the axis, where they are alike; the mean is that of both.
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=0.08)
    assert np.mean(upper[:, 1][x[:, 0] < -1.5]) > 0
    assert np.mean(lower[:, 1][x[:, 0] > 1.5]) < 0
    nearest = np.minimum(np.where(on_upper, off_upper, np.inf), np.where(on_lower, off_lower, np.inf))
    assert np.sqrt(np.mean(nearest**2)) == pytest.approx(0.2, rel=0.1)


def test_eight_gaussians_have_their_means_spread_and_weights(rng):
    x = eight_gaussians(rng, SIZE)
    angle = np.arange(8) * np.pi / 4
    centres = np.sqrt(8.0) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    nearest = np.argmin(np.linalg.norm(x[:, None] - centres, axis=2), axis=1)
    assert_even(nearest, 8)
    np.testing.assert_allclose(np.std(x - centres[nearest], axis=0), 0.35, rtol=0.03)


def test_pinwheel_has_five_arms_that_are_unbent_to_gaussians(rng):
    x = pinwheel(rng, SIZE) / 2.0
    # For t small, |x| is about r, so that turning back by exp(|x|) / 4 brings every arm onto a ray.
    radius = np.hypot(*x.T)
    angle = np.arctan2(x[:, 1], x[:, 0]) - 0.25 * np.exp(radius)
    arm = np.round(angle / (2 * np.pi / 5)).astype(int)
    off = angle - arm * (2 * np.pi / 5)
    assert_even(arm % 5, 5)
    far = radius > 0.7
    for one in range(5):
        chosen = far & (arm % 5 == one)
        assert np.std(off[chosen] * radius[chosen]) == pytest.approx(0.1, rel=0.1)
    assert radius.mean() == pytest.approx(1.0, abs=0.02)
    assert radius.std() == pytest.approx(0.3, rel=0.05)


def test_checkerboard_fills_every_other_cell_evenly(rng):
    x = checkerboard(rng, SIZE)
    column, row = np.floor((x + 4.0) / 2.0).astype(int).T
    assert ((column + row) % 2 == 0).all()
    assert_even(column * 2 + row // 2, 8)
    within = (x + 4.0) % 2.0
    np.testing.assert_allclose(within.mean(axis=0), 1.0, atol=0.03)
    np.testing.assert_allclose(within.std(axis=0), 2.0 / np.sqrt(12.0), rtol=0.03)


def test_spirals_have_two_arms_along_which_radius_grows_with_angle(rng):
    x = spirals(rng, SIZE)
    radius = np.hypot(*x.T)
    # On the arm of sign s, the angle is -3 r, plus a half turn for s = -1.
    phase = np.exp(1j * (np.arctan2(x[:, 1], x[:, 0]) + 3.0 * radius))
    outer = radius > 1.0
    assert np.mean(np.abs(phase.imag[outer])) < 0.35
    assert_even((phase.real[outer] > 0).astype(int), 2)
    # t = 3 pi sqrt(u) gives E[r^2] = pi^2 / 2, to which the noise adds 2 * 0.1^2.
    assert np.mean(radius**2) == pytest.approx(np.pi**2 / 2 + 0.02, rel=0.02)


def test_rings_have_four_radii(rng):
    x = rings(rng, SIZE)
    radius = np.hypot(*x.T)
    ring = np.round(radius / 0.75).astype(int)
    assert_even(ring - 1, 4)
    assert np.std(radius - 0.75 * ring) == pytest.approx(0.08, rel=0.05)
    assert_even(((np.arctan2(x[:, 1], x[:, 0]) + np.pi) // (np.pi / 2)).astype(int), 4)


@pytest.mark.parametrize("name", TOY_DENSITIES)
def test_toy_dataset_is_the_density_and_uniform_anomalies(name):
    dataset = toy_dataset(name, seed=1, size=500, anomaly_fraction=0.25)
    assert dataset.y is not None
    assert dataset.name == name
    assert dataset.x.shape == (625, 2)
    np.testing.assert_array_equal(dataset.y, [0] * 500 + [1] * 125)
    anomalies = dataset.x[dataset.y == 1]
    assert np.abs(anomalies).max() <= 4.0
    np.testing.assert_allclose(anomalies.std(axis=0), 8 / np.sqrt(12), rtol=0.15)


def test_options_of_the_anomalies_leave_the_normal_points_alone():
    few = toy_dataset("rings", seed=1, size=300, anomaly_fraction=0.01)
    many = toy_dataset("rings", seed=1, size=300, anomaly_fraction=1.0)
    np.testing.assert_array_equal(few.x[:300], many.x[:300])
    assert len(few.x) == 303
    assert len(many.x) == 600
    assert (toy_dataset("rings", seed=2, size=300).x[:300] != few.x[:300]).all()


def test_gaussian_lesson_is_200_normal_points_and_10_outliers():
    dataset = gaussian_lesson(seed=0)
    assert dataset.y is not None
    assert dataset.x.shape == (210, 2)
    assert dataset.y.sum() == 10
    normal = gaussian_lesson(seed=0, size=SIZE).x[:SIZE]
    np.testing.assert_allclose(normal.mean(axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose(np.cov(normal.T), np.eye(2), atol=0.05)


@pytest.mark.parametrize(("subtle", "half_width"), [(False, 6.0), (True, 3.5)])
def test_outliers_of_the_lesson_fill_their_square(subtle, half_width):
    dataset = gaussian_lesson(seed=0, size=1000, anomaly_fraction=1.0, subtle=subtle)
    outliers = np.abs(dataset.x[dataset.y == 1])
    assert 0.98 * half_width < outliers.max() <= half_width
    np.testing.assert_array_equal(dataset.x[:1000], gaussian_lesson(seed=0, size=1000).x[:1000])
