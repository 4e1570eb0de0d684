"""`ActNorm` starts where the first data put it, whichever way round it stands, and stays there."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.bijectors import ActNorm, Bijector, Chain, Inverse, MultiScale

ROWS = np.random.default_rng(0).normal([3.0, -1.0, 0.0], [2.0, 0.5, 1.0], size=(60, 3))
WEIGHT = np.arange(60) % 3 + 0.5


def moments(values, weight):
    mean = np.average(values, axis=0, weights=weight)
    return mean, np.average((values - mean) ** 2, axis=0, weights=weight)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize(
    "make",
    [
        lambda: ActNorm(3),
        lambda: Inverse(ActNorm(3)),
        lambda: Chain([Inverse(ActNorm(3)), ActNorm(3)]),
        lambda: MultiScale([ActNorm(3), Inverse(ActNorm(2))], [3, 2]),
    ],
    ids=["plain", "inverse", "chain", "multi_scale"],
)
def test_what_comes_out_of_the_first_data_is_standardised(make, weight, direction):
    layer: Bijector = make()
    given = None if weight is None else jnp.asarray(weight)
    out = layer.initialize(jnp.asarray(ROWS), None, given, direction=direction)
    np.testing.assert_allclose(getattr(layer, direction)(jnp.asarray(ROWS)), out, atol=1e-12)
    mean, variance = moments(np.asarray(out), weight)
    np.testing.assert_allclose(mean, 0, atol=1e-9)
    np.testing.assert_allclose(variance, 1, rtol=1e-9)
    # Other data later change nothing.
    layer.initialize(jnp.asarray(5 * ROWS + 7), direction=direction)
    np.testing.assert_allclose(getattr(layer, direction)(jnp.asarray(ROWS)), out, atol=1e-12)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_a_deviation_below_the_floor_is_not_believed(direction):
    rows = jnp.array([[5.0, -1e-2], [5.0, 1e-2]])
    out = ActNorm(2, floor=1e-3).initialize(rows, direction=direction)
    np.testing.assert_allclose(out, [[0, -1], [0, 1]], atol=1e-9)
    out = ActNorm(2, floor=0.1).initialize(rows, direction=direction)
    np.testing.assert_allclose(out, [[0, -0.1], [0, 0.1]], atol=1e-9)
