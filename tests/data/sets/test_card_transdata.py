import gzip
import hashlib

import numpy as np
import pytest

from jaxflow.data.sets import card_transdata, placed_file
from jaxflow.data.sets.card_transdata import FILE, load_card_transdata
from jaxflow.errors import InputError

ROWS = b"distance,online_order,fraud\r\n57.8,0.0,0.0\r\n10.8,1.0,1.0\r\n"


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXFLOW_DATA", str(tmp_path))
    monkeypatch.setattr(card_transdata, "CONTENT_SHA256", hashlib.sha256(ROWS).hexdigest())
    path = tmp_path / "card_transdata" / FILE
    path.parent.mkdir()
    return path


@pytest.mark.parametrize("level", [1, 9])
def test_the_label_is_fraud_however_the_rows_are_compressed(path, level):
    path.write_bytes(gzip.compress(ROWS, compresslevel=level, mtime=level))
    dataset = load_card_transdata()
    assert dataset.name == "card_transdata"
    assert dataset.feature_names == ("distance", "online_order")
    np.testing.assert_array_equal(dataset.x, [[57.8, 0.0], [10.8, 1.0]])
    np.testing.assert_array_equal(dataset.y, [0, 1])


def test_other_rows_are_refused(path):
    other = ROWS.replace(b"57.8", b"57.9")
    path.write_bytes(gzip.compress(other))
    with pytest.raises(InputError) as error:
        load_card_transdata()
    got, expected = hashlib.sha256(other).hexdigest(), hashlib.sha256(ROWS).hexdigest()
    assert str(error.value) == f"{path}: SHA-256 of the uncompressed CSV is {got}, expected {expected}"


# The ids are given, since the content holds the time: processes that share the tests would not agree on their names.
@pytest.mark.parametrize(
    "content", [b"no gzip at all", gzip.compress(ROWS)[:-12], b""], ids=["not gzip", "cut short", "empty"]
)
def test_a_damaged_file_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"^{path}: "):
        load_card_transdata()


def test_a_small_file_that_stands_for_much_is_refused(path):
    path.write_bytes(gzip.compress(bytes(placed_file.MOST_BYTES + 1), 9))
    with pytest.raises(InputError, match="the CSV has more than 67108864 bytes once it is uncompressed, expected few"):
        load_card_transdata()


def test_the_file_is_read_once(path, monkeypatch):
    """What is read is what was checked, also where the file is replaced in between."""
    path.write_bytes(gzip.compress(ROWS))
    read = card_transdata.gzip_content

    def read_then_replaced(*arguments):
        content = read(*arguments)
        path.write_bytes(b"something else")
        return content

    monkeypatch.setattr(card_transdata, "gzip_content", read_then_replaced)
    np.testing.assert_array_equal(load_card_transdata().y, [0, 1])


def test_a_missing_file_says_what_to_put_where(path):
    with pytest.raises(InputError) as error:
        load_card_transdata()
    assert str(error.value).startswith(
        f"card_transdata: {path} is missing; put the header and the first 49,999 rows of "
    )


def test_without_a_data_directory_the_variable_is_named(monkeypatch):
    monkeypatch.delenv("JAXFLOW_DATA", raising=False)
    with pytest.raises(
        InputError, match=r"^card_transdata: \$JAXFLOW_DATA/card_transdata/card_transdata_49999.csv.gz is"
    ):
        load_card_transdata()
