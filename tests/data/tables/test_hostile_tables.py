"""Tables of strangers: one sentence, soon and at little cost, whatever their headers promise.

Each file is read in a process of its own whose memory is limited; what a limit would forbid ends it. Sizes of what is
read besides say that honest tables of moderate size pass.
"""

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from jaxflow.data.tables.npy_header import read_array_header
from jaxflow.data.tables.parquet_pages import measure_pages
from jaxflow.data.tables.thrift import varint
from tests.data.tables.footers import BOOLEAN, BYTES, DOUBLE, INT64, SIZES, footer_of, replace_footer, write_column

LIMIT = 400 << 20  # bytes that a reader may map beside what the process has
SECONDS = 20

READER = f"""
import json, os, resource, signal, sys
from pathlib import Path
from jaxflow.data.tables.read_table import read_table
from jaxflow.errors import InputError

def outcome(path, categorical=()):
    try:
        return str(read_table(path, label=None, categorical=categorical).x.shape)
    except InputError as error:
        return str(error)
    except BaseException as error:
        return f"traceback: {{error!r}}"

for line in sys.stdin:
    child = os.fork()
    if not child:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + {LIMIT}, mapped + {LIMIT}))
        signal.alarm({SECONDS})
        print(json.dumps(outcome(*json.loads(line))), flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print(json.dumps(f"ended by {{status}}"), flush=True)
"""


@pytest.fixture(scope="module")
def ended():
    """What reading a file comes to in a process of its own: the shape of its rows, or the error."""
    command, root = [sys.executable, "-c", READER], Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=root, env=environment) as reader:

        def ask(path: Path, categorical: tuple[str, ...] = ()) -> str:
            assert reader.stdin is not None
            assert reader.stdout is not None
            print(json.dumps([str(path), categorical]), file=reader.stdin, flush=True)
            return json.loads(reader.stdout.readline()).replace(f"{path}: ", "")

        yield ask


def header(shape: str, descr: str = "'<f8'", order: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(method: int = zipfile.ZIP_DEFLATED, /, **members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as file:
        for name, member in members.items():
            file.writestr(f"{name}.npy", member)
    return content.getvalue()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: archive(X=header("(0, 1000000000000)")), "there are 1000000000000 columns, expected at most 65536"),
        (lambda: archive(X=header("(1, 70000)") + bytes(560_000)), "there are 70000 columns, expected at most 65536"),
        (lambda: archive(X=header(f"({10**30}, 3)")), f"(the shape ({10**30}, 3) of float64 takes"),
        (lambda: archive(X=header(f"({'9' * 5000}, 3)")), "array X cannot be read (the shape has too"),
        (lambda: archive(X=header("(" + "1," * 100 + ")")), "array X cannot be read (the shape has too"),
        (lambda: archive(X=header("(-1, 3)")), "array X cannot be read (the header is damaged)"),
        *(
            (lambda shape=shape: archive(X=header(shape) + bytes(48)), "array X cannot be read (the header is damaged)")
            for shape in ("(2 3)", "(2,,3)", "(,2, 3)", "(2, 3,,)", "(,)", "(2L3)", "(6)")
        ),
        (lambda: archive(X=header("[" * 4000)), "array X cannot be read (the header is damaged)"),
        (lambda: archive(X=header("(3, 1", order="False")), "array X cannot be read (the header is damaged)"),
        (lambda: archive(X=header("(1, 1)", "[('a', '<f8')]")), "array X cannot be read (it holds records of several"),
        (lambda: archive(X=header("(1, 1)", "'nonsense'")), "array X cannot be read (the type 'nonsense' is unknown)"),
        (lambda: archive(X=header("(1, 1)", "'|O'")), "array X holds Python objects, expected numbers"),
        (lambda: archive(X=header("(1, 1)", "'<U9999999'")), "(the shape (1, 1) of <U9999999 takes"),
        (lambda: archive(X=archive(X=header("(1, 1)"))), "array X cannot be read (it does not begin as an array"),
        (lambda: archive(X=b"\x93NUMPY\x03\x00" + b"\xff" * 4), "(the header has 4294967295 bytes"),
        (lambda: archive(X=b"\x93NUMPY\x07\x00"), "array X cannot be read (version 7 of the format is unknown)"),
        (lambda: archive(X=header("(1800000, 10)") + bytes(144_000_000)), "in memory, expected at most 2"),
        (lambda: archive(X=header("(8, 8000000)", order="True")), "array X cannot be read (the shape"),
        (lambda: archive(X=header("(50000000, 1)", "'|b1'") + bytes(50_000_000)), "in memory, expected at most 2"),
        (
            lambda: archive(**{f"a{n}": header("(400000,)", "'|u1'") + bytes(400_000) for n in range(100)}),
            "in memory, expected at most 2",
        ),
        (lambda: archive(zipfile.ZIP_LZMA, X=header("(1, 1)") + bytes(8)), "NPZ (it is compressed in way 14"),
        # What is honest passes.
        (lambda: archive(X=header("(200000, 20)") + bytes(32_000_000)), "(200000, 20)"),
        (lambda: archive(X=header("(1, 30000)") + bytes(240_000)), "(1, 30000)"),
        (lambda: archive(X=header("(2, 3)", "'>f4'", "True") + bytes(24), y=header("(2,)") + bytes(16)), "(2, 3)"),
        (lambda: archive(zipfile.ZIP_STORED, X=header("(5000000, 2)", "'|u1'") + bytes(10_000_000)), "(5000000, 2)"),
        (lambda: archive(**{f"a{n}": header("(2,)") + bytes(16) for n in range(3000)}), "(2, 3000)"),
    ],
)  # fmt: skip
def test_archives(make, expected, tmp_path, ended):
    path = tmp_path / "rows.npz"
    path.write_bytes(make())
    assert expected in ended(path)


