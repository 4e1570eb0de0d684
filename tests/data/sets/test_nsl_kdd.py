import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from jaxflow.data import SplitSpec, split_dataset
from jaxflow.data.sets import nsl_kdd
from jaxflow.data.sets.nsl_kdd import CONTENT_SHA256, FAMILIES, FEATURES, load_nsl_kdd
from jaxflow.errors import InputError

TRAIN, TEST = CONTENT_SHA256


def line(first, attack, difficulty=20):
    """A connection that begins with these values, and goes on with 0, 1, 2, ..."""
    return ",".join([*first, *map(str, range(41 - len(first))), attack, str(difficulty)])


TEXT = {
    TRAIN: "\n".join([line(["0", "tcp", "http", "SF"], "normal"), line(["7", "udp", "ntp_u", "SF"], "smurf", 3)])
    + "\n",
    TEST: line(["1.5", "tcp", "0", "S0"], "httptunnel") + "\n",  # a text that looks like a number stays one
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXFLOW_DATA", str(tmp_path))
    (tmp_path / "nsl_kdd").mkdir()
    for file, text in TEXT.items():
        monkeypatch.setitem(nsl_kdd.CONTENT_SHA256, file, hashlib.sha256(text.encode()).hexdigest())
        (tmp_path / "nsl_kdd" / file).write_bytes(gzip.compress(text.encode()))
    return tmp_path / "nsl_kdd"


@pytest.mark.usefixtures("folder")
def test_rows_of_both_files_with_their_attacks():
    dataset = load_nsl_kdd()
    assert dataset.name == "nsl_kdd"
    assert dataset.feature_names == FEATURES
    assert dataset.categories == {
        "protocol_type": ("tcp", "udp"),
        "service": ("0", "http", "ntp_u"),
        "flag": ("S0", "SF"),
    }
    np.testing.assert_array_equal(dataset.x[:, :5], [[0, 0, 1, 1, 0], [7, 1, 2, 1, 0], [1.5, 0, 0, 0, 0]])
    np.testing.assert_array_equal(dataset.x[:, 4:], np.tile(np.arange(37.0), (3, 1)))
    np.testing.assert_array_equal(dataset.y, [0, 1, 1])
    np.testing.assert_array_equal(dataset.kinds["attack"], ["normal", "smurf", "httptunnel"])
    np.testing.assert_array_equal(dataset.kinds["family"], ["normal", "DoS", "U2R"])
    np.testing.assert_array_equal(dataset.for_test, [False, False, True])


def test_the_features_are_41_and_the_attacks_39():
    assert len(set(FEATURES)) == 41
    attacks = " ".join(FAMILIES.values()).split()
    assert len(attacks) == len(set(attacks)) == 39


def test_other_rows_are_refused(folder):
    other = TEXT[TEST].replace("S0", "S1").encode()
    (folder / TEST).write_bytes(gzip.compress(other))
    with pytest.raises(InputError) as error:
        load_nsl_kdd()
    got, expected = hashlib.sha256(other).hexdigest(), hashlib.sha256(TEXT[TEST].encode()).hexdigest()
    assert str(error.value) == f"{folder / TEST}: SHA-256 of the uncompressed text is {got}, expected {expected}"


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"a,b\n")[:-9], b""], ids=["text", "cut", "empty"])
def test_a_damaged_file_is_refused(folder, content):
    (folder / TRAIN).write_bytes(content)
    with pytest.raises(InputError) as error:
        load_nsl_kdd()
    assert str(error.value).startswith(f"{folder / TRAIN}: ")


def test_a_missing_file_says_what_to_put_where(folder, monkeypatch):
    (folder / TEST).unlink()
    with pytest.raises(InputError) as error:
        load_nsl_kdd()
    assert str(error.value) == (
        f"nsl_kdd: {folder / TEST} is missing; it is not downloaded, so put KDDTest+.txt of NSL-KDD there, compressed "
        "by gzip"
    )
    monkeypatch.delenv("JAXFLOW_DATA")
    with pytest.raises(InputError, match=r"^nsl_kdd: \$JAXFLOW_DATA/nsl_kdd/KDDTrain\+_20Percent.txt.gz is missing"):
        load_nsl_kdd()


@pytest.mark.skipif(
    not (Path(os.environ.get("JAXFLOW_DATA", "/nowhere")) / "nsl_kdd" / TEST).is_file(),
    reason="needs $JAXFLOW_DATA/nsl_kdd",
)
def test_the_published_files_have_the_published_counts():
    dataset = load_nsl_kdd()
    split = split_dataset(dataset, SplitSpec(protocol="published"))
    assert (len(dataset.x), len(split.x_train), len(split.x_test)) == (47_736, 13_449, 22_544)
    families, counts = np.unique(split.kinds_test["family"], return_counts=True)
    found = dict(zip(families.tolist(), counts.tolist(), strict=True))
    assert found == {"normal": 9_711, "DoS": 7_458, "Probe": 2_421, "R2L": 2_754, "U2R": 200}
