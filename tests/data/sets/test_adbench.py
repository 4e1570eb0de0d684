import hashlib
import re

import numpy as np
import pytest

from jaxflow.data.sets import adbench
from jaxflow.data.sets.adbench import AdbenchFile, adbench_files, load_adbench
from jaxflow.errors import InputError


def test_every_line_of_the_table_is_a_file_with_its_checksum():
    known = adbench_files()
    assert len(known) == 43
    assert known["thyroid"].file == "38_thyroid.npz"
    assert known["thyroid"].sha256.startswith("8de161b3")
    assert all(re.fullmatch(r"\d+_[\w.-]+\.npz", entry.file) for entry in known.values())
    assert all(re.fullmatch(r"[0-9a-f]{64}", entry.sha256) for entry in known.values())
    assert len({entry.sha256 for entry in known.values()}) == 43


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A file in `$JAXFLOW_DATA/adbench` that the table knows as `made`."""
    path = tmp_path / "adbench" / "99_made.npz"
    path.parent.mkdir()
    np.savez(path, X=np.array([[1, 2], [3, 4], [5, 6]], np.int16), y=np.array([0, 0, 1], np.int32))
    monkeypatch.setenv("JAXFLOW_DATA", str(tmp_path))
    known = {"made": AdbenchFile("99_made.npz", hashlib.sha256(path.read_bytes()).hexdigest())}
    monkeypatch.setattr(adbench, "adbench_files", lambda: known)
    return path


def test_loads_features_and_labels(made):
    dataset = load_adbench("made")
    assert dataset.name == "adbench/made"
    assert dataset.feature_names == ("x0", "x1")
    np.testing.assert_array_equal(dataset.x, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    np.testing.assert_array_equal(dataset.y, [0, 0, 1])


def test_a_changed_file_is_refused(made):
    made.write_bytes(made.read_bytes() + b"\0")
    with pytest.raises(InputError, match=rf"^{made}: SHA-256 is [0-9a-f]+, expected [0-9a-f]+$"):
        load_adbench("made")


def test_a_missing_file_is_downloaded_from_the_address_given(made, tmp_path, monkeypatch):
    asked = []

    def fetch(file, sha256, *, folder, base_url):
        asked.append((file, folder, base_url))
        return made

    monkeypatch.setattr(adbench, "fetch", fetch)
    load_adbench("made")
    load_adbench("made", base_url="http://elsewhere")
    public = "https://raw.githubusercontent.com/Minqi824/ADBench/main/adbench/datasets/Classical"
    assert asked == [("99_made.npz", "adbench", public), ("99_made.npz", "adbench", "http://elsewhere")]
