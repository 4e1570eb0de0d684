"""Files of strangers, read in this process: numbers that are such, or one sentence, soon and at little cost.

NPZ and NPY files, Parquet files and configurations: of 575 files about 540 are refused.

`JAXFLOW_FUZZ=50 .venv/bin/python -m pytest tests/data/tables/test_fuzz_readers.py`
tries fifty times as many inputs, others each time.
"""

import io
import json
import struct
import warnings
import zipfile
from argparse import Namespace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from jaxflow.config.command_line import load_spec
from jaxflow.data.tables.read_table import read_table
from jaxflow.errors import LONGEST_SENTENCE, InputError
from jaxflow.experiment import Experiment
from tests.trials import REFUSED, TRIED, counted, damaged_bytes, inputs, limited


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("readers")


def check(test: str, read: Any, path: Path, content: bytes) -> Any:
    """What reading a file of this content gives; None if it was refused, in a sentence that may be shown."""
    path.write_bytes(content)
    try:
        with limited(test, len(content)):
            try:
                found = read(path)
            except InputError as error:
                found, sentence = None, str(error)
            else:
                sentence = ""
    finally:
        path.unlink()
    assert sentence.isprintable()
    assert len(sentence) <= LONGEST_SENTENCE
    counted(test, 1, found is None)
    return found


def read_rows(path: Path, label: str | None = None, categorical: tuple[str, ...] = (), missing: bool = False) -> Any:
    """The rows of a file, which have no infinite number, and no gap where none may be."""
    found = read_table(path, label=label, categorical=categorical, missing=missing)
    assert found.x.shape[0] > 0
    assert found.x.shape[1] == len(found.feature_names)
    assert not np.isinf(found.x).any()
    assert missing or not np.isnan(found.x).any()
    return found


def read_configuration(path: Path) -> Any:
    """The configuration of a run of train.py."""
    return load_spec(Experiment, path, Namespace())


OPTIONS = st.fixed_dictionaries(
    {
        "label": st.sampled_from([None, None, "y", "label"]),
        "categorical": st.sampled_from([(), (), (), ("a",)]),
        "missing": st.booleans(),
    }
)


# Of shapes: too many rows, columns, dimensions or digits; none; brackets that stay open; what is no shape.
SHAPES = st.one_of(
    st.lists(st.integers(0, 4), max_size=3).map(lambda shape: str(tuple(shape))),
    st.sampled_from([f"(0, {10**12})", f"({10**12}, 0)", f"({10**30}, 3)", "(2, 70000)", "(-1, 3)", "(3.0, 1)", "()"]),
    st.sampled_from(["(" * 3000, "(3, 1", "[" * 5000, "(1," * 900, "(" + "1, " * 60 + ")", f"({'9' * 5000},)", "None"]),
    st.text("0123456789(),L- x", max_size=12),
)
ODD_KINDS = ["|O", "<U3", "|S2", "<U99999999", "|V8", "<M8[ns]", "<m8[Y]", "f8,f8", "nonsense", "<f8'", "\x1b[2J"]
KINDS = st.one_of(
    st.sampled_from(["<f8", "<f8", "<f8", ">f4", "<f2", "<i8", "|u1", "|b1", "<f16", "<c16"]),
    st.sampled_from(ODD_KINDS),
    st.text(max_size=6),
)


def npy(shape: str, kind: str, order: str = "False", version: int = 1, more: str = "") -> bytes:
    """The beginning of an array as NumPy writes it, whatever it says."""
    text = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, {more}}}\n".encode(errors="replace")
    width = "<H" if version == 1 else "<I"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(width, min(len(text), 65_535)) + text


@st.composite
def members(draw, rows):
    """An array, or what stands for one."""
    kind = draw(st.sampled_from([*["good"] * 4, "header", "header", "header", "objects", "bytes", "npz", "text"]))
    if kind == "good":
        shape = draw(st.sampled_from([(rows,), (rows,), (rows, 2)]))
        kind = draw(st.sampled_from(["f8", "f4", "i4", "u1", "?"]))
        values = np.arange(np.prod(shape)).reshape(shape).astype(kind)
        return saved(values if draw(st.integers(0, 9)) else np.full(shape, draw(st.floats())))
    if kind == "header":
        order, version = draw(st.sampled_from(["False", "True", "0"])), draw(st.sampled_from([1, 1, 1, 2, 3, 9]))
        more = draw(st.sampled_from(["", "", "", "'shape': (1,), ", "'x': [", "'descr': [('a', '<f8')], "]))
        return npy(draw(SHAPES), draw(KINDS), order, version, more) + bytes(draw(st.integers(0, 64)))
    if kind == "objects":
        return saved(np.array([None, "x", {}], object))
    if kind == "npz":
        return archive([("X", saved(np.ones((3, 2))))])
    return draw(st.binary(max_size=40)) if kind == "bytes" else saved(np.array(["a", "b"]))


def saved(array: np.ndarray) -> bytes:
    written = io.BytesIO()
    np.save(written, array, allow_pickle=True)
    return written.getvalue()


