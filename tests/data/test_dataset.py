import numpy as np
import pytest

from jaxflow.data.dataset import Dataset, listed
from jaxflow.errors import InputError

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
Y = np.array([0, 1, 0])


def test_holds_what_it_is_given():
    dataset = Dataset("made", X, Y, ("a", "b"))
    assert dataset.dim == 2
    assert dataset.x is X
    assert dataset.y is Y


def test_select_takes_columns_by_name_in_the_order_given():
    chosen = Dataset("made", X, Y, ("a", "b")).select(["b", "a"])
    np.testing.assert_array_equal(chosen.x, X[:, ::-1])
    assert chosen.feature_names == ("b", "a")
    assert chosen.y is Y


def test_select_keeps_what_is_known_of_the_rows():
    kinds, for_test = {"attack": np.array(["a", "b", "a"])}, np.array([False, True, True])
    dataset = Dataset("made", X, Y, ("a", "b"), {"a": ("p", "q"), "b": ("r",)}, True, kinds, for_test)
    chosen = dataset.select(["b"])
    assert (chosen.categories, chosen.may_miss) == ({"b": ("r",)}, True)
    assert chosen.kinds is kinds
    assert chosen.for_test is for_test


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kinds": {"attack": np.array(["a", "b"])}}, "made: attack has shape (2,), expected (3,)"),
        ({"for_test": np.array([True, False])}, "made: for_test has shape (2,), expected (3,)"),
        ({"for_test": np.ones(3, bool)}, "made: 3 of 3 rows are for the test, expected some and not all"),
        ({"for_test": np.zeros(3, bool)}, "made: 0 of 3 rows are for the test, expected some and not all"),
    ],
)
def test_refuses_what_is_said_of_other_rows(given, message):
    with pytest.raises(InputError) as error:
        Dataset("made", X, Y, ("a", "b"), **given)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["a", "c"], "made: column c is missing; the columns are a, b"),
        (["a", "a"], "made: feature a is there twice, expected different names"),
    ],
)
def test_select_refuses_a_name_that_is_missing_or_double(features, message):
    with pytest.raises(InputError) as error:
        Dataset("made", X, Y, ("a", "b")).select(features)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("x", "y", "names", "message"),
    [
        (X, Y[:2], ("a", "b"), "made: y has shape (2,), expected (3,)"),
        (X, Y, ("a",), "made: 1 feature names for 2 columns"),
        (X, Y, ("a", "a"), "made: feature name a is there twice, expected different names"),
        (X, np.array([0, 2, 0]), ("a", "b"), "made: row 2 has label 2, expected 0 or 1"),
        (X[:0], None, ("a", "b"), "made: x has shape (0, 2), expected (rows, columns), one of each at least"),
        (X[:, :0], None, (), "made: x has shape (3, 0), expected (rows, columns), one of each at least"),
        (
            np.array([[1.0, 2.0], [3.0, np.nan]]),
            None,
            ("a", "b"),
            "made: row 2, column b is nan, expected a finite number",
        ),
    ],
)
def test_refuses_what_does_not_fit_together(x, y, names, message):
    with pytest.raises(InputError) as error:
        Dataset("made", x, y, names)
    assert str(error.value) == message


def test_a_long_list_of_names_is_cut():
    names = [f"x{index}" for index in range(1555)]
    assert listed(names).endswith("x18, x19 and 1535 more")
    assert listed(names[:20]).endswith("x18, x19")
