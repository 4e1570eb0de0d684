import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.errors import InputError
from jaxflow.whole_numbers import draw_shape, whole_number

ALL_THREE = [3, np.int64(3), np.uint8(3), np.array(3), jnp.asarray(3)]
NO_COUNTS = [2.5, 3.0, np.float64(3), "3", -1, np.int8(-1), True, np.True_, None, float("nan"), 1j, b"3", np.array([3])]


@pytest.mark.parametrize("value", ALL_THREE, ids=repr)
def test_whole_numbers_of_any_library_are_ints(value):
    assert (whole_number("count", value), type(whole_number("count", value))) == (3, int)
    assert draw_shape(value) == (3,)
    assert draw_shape((value, 2)) == (3, 2)


@pytest.mark.parametrize("value", NO_COUNTS, ids=repr)
def test_all_else_is_refused_in_one_sentence(value):
    with pytest.raises(InputError, match=r"^count = .{1,60}: expected a whole number of at least 0$"):
        whole_number("count", value)
    with pytest.raises(InputError, match=r"^sample_shape = .{1,60}: expected a whole number of at least 0, or a tuple"):
        draw_shape((2, value))
    if not isinstance(value, np.ndarray | bytes):  # an array of lengths is a shape, and bytes are numbers
        with pytest.raises(InputError, match=r"^sample_shape = "):
            draw_shape(value)


def test_shapes_are_sequences():
    for shape in ((), (0,), (2, 3), [2, 3], np.array([2, 3])):
        assert draw_shape(shape) == tuple(shape)


def test_the_least_number_is_named():
    with pytest.raises(InputError, match=r"^chunk_rows = 0: expected a whole number of at least 1$"):
        whole_number("chunk_rows", 0, least=1)


@pytest.mark.parametrize("shape", [10**30, 2**31, (10**30,), (0, 2**31), (2**16, 2**15)])
def test_more_draws_than_there_can_be_are_refused(shape):
    with pytest.raises(InputError, match=r"^sample_shape = .{1,60}: expected at most 2147483647 draws$"):
        draw_shape(shape)


def test_the_most_is_named():
    assert whole_number("count", 2**31 - 1, most=2**31 - 1) == draw_shape(2**31 - 1)[0] == 2**31 - 1
    with pytest.raises(InputError, match=r"^count = 2147483648: expected a whole number of at most 2147483647$"):
        whole_number("count", 2**31, most=2**31 - 1)
    with pytest.raises(InputError, match=r"^buffer_rows = 10+: expected a whole number of at most \d+$"):
        whole_number("buffer_rows", 10**30)
