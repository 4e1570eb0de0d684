"""Files of one Parquet column whose footers say what they should not."""

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from jaxflow.data.tables.thrift import BINARY, I32, I64, LIST, STRUCT, list_header, varint

BOOLEAN, INT32, INT64, INT96, FLOAT, DOUBLE, BYTES, FIXED = range(8)
COLUMNS = {
    BOOLEAN: pa.array([True, False, None]),
    INT32: pa.array([1, 2, None], pa.int32()),
    INT64: pa.array([1, None, 3]),
    INT96: pa.array([1, 2, None], pa.timestamp("ns")),
    FLOAT: pa.array([1.0, 2.0, None], pa.float32()),
    DOUBLE: pa.array([1.0, 2.0, None]),
    BYTES: pa.array(["x", "y", None]),
    FIXED: pa.array([b"xy", b"zz", None], pa.binary(2)),
}


def whole(value: int) -> bytes:
    """A whole number."""
    return varint(2 * value if value >= 0 else -2 * value - 1)


def struct(kinds: dict[int, int], /, **fields: bytes | int | None) -> bytes:
    """A struct of fields such as `f3`, in this order; None leaves one out."""
    numbers = {int(name[1:]): value for name, value in fields.items() if value is not None}
    written = [
        bytes([(number - before) << 4 | kinds.get(number, STRUCT)])
        + (value if isinstance(value := numbers[number], bytes) else whole(value))
        for before, number in pairwise([0, *numbers])
    ]
    return b"".join(written) + b"\0"


def listed(kind: int, *items: bytes) -> bytes:
    """A list of what is written already."""
    return list_header(len(items), kind) + b"".join(items)


def text(value: bytes) -> bytes:
    """A text."""
    return varint(len(value)) + value


def footer_of(kind: int, path: Path, *, groups: int = 1, copies: int = 1, schema=(), **changed) -> bytes:
    """The footer of a file of one column, written anew with some fields changed.

    `f1` is the first field of the file, `e1` of the column in the schema, `g1` of its row group, `c1` of the column in
    that, `m1` of what describes it there.
    """
    chunk = parquet.read_metadata(path).row_group(0).column(0)
    given = {"m1": kind, "m4": 1, "m5": 3, "m6": chunk.total_uncompressed_size, "m7": chunk.total_compressed_size}
    given |= {"m2": listed(I32, whole(0), whole(3)), "m3": listed(BINARY, text(b"a")), "m9": chunk.data_page_offset}
    given |= {"c2": 0, "g2": 100, "g3": 3, "f1": 2, "f3": 3, "e1": kind, "e3": 1, "e4": text(b"a")}
    given |= {"e2": 2 if kind == FIXED else None, **changed}

    def part(letter: str, **more: bytes) -> dict:
        fields = {f"f{name[1:]}": value for name, value in given.items() if name[0] == letter} | more
        return dict(sorted(fields.items(), key=lambda field: int(field[0][1:])))

    column = struct({1: I32, 2: LIST, 3: LIST, 4: I32, 5: I64, 6: I64, 7: I64, 9: I64, 11: I64}, **part("m"))
    piece = struct({1: BINARY, 2: I64, 9: BINARY}, **part("c", f3=column))
    group = struct({1: LIST, 2: I64, 3: I64}, **part("g", f1=listed(STRUCT, *[piece] * copies)))
    element = struct({1: I32, 2: I32, 3: I32, 4: BINARY, 5: I32, 6: I32}, **part("e"))
    root = struct({4: BINARY, 5: I32}, f4=text(b"schema"), f5=1)
    elements = listed(STRUCT, root, *schema, element)
    fields = part("f", f2=elements, f4=listed(STRUCT, *[group] * groups))
    return struct({1: I32, 2: LIST, 3: I64, 4: LIST, 6: BINARY}, **fields)


def within(children: int) -> bytes:
    """A group of columns in a schema."""
    return struct({3: I32, 4: BINARY, 5: I32}, f3=1, f4=text(b"g"), f5=children)


def write_column(kind: int, path: Path) -> None:
    """Write a file of one column of a physical type."""
    table = pa.table({"a": COLUMNS[kind]})
    parquet.write_table(table, path, use_dictionary=False, use_deprecated_int96_timestamps=kind == INT96)


def replace_footer(path: Path, footer: bytes) -> None:
    """Give a file another footer."""
    content = path.read_bytes()
    content = content[: -8 - int.from_bytes(content[-8:-4], "little")]
    path.write_bytes(content + footer + len(footer).to_bytes(4, "little") + b"PAR1")


# Statistics of sizes that do not fit the columns above, which have no repetitions and one level of definitions.
SIZES = {
    "bytes that texts would have": struct({1: I64}, f1=5),
    "repetitions": struct({2: LIST}, f2=listed(I64, whole(1), whole(2))),
    "no repetitions": struct({2: LIST}, f2=listed(I64)),
    "too few definitions": struct({3: LIST}, f3=listed(I64, whole(3))),
    "too many definitions": struct({3: LIST}, f3=listed(I64, *[whole(1)] * 20)),
    "negative ones": struct({1: I64, 3: LIST}, f1=-1, f3=listed(I64, whole(-1), whole(-2))),
    "other kinds": struct({1: BINARY, 3: LIST}, f1=text(b"x"), f3=listed(BINARY, text(b"x"))),
}
