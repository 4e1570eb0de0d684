"""The footer of a Parquet file, cut down to what reading its columns needs, which fits together.

pyarrow's C++ throws where parts of a footer contradict one another, in places where nothing catches it, and the process
ends. Statistics, histograms, indexes, filters and orders, of which most of this can be said, are not read here, so they
are left out; what is left is checked. Structs are named in https://github.com/apache/parquet-format.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from jaxflow.data.tables.thrift import BINARY, I32, I64, LIST, STRUCT, WHOLE, Reader, list_header, varint

MOST_WIDTH = 1 << 16
"""The largest number of bytes that each value of a column of a fixed width may have."""

MOST_PIECES = 1 << 17
"""The largest number of row groups times columns, each of which is described in the footer."""

_MAGIC = b"PAR1"
_MOST_DEPTH = 100  # of columns within columns
_TYPES, _FIXED_WIDTH = range(8), 7
_CODECS, _ENCODINGS = range(8), range(10)

# What is kept of each struct: the kinds of its fields by their numbers.
_FILE = {1: I32, 2: LIST, 3: I64, 4: LIST, 5: LIST, 6: BINARY}
_ELEMENT = {1: I32, 2: I32, 3: I32, 4: BINARY, 5: I32, 6: I32, 7: I32, 8: I32, 9: I32, 10: STRUCT}
_GROUP = {1: LIST, 2: I64, 3: I64, 6: I64}
_CHUNK = {1: BINARY, 2: I64, 3: STRUCT, 8: STRUCT, 9: BINARY}
_COLUMN = {1: I32, 2: LIST, 3: LIST, 4: I32, 5: I64, 6: I64, 7: I64, 9: I64, 11: I64}

_Fields = dict[int, Any]


def kept_footer(content: bytes) -> bytes:
    """A Parquet file of nothing but a footer, the one given without what reading does without.

    Args:
        content: a footer, a struct FileMetaData.

    Raises:
        ValueError: if it is damaged.
    """
    types: list[int] = []

    def schema(reader: Reader) -> bytes:
        elements = _items(reader, lambda reader: _struct(reader, _ELEMENT))
        types[:] = _leaves(elements)
        return _list([_written(element, _ELEMENT) for element in elements])

    def groups(reader: Reader) -> bytes:
        return _list(_items(reader, lambda reader: _group(reader, types), MOST_PIECES // max(1, len(types))))

    try:
        fields = _struct(Reader(content), _FILE, {2: schema, 4: groups})
    except IndexError:
        raise ValueError("the footer ends too early") from None
    _require(fields, 1, 2, 3, 4)
    _require_sizes(fields, 3)
    kept = _written(fields, _FILE)
    return _MAGIC + kept + len(kept).to_bytes(4, "little") + _MAGIC


def _leaves(elements: list[_Fields]) -> list[int]:
    """The physical types of the columns of a schema, which is a tree written from its root downwards."""
    if not elements:
        raise ValueError("the footer names no columns")
    types: list[int] = []
    awaited = [elements[0].get(5, 0)]  # children of the nodes above
    for element in elements[1:]:
        while awaited and not awaited[-1]:
            awaited.pop()
        if not awaited or awaited[-1] < 0 or len(awaited) > _MOST_DEPTH:
            break
        awaited[-1] -= 1
        _require(element, 4)
        children, kind = element.get(5, 0), element.get(1, -1)
        if bool(children) == (kind in _TYPES):
            break
        if children:
            awaited.append(children)
        else:
            types.append(kind)
        if kind == _FIXED_WIDTH and not 0 < element.get(2, 0) <= MOST_WIDTH:
            raise ValueError(f"values have {element.get(2, 0)} bytes each, expected 1 to {MOST_WIDTH}")
    else:
        if not any(awaited):
            return types
    raise ValueError("the schema in the footer is damaged")


def _group(reader: Reader, types: list[int]) -> bytes:
    """A row group of columns of these types."""

    def columns(reader: Reader) -> bytes:
        chunks = _items(reader, _chunk)
        if [kind for kind, _ in chunks] != types:
            raise ValueError("a row group has other columns than the schema in the footer")
        return _list([chunk for _, chunk in chunks])

    fields = _struct(reader, _GROUP, {1: columns})
    _require(fields, 1, 2, 3)
    _require_sizes(fields, 3)
    return _written(fields, _GROUP)


def _chunk(reader: Reader) -> tuple[int, bytes]:
    """The type of a column in a row group, and what is kept of it."""
    kind = -1

    def column(reader: Reader) -> bytes:
        nonlocal kind
        fields = _struct(reader, _COLUMN)
        _require(fields, 1, 2, 3, 4, 5, 6, 7, 9)
        _require_sizes(fields, 5, 6, 7, 9, 11)
        if fields[5] and not fields[9]:
            raise ValueError("the footer does not say where a column begins")
        if fields[4] not in _CODECS:
            raise ValueError(f"a column is compressed in way {fields[4]}, which is unknown")
        _require_encodings(fields[2])
        kind = fields[1]
        return _written(fields, _COLUMN)

    fields = _struct(reader, _CHUNK, {3: column})
    if 8 in fields or 9 in fields:
        raise ValueError("a column is encrypted")
    _require(fields, 3)
    if fields.pop(1, b"\0") != b"\0":
        raise ValueError("a column lies in another file")
    fields[2] = fields.get(2, 0)
    return kind, _written(fields, _CHUNK)


@lru_cache
def _require_encodings(written: bytes) -> None:
    reader = Reader(written)
    count, kind = reader.items()
    if count and (kind != I32 or any(reader.whole() not in _ENCODINGS for _ in range(count))):
        raise ValueError("a column is encoded in an unknown way")


def _struct(
    reader: Reader, kept: Mapping[int, int], read: Mapping[int, Callable[[Reader], bytes]] | None = None
) -> _Fields:
    """Fields of a struct by their numbers: whole numbers as such, others as they are written, or as `read` gives them.

    A field of another kind than it should have is passed over, as is every other one.
    """
    fields: _Fields = {}
    content, number = reader.content, 0
    while byte := reader.byte():
        number = number + (byte >> 4) if byte > 15 else reader.whole()
        kind, start = byte & 15, reader.position
        if kept.get(number) != kind:
            reader.pass_over(kind)
        elif kind in WHOLE:
            value = reader.whole()
            if not -(1 << 31) <= value < 1 << (31 if kind == I32 else 62):
                raise ValueError(f"the footer holds the number {value}, which is out of range")
            fields[number] = value
        elif read and number in read:
            fields[number] = read[number](reader)
        else:
            reader.pass_over(kind)
            fields[number] = content[start : reader.position]
    return fields


def _items(reader: Reader, read: Callable[[Reader], Any], most: int = MOST_PIECES) -> list[Any]:
    """The structs of a list."""
    count, kind = reader.items()
    if count > most:
        raise ValueError(f"there are {count} row groups or columns, expected at most {most}: write larger row groups")
    if kind != STRUCT and count:
        raise ValueError("a list in the footer is damaged")
    return [read(reader) for _ in range(count)]


def _written(fields: _Fields, kinds: Mapping[int, int]) -> bytes:
    """A struct of these fields."""
    written, before = bytearray(), 0
    for number in sorted(fields):
        value = fields[number]
        written.append((number - before) << 4 | kinds[number])
        written += value if isinstance(value, bytes) else varint(2 * value if value >= 0 else -2 * value - 1)
        before = number
    written.append(0)
    return bytes(written)


def _list(structs: list[bytes]) -> bytes:
    return list_header(len(structs), STRUCT) + b"".join(structs)


def _require(fields: _Fields, *numbers: int) -> None:
    if not fields.keys() >= {*numbers}:
        raise ValueError("the footer lacks what every file has")


def _require_sizes(fields: _Fields, *numbers: int) -> None:
    if min([fields.get(number, 0) for number in numbers]) < 0:
        raise ValueError("the footer holds a negative number of rows, values or bytes")
