"""Two-dimensional densities to look at, and the data sets made from them.

Every sampler draws independent points that lie on the square [-4, 4]^2, or within a few standard deviations of their
noise of it. The shapes are those of Grathwohl et al. 2019 (FFJORD, section 4.1), scaled to that square.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

from jaxflow.data.dataset import Dataset

Sampler: TypeAlias = Callable[[np.random.Generator, int], Float64[np.ndarray, "size 2"]]

SQUARE = 4.0
LESSON_SQUARE = 6.0
LESSON_SUBTLE_SQUARE = 3.5


def two_moons(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "size 2"]:
    """Two interleaved half circles of radius 2, one opening down around (-1, -1/2), one up around (1, 1/2).

    Noise: N(0, 0.2^2) in each coordinate.
    """
    angle = rng.uniform(0.0, np.pi, size)
    lower = rng.integers(0, 2, size)
    sign = 1.0 - 2.0 * lower
    arc = np.stack([2.0 * np.cos(angle), 2.0 * sign * np.sin(angle)], axis=1)
    centre = np.stack([2.0 * lower - 1.0, lower - 0.5], axis=1)
    return arc + centre + rng.normal(0.0, 0.2, (size, 2))


def eight_gaussians(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "size 2"]:
    """Eight equally likely Gaussians N(c, 0.35^2 I), c on the circle of radius 2 sqrt(2) at every 45 degrees."""
    angle = rng.integers(0, 8, size) * (np.pi / 4)
    centre = 2.0 * np.sqrt(2.0) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return centre + rng.normal(0.0, 0.35, (size, 2))


def pinwheel(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "size 2"]:
    """Five equally likely Gaussian arms, bent around the origin (Johnson et al. 2016).

    r ~ N(1, 0.3^2) along the arm, t ~ N(0, 0.1^2) across it, then a rotation of 2 (r, t) by 72 k degrees plus
    exp(r) / 4 radians.
    """
    arm = rng.integers(0, 5, size)
    radial = 1.0 + 0.3 * rng.standard_normal(size)
    tangential = 0.1 * rng.standard_normal(size)
    angle = arm * (2.0 * np.pi / 5) + 0.25 * np.exp(radial)
    cos, sin = np.cos(angle), np.sin(angle)
    return 2.0 * np.stack([radial * cos - tangential * sin, radial * sin + tangential * cos], axis=1)


def checkerboard(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "size 2"]:
    """Uniform on the eight 2 x 2 cells of [-4, 4]^2 whose column and row numbers add up to an even number."""
    column = rng.integers(0, 4, size)
    row = 2 * rng.integers(0, 2, size) + column % 2
    corner = 2.0 * np.stack([column, row], axis=1) - SQUARE
    return corner + rng.uniform(0.0, 2.0, (size, 2))


def spirals(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "size 2"]:
    """Two equally likely spirals of one and a half turns, each the other turned by 180 degrees.

    t = 3 pi sqrt(u) with u ~ U(0, 1), at radius t / 3 and angle -t, so that the density along the arm is even.
    Noise: N(0, 0.1^2) in each coordinate.
    """
    turn = 3.0 * np.pi * np.sqrt(rng.uniform(0.0, 1.0, size))
    sign = rng.choice([-1.0, 1.0], size)
    arm = sign[:, None] * (turn / 3.0)[:, None] * np.stack([np.cos(turn), -np.sin(turn)], axis=1)
    return arm + rng.normal(0.0, 0.1, (size, 2))


def rings(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "size 2"]:
    """Four equally likely circles around the origin, of radius 0.75, 1.5, 2.25 and 3.

    Noise: N(0, 0.08^2) in each coordinate.
    """
    radius = 0.75 * rng.integers(1, 5, size)
    angle = rng.uniform(0.0, 2.0 * np.pi, size)
    circle = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return circle + rng.normal(0.0, 0.08, (size, 2))


TOY_DENSITIES: dict[str, Sampler] = {
    "two_moons": two_moons,
    "eight_gaussians": eight_gaussians,
    "pinwheel": pinwheel,
    "checkerboard": checkerboard,
    "spirals": spirals,
    "rings": rings,
}


def toy_dataset(name: str, seed: int, size: int = 2000, anomaly_fraction: float = 0.1) -> Dataset:
    """Points of a toy density, followed by anomalies that know nothing of it.

    Args:
        name: a key of `TOY_DENSITIES`.
        seed: the same seed gives the same points; the normal ones do not depend on the anomalies' options.
        size: number of normal points.
        anomaly_fraction: number of anomalies as a fraction of the normal points, rounded to a whole number.

    The anomalies are uniform on [-4, 4]^2, the square that holds the density. Some of them therefore lie on the
    density and are told from normal points by nothing: no detector reaches a ROC-AUC of 1 here.
    """
    return _normal_and_uniform(name, TOY_DENSITIES[name], SQUARE, seed, size, anomaly_fraction)


def gaussian_lesson(seed: int, size: int = 200, anomaly_fraction: float = 0.05, subtle: bool = False) -> Dataset:
    """Points from N(0, I) in two dimensions, followed by outliers uniform on a square around them.

    Args:
        seed: the same seed gives the same points; `subtle` leaves the normal ones as they are.
        size: number of normal points.
        anomaly_fraction: number of outliers as a fraction of the normal points, rounded; by default 10 for 200.
        subtle: draw the outliers from [-3.5, 3.5]^2 instead of [-6, 6]^2, so that more of them hide in the Gaussian.
    """
    square = LESSON_SUBTLE_SQUARE if subtle else LESSON_SQUARE
    return _normal_and_uniform("gaussian_lesson", _standard_normal, square, seed, size, anomaly_fraction)


def _standard_normal(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "size 2"]:
    return rng.standard_normal((size, 2))


def _normal_and_uniform(
    name: str, sampler: Sampler, square: float, seed: int, size: int, anomaly_fraction: float
) -> Dataset:
    normal_rng, anomaly_rng = np.random.default_rng(seed).spawn(2)
    normal = sampler(normal_rng, size)
    anomalies = anomaly_rng.uniform(-square, square, (round(anomaly_fraction * size), 2))
    y = np.repeat(np.array([0, 1], dtype=np.int64), [len(normal), len(anomalies)])
    return Dataset(name, np.concatenate([normal, anomalies]), y, ("x0", "x1"))
