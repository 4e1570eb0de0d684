import io
import zipfile

import numpy as np
import pytest

from jaxflow.data.tables.read_table import read_table


def npz_file(folder, **arrays):
    path = folder / "t.npz"
    np.savez(path, **arrays)
    return path


def test_adbench_layout(tmp_path):
    path = npz_file(tmp_path, X=np.array([[1, 2], [3, 4]], np.uint8), y=np.array([0, 1], np.int32), extra=np.array("?"))
    for label in ("label", "y"):
        dataset = read_table(path, label=label)
        assert dataset.feature_names == ("x0", "x1")
        np.testing.assert_array_equal(dataset.x, [[1.0, 2.0], [3.0, 4.0]])
        np.testing.assert_array_equal(dataset.y, [0, 1])
    unlabelled = read_table(path, label=None, features=["x1"])
    np.testing.assert_array_equal(unlabelled.x, [[2.0], [4.0]])
    assert unlabelled.y is None
    assert read_table(path, label=None).feature_names == ("x0", "x1")


ONE = np.array([1.0])


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (
            {"X": np.array([[1.0], [np.inf]]), "y": np.array([0, 1])},
            "row 2, column x0 is inf, expected a finite number",
        ),
        ({"X": np.array([[1.0], [2.0]]), "y": np.array([0, 3])}, "row 2, column y is 3.0, expected 0 or 1"),
        (
            {"X": np.array([[1.0], [2.0]]), "y": np.array([0])},
            "column x0 has 2 rows and column y has 1, expected the same number",
        ),
        ({"X": np.array([[1.0]])}, "label column y is missing; the columns are x0 (for none: --data.label null)"),
        ({"X": ONE, "y": ONE}, "array X has shape (1,), expected 2 dimension(s)"),
        ({"X": np.ones((1, 1)), "y": np.ones((1, 1))}, "array y has shape (1, 1), expected 1 dimension(s)"),
        ({"X": np.ones((0, 2)), "y": np.ones(0)}, "there are no rows, expected at least one"),
        ({"X": np.array([["a"]]), "y": ONE}, "array X holds <U1, expected numbers"),
        ({"X": np.array([[1j]]), "y": ONE}, "array X holds complex128, expected numbers"),
        ({"X": np.array([[{}]]), "y": ONE}, "array X holds Python objects, expected numbers"),
        ({"a": np.array([None]), "label": ONE}, "array a holds Python objects, expected numbers"),
        ({"a": np.ones((2, 2)), "label": ONE}, "array a has shape (2, 2), expected 1 dimension(s)"),
        ({"a": np.ones(2), "label": ONE}, "column a has 2 rows and column label has 1, expected the same number"),
        ({}, "there are no arrays, expected X and y or one array for each column"),
    ],
)
def test_npz_that_cannot_be_used(message, arrays, expected, tmp_path):
    assert message(read_table, npz_file(tmp_path, **arrays)) == expected


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("X.npy", "X.npy"), ("X.npy", "X"), ("X", "y.npy", "X.npy")])
def test_an_array_that_is_there_twice_is_refused(message, names, tmp_path):
    content = io.BytesIO()
    np.save(content, np.ones((2, 3)))
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        for name in names:
            archive.writestr(name, content.getvalue())
    said = message(read_table, tmp_path / "t.npz", label=None)
    assert said == "array X is there twice, expected different names"


def test_damaged_npz(message, tmp_path):
    path = npz_file(tmp_path, X=np.random.default_rng(0).normal(size=(500, 4)), y=np.zeros(500))
    content = bytearray(path.read_bytes())
    content[3000:3100] = bytes(100)
    path.write_bytes(content)
    assert message(read_table, path).startswith("cannot be read as NPZ (")
    path.write_bytes(b"not an archive")
    assert message(read_table, path) == "cannot be read as NPZ (it is not a zip archive)"
    path.write_bytes(b"")
    assert message(read_table, path) == "cannot be read as NPZ (it is not a zip archive)"
