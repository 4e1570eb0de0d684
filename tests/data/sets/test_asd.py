import numpy as np
import pytest

from jaxflow.data.sets.asd import Interval, load_asd
from jaxflow.errors import InputError

LINES = "1-2:3,1\n5-5:2"
LABELS = [0, 1, 1, 0, 0, 1, 0, 0]


def write(folder, lines=LINES, **arrays):
    given = {"train": np.arange(12).reshape(4, 3), "test": np.ones((8, 3), np.float32), "test_label": np.array(LABELS)}
    np.savez(folder / "omi-2.npz", **{name: array for name, array in (given | arrays).items() if array is not None})
    (folder / "omi-2_interpretation.txt").write_text(lines)


@pytest.mark.parametrize("by_variable", [False, True])
def test_rows_labels_and_reasons(tmp_path, monkeypatch, by_variable):
    (tmp_path / "asd").mkdir()
    write(tmp_path / "asd")
    monkeypatch.setenv("JAXFLOW_DATA", str(tmp_path))
    machine = load_asd(2) if by_variable else load_asd(2, tmp_path / "asd")
    assert machine.name == "asd/omi-2"
    assert machine.intervals == (Interval(1, 3, (0, 2)), Interval(5, 6, (1,)))
    assert machine.feature_names == ("metric_1", "metric_2", "metric_3")
    np.testing.assert_array_equal(machine.train, np.arange(12.0).reshape(4, 3))
    np.testing.assert_array_equal(machine.labels, LABELS)
    assert machine.train.dtype == machine.test.dtype == np.float64


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("1-2:3,1\n5-:2", "line 2 is '5-:2', expected first-last:metric,metric,... in whole numbers"),
        ("1-2:3,1\n\n5-5:2", "line 2 is ''"),
        ("1-2:3,1\n5-5:", "line 2 is '5-5:'"),
        ("1-2:3;1\n5-5:2", "line 1 is '1-2:3;1'"),
        ("5-5:2\n1-2:3", "line 2: rows 1-2, expected first <= last from 6 to 7"),
        ("2-1:2", "line 1: rows 2-1, expected first <= last from 0 to 7"),
        ("1-2:3,1\n5-8:2", "line 2: rows 5-8"),
        ("1-2:4", "line 1: metric 4, expected 1 to 3"),
        ("1-2:0", "line 1: metric 0, expected 1 to 3"),
        ("1-2:1,1", "line 1: metrics 1,1, expected each once"),
        ("1-2:3", "row 5 lies in none of its intervals, but has the label 1 in omi-2.npz"),
        ("1-3:3\n5-5:2", "row 3 lies in one of its intervals, but has the label 0 in omi-2.npz"),
    ],
)
def test_a_wrong_interpretation_is_refused(tmp_path, lines, words):
    write(tmp_path, lines)
    with pytest.raises(InputError) as error:
        load_asd(2, tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'omi-2_interpretation.txt'}: {words}")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"train": None}, "array train is missing"),
        ({"train": np.ones((4, 2))}, "the arrays do not fit together: train (4, 2), test (8, 3), test_label (8,)"),
        ({"test_label": np.zeros(7)}, "the arrays do not fit together"),
        ({"test_label": np.array([0, 1, 2, 0, 0, 1, 0, 0])}, "test_label holds 2, expected 0 or 1"),
        ({"test": np.ones(8)}, "array test has shape (8,), expected 2 dimension(s)"),
        ({"test": np.ones((0, 3))}, "array test has shape (0, 3), expected at least one row and column"),
        ({"train": np.full((4, 3), "a")}, "array train holds <U1, expected numbers"),
        ({"train": np.full((4, 3), np.nan)}, "array train is nan at [0, 0], expected a finite number"),
        ({"train": np.array([[None]])}, "array train holds Python objects, expected numbers"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, arrays, words):
    write(tmp_path, **arrays)
    with pytest.raises(InputError) as error:
        load_asd(2, tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'omi-2.npz'}: {words}")


NPY = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }".ljust(127) + b"\n" + bytes(8)


@pytest.mark.parametrize(
    "content", [b"", NPY, b"no archive", b"PK\x03\x04" + bytes(40)], ids=["empty", "npy", "text", "zip"]
)
def test_a_damaged_archive_is_refused(tmp_path, content):
    write(tmp_path)
    (tmp_path / "omi-2.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"omi-2.npz: cannot be read as NPZ"):
        load_asd(2, tmp_path)


def test_a_small_archive_that_stands_for_much_is_refused(tmp_path):
    write(tmp_path)
    np.savez_compressed(tmp_path / "omi-2.npz", train=np.zeros((40_000_000, 1), "u1"), test=[[1.0]], test_label=[1])
    with pytest.raises(InputError, match=r"omi-2.npz: a file of [0-9]+ bytes would take [0-9]+ in memory"):
        load_asd(2, tmp_path)


def test_a_long_text_is_refused(tmp_path):
    write(tmp_path, "1-2:3\n" * 300_000)
    with pytest.raises(InputError, match=r"interpretation.txt: the file has 1800000 bytes, expected a text of at most"):
        load_asd(2, tmp_path)


def test_text_in_another_encoding_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "omi-2_interpretation.txt").write_bytes(b"1-2:3\xff")
    with pytest.raises(InputError, match=r"interpretation.txt: cannot be read as text"):
        load_asd(2, tmp_path)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"^asd: machine = 7, expected 1 to 6$"):
        load_asd(7)
    with pytest.raises(InputError, match=r"^asd: .*/omi-1\.npz is missing; it is not downloaded"):
        load_asd(1, tmp_path)
    monkeypatch.delenv("JAXFLOW_DATA", raising=False)
    with pytest.raises(InputError, match=r"^asd: \$JAXFLOW_DATA/asd/omi-1.npz is missing"):
        load_asd(1)
