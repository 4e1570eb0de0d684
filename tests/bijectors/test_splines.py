"""Rational-quadratic splines at their knots and beyond, and beside distrax's."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.bijectors import CircularRationalQuadratic, RationalQuadraticSpline
from tests.compiled import normal

BINS = 5


def spline(bound: float = 2.0) -> RationalQuadraticSpline:
    return RationalQuadraticSpline(BINS, bound)


def parameters(count: int, scale: float = 1.0, rows: int = 1):
    return scale * normal(0, (rows, count))


def knots(sizes, bound: float = 2.0):
    """Where bins of these sizes meet, the two ends included."""
    inner = jnp.cumsum(sizes[:-1]) - bound
    return jnp.concatenate([jnp.array([-bound], inner.dtype), inner, jnp.array([bound], inner.dtype)])


def test_equals_distrax():
    z = jnp.linspace(-3, 3, 301)
    raw = parameters(3 * BINS - 1)[0]
    # distrax has two slopes more, at the ends, and sets them to 1 as well.
    theirs = distrax.RationalQuadraticSpline(
        jnp.concatenate([raw[: 2 * BINS], jnp.zeros(1), raw[2 * BINS :], jnp.zeros(1)]),
        range_min=-2.0,
        range_max=2.0,
        boundary_slopes="identity",
        min_bin_size=1e-3,
        min_knot_slope=1e-3,
    )
    repeated = jnp.broadcast_to(raw, (301, raw.size))
    for ours, expected in (
        (spline().forward_and_log_det(z, repeated), theirs.forward_and_log_det(z)),
        (spline().inverse_and_log_det(z, repeated), theirs.inverse_and_log_det(z)),
    ):
        np.testing.assert_allclose(ours[0], expected[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(ours[1], expected[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_at_the_exact_knots_all_is_finite_and_meets(dtype, scale):
    made = spline()
    raw = parameters(made.num_parameters, scale)[0].astype(dtype)
    x, y = knots(made._spline(raw).widths), knots(made._spline(raw).heights)
    repeated = jnp.broadcast_to(raw, (BINS + 1, raw.size))

    for method, there, back in ((made.forward_and_log_det, x, y), (made.inverse_and_log_det, y, x)):
        values, log_det = method(there, repeated)
        assert values.dtype == log_det.dtype == dtype
        np.testing.assert_allclose(values, back, atol=1e-5 if dtype == np.float32 else 1e-10)
        gradients = jax.grad(lambda v, p, m=method: sum(a.sum() for a in m(v, p)), argnums=(0, 1))(there, repeated)
        for array in (values, log_det, *gradients):
            assert np.isfinite(array).all()


@pytest.mark.parametrize("made", [RationalQuadraticSpline(), CircularRationalQuadratic()], ids=["line", "circle"])
@pytest.mark.parametrize("scale", [1.0, 3.0, 10.0])
def test_next_to_knots_and_ends_nothing_is_lost_in_single_precision(made, scale):
    """Rounded sums of bins disagree on where a bin ends, and outside of its bin a steep spline is not monotone."""
    count = 3000
    raw = scale * normal(1, (count, made.num_parameters), jnp.float32)
    end = made.bound if isinstance(made, RationalQuadraticSpline) else np.float32(made.half_circle)
    last = np.nextafter(np.float32(end), np.float32(0))
    pieces = made._spline(raw)
    for method, sizes in (("forward_and_log_det", pieces.widths), ("inverse_and_log_det", pieces.heights)):
        inner = jnp.cumsum(sizes[:, :-1], axis=-1) - end
        there = jnp.concatenate([inner, jnp.full((count, 1), last), jnp.full((count, 1), -last)], axis=-1)
        there = jnp.concatenate([jnp.nextafter(there, -jnp.inf), there, jnp.nextafter(there, jnp.inf)], axis=-1)
        repeated = jnp.broadcast_to(raw[:, None], (*there.shape, raw.shape[-1]))
        apply = jax.jit(getattr(made, method))
        gradient = jax.jit(jax.grad(lambda v, p, apply=apply: sum(a.sum() for a in apply(v, p)), argnums=(0, 1)))
        inside = jnp.abs(there) <= end
        for array in (*apply(there, repeated), *gradient(there, repeated)):
            assert array.dtype == np.float32
            assert np.isfinite(np.asarray(array)[np.asarray(inside)]).all()


def test_where_the_spline_is_steep_its_inverse_loses_no_digits():
    """Of the two forms of the root each loses digits where the other is to be taken."""
    made = RationalQuadraticSpline(bins=4)
    raw = jnp.concatenate([jnp.zeros(8), jnp.full(3, 1000.0)])  # slopes of 1000 at the knots
    x = jnp.asarray(np.linspace(-4.9, 4.9, 4001), jnp.float32)
    single, exact = (
        jax.jit(made.inverse_and_log_det)(x.astype(dtype), jnp.broadcast_to(raw.astype(dtype), (4001, 11)))
        for dtype in (jnp.float32, jnp.float64)
    )
    steep = np.asarray(exact[1]) < 0  # elsewhere the rounding of x itself is magnified
    assert steep.sum() > 500
    np.testing.assert_allclose(np.asarray(single[0])[steep], np.asarray(exact[0])[steep], rtol=0, atol=4e-6)


def test_the_derivative_has_no_jump_at_the_knots_nor_at_the_ends():
    made = spline()
    raw = parameters(made.num_parameters)[0]
    x = knots(made._spline(raw).widths)
    repeated = jnp.broadcast_to(raw, (BINS + 1, raw.size))
    _, left = made.forward_and_log_det(x - 1e-9, repeated)
    _, right = made.forward_and_log_det(x + 1e-9, repeated)
    np.testing.assert_allclose(left, right, atol=1e-6)
    np.testing.assert_allclose([left[0], right[-1]], [0, 0], atol=1e-6)
    slopes = 1e-3 + jax.nn.softplus(raw[2 * BINS :] + np.log(np.expm1(1 - 1e-3)))
    np.testing.assert_allclose(jnp.exp(right[1:-1]), slopes, rtol=1e-6)


def test_the_identity_outside():
    z = jnp.array([-1e6, -2.0, 2.0, 3.5])
    x, log_det = spline().forward_and_log_det(z, parameters(3 * BINS - 1, rows=4))
    np.testing.assert_array_equal(x, z)
    np.testing.assert_array_equal(log_det, np.zeros(4))


def test_the_ends_of_a_circle_are_one_point():
    made = CircularRationalQuadratic(BINS)
    raw = jnp.broadcast_to(parameters(made.num_parameters)[0], (2, made.num_parameters))
    ends = jnp.array([-jnp.pi, jnp.pi])
    for method in (made.forward_and_log_det, made.inverse_and_log_det):
        values, log_det = method(ends, raw)
        np.testing.assert_allclose(jnp.cos(values[0]), jnp.cos(values[1]), atol=1e-12)
        np.testing.assert_allclose(jnp.sin(values[0]), jnp.sin(values[1]), atol=1e-12)
        np.testing.assert_allclose(log_det[0], log_det[1], atol=1e-10)


def test_the_phase_turns_the_circle():
    made = CircularRationalQuadratic(BINS)
    turn = jnp.zeros((3, made.num_parameters)).at[:, -1].set(2.0)
    x, log_det = made.forward_and_log_det(jnp.array([-3.0, 0.0, 2.0]), turn)
    np.testing.assert_allclose(x, [-1.0, 2.0, 4.0 - 2 * np.pi], atol=1e-12)
    np.testing.assert_allclose(log_det, np.zeros(3), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bins": 0}, "bins must be at least 1, got 0"),
        ({"bound": -1.0}, "must be positive and finite, got -1.0"),
        ({"bound": np.inf}, "must be positive and finite, got inf"),
        ({"min_bin": 1.0}, "min_bin must be above 0 and below 0.8"),
        ({"min_slope": 1.0}, "min_slope must be between 0 and 1, got 1.0"),
    ],
)
def test_refusals(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        RationalQuadraticSpline(**{"bins": BINS, "bound": 2.0, **options})
