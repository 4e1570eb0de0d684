"""Footers of Parquet files that strangers wrote or damaged; what pyarrow does with some of them ends the process."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from jaxflow.data.tables.parquet_footer import MOST_PIECES, kept_footer
from jaxflow.data.tables.parquet_table import ParquetTable
from jaxflow.data.tables.read_table import read_table
from jaxflow.data.tables.thrift import BINARY, I32
from jaxflow.errors import InputError
from tests.data.tables.footers import (
    COLUMNS,
    FIXED,
    FLOAT,
    INT64,
    SIZES,
    footer_of,
    listed,
    replace_footer,
    struct,
    text,
    whole,
    within,
    write_column,
)


@pytest.fixture
def written(tmp_path):
    """A file of one column of a physical type."""

    def write(kind: int) -> Path:
        path = tmp_path / f"{kind}.parquet"
        write_column(kind, path)
        return path

    return write


@pytest.mark.parametrize("kind", COLUMNS)
def test_what_is_not_read_is_not_there_for_pyarrow(kind, written):
    path = written(kind)
    plain = kept_footer(footer_of(kind, path))
    for sizes in SIZES.values():
        assert kept_footer(footer_of(kind, path, m16=sizes)) == plain
    for field in ("m8", "m12", "m13", "m14", "m17", "c7", "c5", "g4", "g7", "f7", "f8", "f9"):
        changed: dict[str, Any] = {field: struct({}, f1=b"\0")}
        assert kept_footer(footer_of(kind, path, **changed)) == plain
    replace_footer(path, footer_of(kind, path))
    assert ParquetTable(path).group_rows() == [3]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"copies": 2}, "a row group has other columns than the schema in the footer"),
        ({"copies": 0}, "a row group has other columns than the schema in the footer"),
        ({"m1": FLOAT}, "a row group has other columns than the schema in the footer"),
        ({"m1": 8, "e1": 8}, "the schema in the footer is damaged"),
        ({"m1": -1, "e1": -1}, "the schema in the footer is damaged"),
        ({"e5": 1}, "the schema in the footer is damaged"),
        ({"schema": [within(2)]}, "the schema in the footer is damaged"),
        ({"schema": [within(-1)]}, "the schema in the footer is damaged"),
        ({"schema": [within(0)]}, "the schema in the footer is damaged"),
        ({"schema": [within(1)] * 200}, "the schema in the footer is damaged"),
        ({"e4": None}, "the footer lacks what every file has"),
        ({"m4": 8}, "a column is compressed in way 8, which is unknown"),
        ({"m4": None}, "the footer lacks what every file has"),
        ({"m2": listed(I32, whole(77))}, "a column is encoded in an unknown way"),
        ({"m2": listed(BINARY, text(b"x"))}, "a column is encoded in an unknown way"),
        ({"m5": -1}, "the footer holds a negative number of rows, values or bytes"),
        ({"m7": -1}, "the footer holds a negative number of rows, values or bytes"),
        ({"m9": 0}, "the footer does not say where a column begins"),
        ({"m9": 1 << 62}, f"the footer holds the number {1 << 62}, which is out of range"),
        ({"g3": -1}, "the footer holds a negative number of rows, values or bytes"),
        ({"f3": None}, "the footer lacks what every file has"),
        ({"c8": b"\0"}, "a column is encrypted"),
        ({"c1": text(b"other.parquet")}, "a column lies in another file"),
        (
            {"groups": MOST_PIECES + 1},
            f"there are {MOST_PIECES + 1} row groups or columns, expected at most {MOST_PIECES}: write larger row "
            "groups",
        ),
    ],
)
def test_a_footer_that_does_not_fit_together_is_refused(changed, sentence, written, message):
    path = written(INT64)
    replace_footer(path, footer_of(INT64, path, **changed))
    assert message(read_table, path, label=None) == f"cannot be read as Parquet ({sentence})"


@pytest.mark.parametrize("width", [0, -1, 1 << 17, (1 << 31) - 1])
def test_the_width_of_values_is_bounded(width, written, message):
    path = written(FIXED)
    replace_footer(path, footer_of(FIXED, path, e2=width))
    expected = f"cannot be read as Parquet (values have {width} bytes each, expected 1 to 65536)"
    assert message(read_table, path, label=None) == expected


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (b"\xff\xff\xff\x7fPAR1", "it does not end as a Parquet file does"),
        (b"\0\0\0\0PAR1", "the footer ends too early"),
        (b"\0\0\0\0PARE", "it is encrypted"),
        (b"\0\0\0\0PAR2", "it does not end as a Parquet file does"),
    ],
)
def test_the_end_of_a_file(end, sentence, written, message):
    path = written(INT64)
    path.write_bytes(path.read_bytes()[:-8] + end)
    assert message(read_table, path, label=None) == f"cannot be read as Parquet ({sentence})"


def footers() -> list[bytes]:
    tables = [
        (pa.table({f"c{kind}": column for kind, column in COLUMNS.items()}), {"write_page_index": True}),
        (pa.table({"a": [[1.0], [], None], "b": [{"x": 1}, None, {"x": 2}]}), {"row_group_size": 1}),
    ]
    found = []
    for table, options in tables:
        content = io.BytesIO()
        parquet.write_table(table, content, **options)
        footer = content.getvalue()[:-8]
        found.append(footer[-int.from_bytes(content.getvalue()[-8:-4], "little") :])
    return found


FOOTERS = footers()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(FOOTERS), st.data())
def test_damaged_footers_are_refused_or_kept_as_they_are_written(footer, data):
    changed = bytearray(footer)
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(footer) - 1))
        changed[start : start + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        kept = kept_footer(bytes(changed))
    except ValueError:
        return
    assert len(kept) <= len(changed) + 12
    assert kept_footer(kept[4:-8]) == kept


def test_depth_and_time_of_what_is_passed_over():
    """Lists within lists, structs within structs, many nothings: refused soon."""
    for nested in (b"\x99" * 100_000, b"\x9c" * 100_000, b"\x9c\x1c" + b"\x1c" * 100_000, b"\x9b" * 9):
        with pytest.raises(ValueError, match=r"too deep|too early|unknown kind"):
            kept_footer(nested)


def test_what_is_kept_gives_the_same_table(tmp_path):
    rng = np.random.default_rng(0)
    table = pa.table({f"c{kind}": column for kind, column in COLUMNS.items()} | {"n": rng.normal(size=3)})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    content = (tmp_path / "t.parquet").read_bytes()
    kept = kept_footer(content[-8 - int.from_bytes(content[-8:-4], "little") : -8])
    metadata = parquet.read_metadata(pa.BufferReader(kept))
    assert parquet.ParquetFile(tmp_path / "t.parquet", metadata=metadata).read().equals(table)
    assert metadata.row_group(0).column(0).statistics is None
    with pytest.raises(InputError, match="holds timestamp"):
        read_table(tmp_path / "t.parquet", label=None)