def archive(arrays: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name may come twice
        for name, member in arrays:
            file.writestr(f"{name}.npy", member)
    return content.getvalue()


@cache
def bombs() -> list[bytes]:
    """Archives that would take more memory than their size explains, and some that just may."""
    described = [
        ("(50000000, 1)", "|b1", 50_000_000),
        ("(2, 60000)", "<f4", 480_000),
        ("(60000000, 1)", "|u1", 1000),
    ]
    columns = [(f"a{number}", npy("(40000,)", "|u1") + bytes(40_000)) for number in range(900)]
    return [archive([("X", npy(shape, kind) + bytes(size))]) for shape, kind, size in described] + [archive(columns)]


@inputs(225)
@given(st.data())
def test_arrays(place, data):
    draw = data.draw
    rows = draw(st.integers(1, 4))
    names = draw(st.lists(st.sampled_from([*"XXXXyab", "", "../x", "\x1b[2J", "é" * 300]), min_size=1, max_size=4))
    arrays = [(name, draw(members(rows))) for name in names]
    kind = draw(st.sampled_from([*["archive"] * 8, "bomb", "npy"]))
    if kind == "bomb":
        content = draw(st.sampled_from(bombs()))
    elif kind == "npy":
        content = arrays[0][1]
    else:
        method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
        content = archive(arrays, method)
    content = damaged_bytes(draw, content)
    name = draw(st.sampled_from([*["rows.npz"] * 12, "rows.npy", "rows.csv"]))
    check("arrays", partial(read_rows, **draw(OPTIONS)), place / name, content)


def parquet_file(table: pa.Table, **options: Any) -> bytes:
    written = io.BytesIO()
    parquet.write_table(table, written, **options)
    return written.getvalue()


BINARY = [[b"\xff\xfe", b"\xed\xa0\x80", b"x"], [b"", b"\xc3", b"a\0b"], [b"x", None, b"\xf5\x80"], [b"a", b"b", b"c"]]
TEXTUAL = [
    *(pa.array(cells, pa.binary()).view(pa.string()) for cells in BINARY),
    *(pa.array(cells, pa.binary()).dictionary_encode() for cells in BINARY),
    *(pa.array(["x", "\u2028", text]) for text in ("", "\x1b[2J", "1.5")),
    pa.array(["x" * 100_000, "y", "x" * 100_000]),
    pa.array([b"ab", b"cd", b"\xff\xff"], pa.binary(2)),
    pa.array(["a", "b", None], pa.string_view()),
]
OTHERS = [
    pa.array([1.0, 2.0, 3.0]),
    pa.array([1, None, 3]),
    pa.array([True, False, True]),
    pa.array([1.0, 2.0, 1.0]).dictionary_encode(),
    pa.array([[[1.0]], [], None]),
    pa.array([{"a": 1, "b": "x"}, None, {"a": 2, "b": "y"}]),
    pa.array([1, 2, 3], pa.duration("us")),
    pa.array([[("k", 1)], [], []], pa.map_(pa.string(), pa.int64())),
]
WRITTEN = st.fixed_dictionaries(
    {},
    optional={
        "compression": st.sampled_from(["none", "snappy", "gzip", "zstd", "brotli", "lz4"]),
        "use_dictionary": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "version": st.sampled_from(["1.0", "2.4", "2.6"]),
        "store_schema": st.booleans(),
        "row_group_size": st.integers(1, 3),
        "write_page_checksum": st.booleans(),
        "write_page_index": st.booleans(),
    },
)


@cache
def tall() -> list[bytes]:
    """Few kilobytes that stand for tens of megabytes and more: one page, many pages, many groups, many columns."""
    zeros, tables = np.zeros(34_000_000), pa.table
    return [
        parquet_file(tables({"a": ["x" * 70_000_000]}), compression="zstd", use_dictionary=False),
        parquet_file(tables({"a": zeros}), compression="zstd"),
        parquet_file(tables({"a": zeros[:300_000], "y": zeros[:300_000]}), compression="zstd", row_group_size=10_000),
        parquet_file(tables({f"c{number}": [1.0] for number in range(1000)})),
    ]


@inputs(150)
@given(st.data())
def test_parquet(place, data):
    draw = data.draw
    if draw(st.integers(0, 19)):
        names = draw(st.lists(st.sampled_from(["a", "b", "y", "é\u0301", "", "\x1b"]), min_size=1, max_size=4))
        columns = [draw(st.sampled_from(draw(st.sampled_from([TEXTUAL, OTHERS, OTHERS[:3]])))) for _ in names]
        table, options = pa.Table.from_arrays(columns, names), draw(WRITTEN)
        try:
            content = parquet_file(table, **options)
        except pa.ArrowException:  # types that a version does not have
            content = parquet_file(table)
        if draw(st.sampled_from([False, False, True])):  # a name that is no text
            content = content.replace("é".encode(), b"\xff\xfe")
    else:
        content = draw(st.sampled_from(tall()))
    start = draw(st.sampled_from([0, max(0, len(content) - 700)]))
    content = content[:start] + damaged_bytes(draw, content[start:])
    check("parquet", partial(read_rows, **draw(OPTIONS)), place / "rows.parquet", content)


CONFIGURATION = {
    "title": "Machines",
    "seed": 3,
    "data": {"path": "machines.csv"},
    "model": {"kind": "maf", "hidden": [16]},
    "train": {"epochs": 5, "batch_size": 64},
    "columns": {"missing": "median", "types": {"a": {"kind": "circular", "period": 24.0}}},
}
LONG = ["9" * 300, "9" * 5000, "-" + "1" * 5000, "0x" + "f" * 400, f'"{"x" * 9000}"']
ESCAPED = ['"\\e[2J"', '"\\0"', '"\\ud800"', '"\\udfff\\ud800"', "\x07", "\x85", "\ufeff", "é"]
TAGGED = ["!!python/name:os.system", "!!binary aGk=", "!!set {a}", "!!int x", "!!float a", "!x y", "<<", "*a", "&a x"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6).map(str),
    st.floats().map(repr),
    st.sampled_from([*LONG, *ESCAPED, *TAGGED]),
    st.sampled_from(["1e999", ".inf", ".nan", "010", "2020-01-01", *"[{}\"'|@`&*?"]),
    st.sampled_from(["? a", "- a", "a: b: c", "%YAML 1.1", "---", "...", "\t"]),
    st.text(max_size=6),
).map(lambda value: value if isinstance(value, str) else json.dumps(value))


