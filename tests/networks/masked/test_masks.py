import jax
import jax.numpy as jnp
import pytest

from jaxflow.networks.masked import masks


def test_feature_degrees_follow_the_order():
    assert masks.feature_degrees(jnp.array([2, 0, 1])).tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    ("dim", "width", "conditional", "expected"),
    [
        (4, 6, False, [1, 1, 2, 2, 3, 3]),
        (4, 8, True, [0, 0, 1, 1, 2, 2, 3, 3]),
        (4, 2, False, [1, 3]),
        (4, 1, False, [3]),
        (1, 3, False, [0, 0, 0]),
        (1, 3, True, [0, 0, 0]),
        (2, 3, False, [1, 1, 1]),
    ],
)
def test_sequential_degrees(dim, width, conditional, expected):
    assert masks.hidden_degrees(dim, width, conditional=conditional).tolist() == expected


def test_every_useful_degree_has_a_unit_where_there_are_enough_units():
    for dim in range(2, 12):
        for width in range(dim, 30):
            assert set(masks.hidden_degrees(dim, width, conditional=True).tolist()) == set(range(dim))


def test_random_degrees_are_sorted_useful_and_repeatable():
    degrees = masks.hidden_degrees(6, 500, conditional=False, kind="random", key=jax.random.key(0))
    again = masks.hidden_degrees(6, 500, conditional=False, kind="random", key=jax.random.key(0))
    assert set(degrees.tolist()) == {1, 2, 3, 4, 5}
    assert degrees.tolist() == sorted(degrees.tolist()) == again.tolist()
    with pytest.raises(ValueError, match="need a key"):
        masks.hidden_degrees(6, 5, conditional=False, kind="random")


@pytest.mark.parametrize("kind", ["sequential", "random"])
@pytest.mark.parametrize("conditional", [False, True])
def test_no_degree_has_more_units_than_the_largest_group(kind, conditional):
    for dim in (1, 2, 5, 11):
        for width in (1, 3, 11, 40):
            degrees = masks.hidden_degrees(dim, width, conditional=conditional, kind=kind, key=jax.random.key(width))
            most = masks.largest_group(dim, width, conditional=conditional, kind=kind)
            assert jnp.bincount(degrees).max() <= most
            assert degrees.size == width


def test_masks_compare_degrees():
    inputs, outputs = jnp.array([0, 1, 2]), jnp.array([1, 2])
    assert masks.hidden_mask(inputs, outputs).astype(int).tolist() == [[1, 1], [1, 1], [0, 1]]
    assert masks.output_mask(inputs, outputs).astype(int).tolist() == [[1, 1], [0, 1], [0, 0]]