def table(**columns):
    return pa.table(columns)


def repeated(text: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.arange(rows, dtype=np.int32) % 2), pa.array([text, "y"]))


DELTA = {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}, "compression": "zstd"}


@pytest.mark.parametrize(
    ("make", "options", "expected"),
    [
        (lambda: table(a=["x" * 70_000_000], b=[1.0]), {"compression": "zstd"}, "in memory, expected at most 2"),
        (lambda: table(a=pa.array([b"x", b"y"]).dictionary_encode(), b=[1.0, 2.0]), {}, "column a holds dictionary<"),
        (lambda: table(a=pa.array([b"\xff", b"\xed\xa0\x80"]).view(pa.string())), {}, "bytes that are not UTF-8 text"),
        (lambda: table(a=np.zeros(36_000_000)), {}, "in memory, expected at most 2"),
        (lambda: table(a=[f"{n:07}" for n in range(1_050_000)]), DELTA, "holds more than 1048576 different texts"),
        # What is honest passes, or costs little.
        (lambda: table(a=repeated("x" * 100_000, 200_000)), {"store_schema": False}, "(200000, 1)"),
        (lambda: table(a=pa.array(["x" * 20_000] * 8000, pa.large_string())), DELTA, "(8000, 1)"),
        (lambda: table(a=["x", None, "y"], b=[1, 2, 3]), DELTA, "row 2, column a is empty"),
        (lambda: table(a=["x", "z", "y"], b=[1, 2, 3]), DELTA, "(3, 2)"),
        (lambda: table(a=pa.array(["x"], pa.string_view()), b=pa.array(["y"], pa.large_string())), {}, "(1, 2)"),
        (lambda: table(**{f"a{n}": np.zeros(500_000) for n in range(20)}), {"row_group_size": 100_000}, "(500000, 20)"),
    ],
    ids=range(11),
)  # fmt: skip
def test_parquet(make, options, expected, tmp_path, ended):
    path = tmp_path / "rows.parquet"
    parquet.write_table(make(), path, **options)
    assert expected in ended(path)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (pa.array([b"x" * 60_000, *[None] * 9999], pa.binary(60_000)), "row 2, column a is empty"),
        (pa.array([["x" * 70_000_000]]), "column a holds list<element: string>, expected texts or numbers"),
        (pa.array([{"b": "x" * 70_000_000}]), "column a holds struct<b: string>, expected texts or numbers"),
    ],
)
def test_parquet_columns_said_to_be_categories(cells, expected, tmp_path, ended):
    path = tmp_path / "rows.parquet"
    parquet.write_table(table(a=cells), path, compression="zstd", use_dictionary=False)
    assert expected in ended(path, ("a",))


