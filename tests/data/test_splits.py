import numpy as np
import pytest
from pydantic import ValidationError

from jaxflow.config.spec import parse_spec
from jaxflow.data.dataset import Dataset
from jaxflow.data.splits import SplitSpec, hold_out, split_dataset
from jaxflow.errors import InputError


def dataset(n=100, anomalies=20, labelled=True):
    # The first column is the row number, so that rows can be recognised.
    x = np.stack([np.arange(n, dtype=np.float64), np.ones(n)], axis=1)
    y = (np.random.default_rng(5).permutation(n) < anomalies).astype(np.int64)
    return Dataset("made", x, y if labelled else None, ("a", "b"))


def test_normal_only_trains_on_normal_rows_and_tests_on_all_others():
    data = dataset()
    split = split_dataset(data, SplitSpec(test_fraction=0.25), seed=3)
    train, test = split.x_train[:, 0].astype(int), split.x_test[:, 0].astype(int)
    assert data.y is not None
    assert split.y_test is not None
    assert (data.y[train] == 0).all()
    assert len(train) == 60
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(100))
    np.testing.assert_array_equal(split.y_test, data.y[test])
    assert split.y_test.sum() == 20
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    assert split.feature_names == ("a", "b")
    assert split.name == "made"


def test_half_of_the_normal_rows_are_kept_for_the_test_by_default():
    split = split_dataset(dataset(), SplitSpec())
    assert (len(split.x_train), len(split.x_test)) == (40, 60)


def test_a_seed_fixes_the_split():
    first, again, other = (split_dataset(dataset(), SplitSpec(), seed=seed).x_train for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == other.shape
    assert (first != other).any()


@pytest.mark.parametrize("labelled", [True, False])
def test_unsupervised_trains_and_tests_on_all_rows(labelled):
    data = dataset(labelled=labelled)
    split = split_dataset(data, SplitSpec(protocol="unsupervised"))
    np.testing.assert_array_equal(split.x_train, data.x)
    np.testing.assert_array_equal(split.x_test, data.x)
    if labelled:
        np.testing.assert_array_equal(split.y_test, data.y)
    else:
        assert split.y_test is None


def published(y):
    x = np.arange(6.0)[:, None]
    for_test = np.array([False, True, False, False, True, True])
    return Dataset("made", x, y, ("a",), kinds={"sort": np.array(list("abcdef"))}, for_test=for_test)


@pytest.mark.parametrize(("labels", "train"), [([0, 0, 1, 0, 1, 0], [0, 3]), (None, [0, 2, 3])])
def test_a_published_split_trains_on_the_normal_rows_that_are_not_for_the_test(labels, train):
    data = published(None if labels is None else np.array(labels))
    split = split_dataset(data, SplitSpec(protocol="published"), seed=3)
    np.testing.assert_array_equal(split.x_train[:, 0], train)
    np.testing.assert_array_equal(split.train_rows, train)
    np.testing.assert_array_equal(split.x_test[:, 0], [1, 4, 5])
    np.testing.assert_array_equal(split.kinds_test["sort"], ["b", "e", "f"])
    if labels is None:
        assert split.y_test is None
    else:
        np.testing.assert_array_equal(split.y_test, [0, 1, 0])


def test_a_published_split_needs_one_and_something_to_train_on():
    with pytest.raises(InputError, match=r"^made sets no rows apart for the test, expected some"):
        split_dataset(dataset(), SplitSpec(protocol="published"))
    with pytest.raises(InputError, match=r"^made: no row that is not for the test is normal, expected some"):
        split_dataset(published(np.array([1, 0, 1, 1, 0, 0])), SplitSpec(protocol="published"))


def test_rows_without_labels_count_as_normal():
    split = split_dataset(dataset(labelled=False), SplitSpec(test_fraction=0.3))
    assert (len(split.x_train), len(split.x_test)) == (70, 30)
    assert split.y_test is None


@pytest.mark.parametrize("normal", [0, 1])
def test_refuses_too_few_normal_rows(normal):
    rows = "1 normal row" if normal == 1 else "0 normal rows"
    with pytest.raises(InputError, match=rf"^made: {rows}, expected two at least to split$"):
        split_dataset(dataset(20, 20 - normal), SplitSpec())


@pytest.mark.parametrize("protocol", ["unsupervised", "published"])
def test_a_test_fraction_without_effect_is_refused(protocol):
    with pytest.raises(InputError, match=rf"^a.yaml: test_fraction = 0.5: expected no value, as protocol {protocol}"):
        parse_spec(SplitSpec, {"protocol": protocol, "test_fraction": 0.5}, "a.yaml")


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5])
def test_a_test_fraction_is_between_0_and_1(fraction):
    with pytest.raises(ValidationError):
        SplitSpec(test_fraction=fraction)


@pytest.mark.parametrize(
    ("n", "fraction", "held_rows"), [(100, 0.1, 10), (10, 0.24, 2), (10, 0.26, 3), (2, 0.01, 1), (3, 0.99, 2)]
)
def test_hold_out_divides_the_row_numbers(n, fraction, held_rows):
    kept, held = hold_out(n, fraction, np.random.default_rng(0))
    assert len(held) == held_rows
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(n))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()


def test_hold_out_is_random_and_follows_its_generator():
    first, again, other = (hold_out(50, 0.5, np.random.default_rng(seed))[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    counts = sum(np.isin(np.arange(10), hold_out(10, 0.3, np.random.default_rng(s))[1]) for s in range(2000))
    np.testing.assert_allclose(counts / 2000, 0.3, atol=0.06)


@pytest.mark.parametrize(
    ("n", "fraction", "message"),
    [
        (1, 0.5, r"1 row to hold some out of"),
        (0, 0.5, r"0 rows to hold some out of"),
        (10, 0.0, "fraction to hold out = 0.0"),
        (10, 1.0, "fraction to hold out = 1.0"),
    ],
)
def test_hold_out_refuses(n, fraction, message):
    with pytest.raises(InputError, match=message):
        hold_out(n, fraction, np.random.default_rng(0))