def nested(opening: str, closing: str, depth: int) -> str:
    return opening * depth + "1" + closing * depth


# Texts that stand for more values than they have letters, or lie within each other.
DEEP = [
    *(f"a: {nested(pair[0], pair[1], depth)}" for pair in ("[]", ("{a: ", "}")) for depth in (60, 70, 9000)),
    "a: " + "[" * 100_000,
    "a: " + "- " * 5000,
    "\n".join(" " * depth + "a:" for depth in range(500)),
    *(
        f"a0: &a0 {first}\n" + "\n".join(f"a{n}: &a{n} {around(n - 1)}" for n in range(1, 30))
        for first in ("[lol, lol]", "{a: b}", "x")
        for around in (
            lambda n: f"[{', '.join([f'*a{n}'] * 9)}]",
            lambda n: f"{{x: *a{n}, y: *a{n}}}",
            lambda n: f"{{<<: *a{n}, {n}: 1}}",
        )
    ),
    "a: &a [*a]",
    "&a a: *a",
    "? [1, 2]\n: 3",
    "\n".join(f"k{number}: 1" for number in range(30_000)),
    "a: [" + "1," * 100_000 + "]",
    "a: " + "x" * 300_000,
    "a: 1\n" * 3,
]  # fmt: skip


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Where the values of a configuration stand."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


def written(value: Any, other: dict[tuple, str], path: tuple = ()) -> str:
    """A configuration in which other text stands at some places."""
    if path in other:
        return other[path]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(child, other, (*path, key))}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(child, other, (*path, index)) for index, child in enumerate(value)) + "]"
    return json.dumps(value)


@inputs(200)
@given(st.data())
def test_configurations(place, data):
    draw = data.draw
    kind = draw(st.sampled_from([*["changed"] * 6, "deep", "deep", "bytes"]))
    if kind == "bytes":
        content = draw(st.binary(max_size=60))
    else:
        other = draw(st.dictionaries(st.sampled_from(places(CONFIGURATION)[1:]), SCALARS, max_size=2))
        lines = [f"{key}: {written(value, other, (key,))}" for key, value in CONFIGURATION.items()]
        if kind == "deep":
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(DEEP)))
        end = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "\n\n", "\u2028"]))
        encoding = draw(st.sampled_from([*["utf-8"] * 6, "utf-8-sig", "utf-16", "utf-32", "latin-1"]))
        content = damaged_bytes(draw, end.join(lines).encode(encoding, errors="replace"))
    check("configurations", read_configuration, place / "c.yaml", content)


def test_both_ends_are_reached(place):
    ones, objects = archive([("a", saved(np.ones(3)))]), archive([("a", npy("(3,)", "|O"))])
    text = "\n".join(f"{key}: {written(value, {}, (key,))}" for key, value in CONFIGURATION.items())
    assert check("both ends", read_rows, place / "a.npz", ones) is not None
    assert check("both ends", read_rows, place / "a.npz", objects) is None
    assert check("both ends", read_configuration, place / "c.yaml", text.encode()) is not None
    assert check("both ends", read_configuration, place / "c.yaml", b"a: &a [*a]") is None


@pytest.mark.parametrize(("test", "share"), [("arrays", 0.6), ("parquet", 0.4), ("configurations", 0.5)])
def test_both_are_tried(test, share):
    """That the tests above try what is malformed, and also what is not."""
    if not TRIED[test]:
        pytest.skip("the test has not run")
    assert share * TRIED[test] < REFUSED[test] < TRIED[test], (TRIED, REFUSED)
