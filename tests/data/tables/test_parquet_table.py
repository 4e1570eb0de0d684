import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jaxflow.data.tables.read_table import read_chunks, read_table
from jaxflow.data.tables.write_table import write_batches


def parquet_file(folder, **columns):
    path = folder / "t.parquet"
    parquet.write_table(pa.table(columns), path, row_group_size=2)
    return path


def chunks(path, features, **options):
    return list(read_chunks(path, features=features, **options))


def test_decimals_and_large_integers_of_parquet_become_floats(tmp_path):
    path = parquet_file(tmp_path, a=pa.array([2**60 + 1, 1]), b=pa.array([1.5, 2.5]).cast(pa.decimal128(5, 2)))
    np.testing.assert_array_equal(read_table(path, label=None).x, [[2.0**60, 1.5], [1.0, 2.5]])


def test_parquet_column_whose_name_is_the_start_of_another(tmp_path):
    path = parquet_file(tmp_path, **{"a.b": [1.0, 2.0], "a": [3.0, 4.0]})
    np.testing.assert_array_equal(chunks(path, ["a.b"])[0], [[1.0], [2.0]])
    np.testing.assert_array_equal(chunks(path, ["a"])[0], [[3.0], [4.0]])


def test_parquet_cell_is_named(message, tmp_path):
    path = parquet_file(tmp_path, a=[1.0, 2.0, np.nan], b=[1.0, None, 3.0], label=[0, 1, 5])
    assert message(chunks, path, ["a"]) == "row 3, column a is nan, expected a finite number"
    assert message(chunks, path, ["b", "a"]) == "row 2, column b is empty, expected a finite number"
    path = parquet_file(tmp_path, a=[1, 2, 3], label=[0, 1, 5])
    assert message(read_table, path) == "row 3, column label is 5, expected 0 or 1"


def test_a_parquet_column_of_nothing_but_null_is_missing(message, tmp_path):
    path = parquet_file(tmp_path, a=[1.0, 2.0], b=pa.nulls(2))
    np.testing.assert_array_equal(chunks(path, ["b", "a"], missing=True)[0], [[np.nan, 1.0], [np.nan, 2.0]])
    assert message(chunks, path, ["a", "b"]) == "row 1, column b is empty, expected a finite number"


def test_parquet_that_cannot_be_used(message, tmp_path):
    path = parquet_file(tmp_path, a=[[1], [2]], label=[0, 1])
    assert message(read_table, path).startswith("column a holds list<")
    path = parquet_file(tmp_path, a=["x", "y"], label=[0, 1])
    assert message(chunks, path, ["a"]) == "column a holds string, expected numbers"
    assert message(read_table, path, label="a", features=["label"]) == "column a holds string, expected numbers"
    path = parquet_file(tmp_path, a=pa.array([], pa.float64()), label=pa.array([], pa.int64()))
    assert message(read_table, path) == "there are no rows, expected at least one"
    path.write_bytes(b"PAR1 and then something else PAR1")
    assert message(read_table, path).startswith("cannot be read as Parquet (")
    path.write_bytes(b"")
    assert message(read_table, path).startswith("cannot be read as Parquet (")
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    assert message(read_table, path) == "column a is there twice, expected different names"


def test_the_index_that_pandas_wrote_is_no_feature(tmp_path):
    table = pa.table({"a": [1.0, 2.0], "label": [0, 1], "time": [5.0, 6.0], "__index_level_1__": [7, 8]})
    described = table.replace_schema_metadata({"pandas": '{"index_columns": ["time", "__index_level_1__"]}'})
    parquet.write_table(described, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").feature_names == ("a",)
    assert read_table(tmp_path / "t.parquet", features=["time"]).x[:, 0].tolist() == [5.0, 6.0]


def test_parquet_damaged_behind_its_footer(message, tmp_path):
    path = tmp_path / "t.parquet"
    values = np.random.default_rng(0).normal(size=5000)
    parquet.write_table(pa.table({"a": values}), path, compression="gzip", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[2000:6000] = bytes(4000)
    path.write_bytes(content)
    assert message(read_table, path, label=None).startswith("cannot be read as Parquet (")


def test_parquet_with_a_name_that_is_no_text(message, tmp_path):
    path = parquet_file(tmp_path, speed=[1.0, 2.0])
    path.write_bytes(path.read_bytes().replace(b"speed", b"sp\xffed"))
    assert message(chunks, path, ["speed"]).startswith("cannot be read as Parquet (")


def test_a_changed_byte_is_found_where_pages_have_checksums(message, tmp_path):
    path = tmp_path / "t.parquet"
    batch = pa.record_batch({"a": np.arange(5000) / 7})
    write_batches([batch], batch.schema, path)
    content = path.read_bytes()
    parquet.write_table(pa.table(batch), tmp_path / "plain.parquet")
    assert len(content) > (tmp_path / "plain.parquet").stat().st_size  # by the checksums
    path.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    assert "CRC checksum verification failed" in message(chunks, path, ["a"])


def test_memory_does_not_grow_with_the_row_groups(tmp_path):
    """Of a group of 64 MB the reader holds the batch that is asked for, and pages of each column."""
    rows, names = 1 << 20, [f"x{index}" for index in range(8)]
    values = pa.array(np.random.default_rng(0).normal(size=rows))
    table = pa.table(dict.fromkeys(names, values))
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=rows, use_dictionary=False)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_chunks(tmp_path / "t.parquet", features=names)]
    assert len(held) == 16
    assert 0 < max(held) < 32e6


def test_parquet_columns_that_have_no_texts_are_no_categories(message, tmp_path):
    path = parquet_file(tmp_path, a=[[1.0], [2.0]], b=pa.array([b"\xff", b"x"]), c=[{"k": 1}, None], d=[b"x", b"y"])
    expected = {
        "a": "column a holds list<element: double>, expected texts or numbers",
        "b": "column b holds bytes that are not UTF-8 text",
        "c": "column c holds struct<k: int64>, expected texts or numbers",
    }
    for name, sentence in expected.items():
        assert (
            message(read_table, path, label=None, features=[name], categorical=[name]).replace("item", "element")
            == sentence
        )
    assert read_table(path, label=None, features=["d"], categorical=["d"]).categories == {"d": ("x", "y")}


@pytest.mark.parametrize("cells", [["x", "y", "x", "y"], [1.5, 2.5, 1.5, 2.5]], ids=["texts", "numbers"])
@pytest.mark.parametrize("place", [2, 3])
def test_a_place_that_a_dictionary_has_not_is_damage(cells, place, message, tmp_path):
    """It is neither a traceback, nor what memory holds behind the dictionary, nor a gap."""
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"a": cells}), path, compression="none")
    content = path.read_bytes()
    packed = b"\x01\x03\x0a"  # a bit each, eight together: 0, 1, 0, 1 and what does not matter
    assert content.count(packed) == 1
    path.write_bytes(content.replace(packed, bytes([2, 4 << 1, place])))  # two bits each, four alike
    for missing in (False, True):
        expected = "column a names a value that its dictionary has not" if cells[0] == "x" else ""
        assert message(read_table, path, label=None, missing=missing).startswith(
            f"cannot be read as Parquet ({expected}"
        )