def test_an_untrue_footer_costs_nothing(tmp_path, ended):
    """The footer says what a page decompresses to, and so does the page; only the footer is changed."""
    path = tmp_path / "rows.parquet"
    parquet.write_table(table(a=["x" * 70_000_000], b=[1.0]), path, compression="zstd", use_dictionary=False)
    chunk = parquet.read_metadata(path).row_group(0).column(0)
    content = path.read_bytes()
    honest, footer = varint(2 * chunk.total_uncompressed_size), len(content) - 2000
    assert content.count(honest, footer) == 1
    path.write_bytes(content[:footer] + content[footer:].replace(honest, varint(2 * (1 << 21))))
    assert "in memory, expected at most 2" in ended(path)


@pytest.mark.parametrize("kind", [BOOLEAN, INT64, DOUBLE, BYTES])
def test_sizes_in_a_footer_do_not_end_the_process(kind, tmp_path, ended):
    """pyarrow alone would end it at nearly each of these files."""
    path = tmp_path / "rows.parquet"
    for sizes in SIZES.values():
        write_column(kind, path)
        replace_footer(path, footer_of(kind, path, m16=sizes, e6=0 if kind == BYTES else None))
        assert "row 3, column a is empty" in ended(path) or "row 2, column a is empty" in ended(path)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd", "snappy", "gzip"])
def test_pages_are_measured_as_they_are(version, compression, tmp_path):
    rng = np.random.default_rng(0)
    columns = table(a=rng.normal(size=5000), b=rng.choice(np.array(["x", "y", None]), 5000), c=np.arange(5000) // 100)
    parquet.write_table(
        columns, tmp_path / "rows.parquet", compression=compression, data_page_version=version, data_page_size=1000,
        row_group_size=1500, write_page_checksum=True, write_statistics=True,
    )  # fmt: skip
    metadata = parquet.read_metadata(tmp_path / "rows.parquet")
    with (tmp_path / "rows.parquet").open("rb") as file:
        for group in range(metadata.num_row_groups):
            for place in range(3):
                chunk = metadata.row_group(group).column(place)
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                pages = measure_pages(file, start, chunk.total_compressed_size)
                # The footer counts the headers too.
                assert 0.2 * chunk.total_uncompressed_size < pages.total <= chunk.total_uncompressed_size
                assert 0 < pages.largest <= pages.total


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.binary(max_size=300), st.integers(0, 50))
def test_bytes_that_are_no_pages_are_refused(content, start):
    try:
        measured = measure_pages(io.BytesIO(content), start, len(content))
    except ValueError:
        return
    assert measured.total >= measured.largest >= 0


SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
KINDS = st.sampled_from(["<f8", ">f4", "<i8", "|u1", "|b1", "<f2", "<c16", "<U3", "|S2", "<M8[ns]"])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(SHAPES, KINDS, st.booleans(), st.sampled_from([(1, 0), (2, 0), (3, 0)]))
def test_headers_of_numpy_are_read_as_numpy_reads_them(shape, kind, fortran, version):
    array = np.asfortranarray(np.zeros(shape, kind)) if fortran else np.zeros(shape, kind)
    content = io.BytesIO()
    np.lib.format.write_array(content, array, version)
    size = content.tell()
    content.seek(0)
    found = read_array_header(content, size)
    assert (found.shape, found.dtype, found.start + found.nbytes) == (array.shape, array.dtype, size)
    assert content.tell() == found.start
    assert found.fortran_order == (array.flags.f_contiguous and not array.flags.c_contiguous)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_headers_are_refused_or_promise_no_more_than_there_is(data):
    content = bytearray(header("(3, 2)") + bytes(48))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(6, 79))] = data.draw(st.sampled_from(b"()[]{}',:0129<f\x00\xff"))
    try:
        found = read_array_header(io.BytesIO(bytes(content)), len(content))
    except ValueError:
        return
    assert found.dtype.hasobject or found.start + found.nbytes <= len(content)
