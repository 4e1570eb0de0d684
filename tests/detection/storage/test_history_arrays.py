import math

import numpy as np
import pytest

from jaxflow.detection.storage.history_arrays import history_arrays, restored_history
from jaxflow.errors import InputError
from jaxflow.training import History


def row(epoch, train_loss, valid_loss):
    return {"epoch": epoch, "train_loss": train_loss, "valid_loss": valid_loss, "skipped_steps": 0}


def same(first, second):
    """Equal, also in type, where a NaN equals a NaN."""
    return [[(name, repr(value)) for name, value in row.items()] for row in first.rows] == [
        [(name, repr(value)) for name, value in row.items()] for row in second.rows
    ]


@pytest.mark.parametrize(
    "history",
    [
        History(),
        History([row(1, 2.5, 1.5), row(2, 0.1, 0.2)]),
        History([row(1, 2.5, None), row(2, math.nan, None)]),
        History([row(1, 1.0, None), row(2, math.inf, 0.5)]),
    ],
    ids=["empty", "numbers", "none", "mixed"],
)
def test_comes_back_as_it_was(history):
    arrays = history_arrays(history)
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "ifb" for array in arrays.values())
    assert same(restored_history(dict(sorted(arrays.items(), reverse=True))), history)


def test_whole_numbers_stay_whole():
    arrays = history_arrays(History([row(1, 2.0, None)]))
    assert arrays["0.epoch"].dtype == np.int64
    assert arrays["1.train_loss"].dtype == np.float64
    assert "1.train_loss.absent" not in arrays
    assert arrays["2.valid_loss.absent"].tolist() == [True]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"1.train_loss": np.array([0.5])}, "the columns of the history have [1, 2] rows, expected the same number"),
        ({"0.epoch.absent": np.array([True])}, "the columns of the history have [1, 2] rows, expected the same number"),
        ({"0.epoch": np.array([[1, 2]])}, "the array history.0.epoch is int64[1, 2], expected a number an epoch"),
        ({"0.epoch": np.array([True, True])}, "the array history.0.epoch is bool[2], expected a number an epoch"),
        ({"1.train_loss": np.ones(2, np.float32)}, "the array history.1.train_loss is float32[2], expected a number"),
        ({"0.epoch.absent": np.array([0, 1])}, "the array history.0.epoch.absent is int64[2], expected a number an"),
        ({"3.more.absent": np.array([True, True])}, "the array history.3.more.absent is no column of a history"),
        ({"../epoch": np.array([1, 2])}, "the array history.../epoch is no column of a history"),
        ({"0.epoch": None}, "the history has no column epoch"),
        ({"4.epoch": np.array([1, 2])}, "the history has the column epoch twice"),
        ({"0.epoch": np.array([1, 3])}, "the history has epoch = 3 in epoch 2, which no fit has"),
        ({"0.epoch": np.array([2, 1])}, "the history has epoch = 2 in epoch 1, which no fit has"),
        ({"0.epoch": np.array([-(10**18), 2])}, "the history has epoch = -1000000000000000000 in epoch 1, which"),
        ({"0.epoch": np.array([1.0, np.nan])}, "the history has epoch = nan in epoch 2, which no fit has"),
        ({"0.epoch.absent": np.array([True, False])}, "the history has epoch = None in epoch 1, which no fit has"),
        ({"1.train_loss.absent": np.array([False, True])}, "the history has train_loss = None in epoch 2, which no"),
        ({"3.skipped_steps": np.array([0, -1])}, "the history has skipped_steps = -1 in epoch 2, which no fit has"),
        ({"3.skipped_steps": np.array([0, 0.5])}, "the history has skipped_steps = 0.5 in epoch 2, which no fit has"),
        ({"4.seconds": np.array([np.nan, 1.0])}, "the history has seconds = nan in epoch 1, which no fit has"),
        ({"4.learning_rate": np.array([0.1, -0.1])}, "the history has learning_rate = -0.1 in epoch 2, which no fit"),
    ],
)
def test_what_is_no_history_is_refused(change, sentence):
    arrays = history_arrays(History([row(1, 2.0, 1.0), row(2, 1.0, 1.0)])) | change
    with pytest.raises(InputError) as error:
        restored_history({name: array for name, array in arrays.items() if array is not None})
    assert str(error.value).startswith(sentence)


def test_columns_keep_their_order_beyond_ten():
    names = ["epoch", "train_loss", "valid_loss", *"abcdefghi"]
    history = History([dict.fromkeys(names, 1.0)])
    assert list(restored_history(history_arrays(history)).rows[0]) == names
