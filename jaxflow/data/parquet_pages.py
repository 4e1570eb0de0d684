"""How large the pages of a Parquet file become, read from their headers before any is decompressed.

The footer of a file says so too, but whoever writes a file may write anything there; what is allocated for a page is
what the header of the page says. Headers are structs in Thrift's compact protocol
(https://github.com/apache/parquet-format: PageHeader).
"""

from io import BufferedIOBase
from typing import BinaryIO, NamedTuple

_FIRST_BYTES, _MOST_BYTES = 1 << 7, 1 << 20  # of a header; statistics make it long
_PADDING = 128  # bytes that some writers count to a chunk behind its last page
_MOST_DEPTH = 8  # of structs within structs in a header, which has two


class Pages(NamedTuple):
    """The pages of one column in one row group.

    Attributes:
        total: bytes of all pages once they are decompressed.
        largest: bytes of the largest of them.
    """

    total: int
    largest: int


def measure_pages(file: BinaryIO | BufferedIOBase, start: int, length: int) -> Pages:
    """Add up the pages that lie in a part of a file.

    Args:
        file: the file.
        start: where the first page begins.
        length: how many bytes the pages take there.

    Raises:
        ValueError: if something other than pages is there.
    """
    total = largest = 0
    position, stop = start, start + length
    while position < stop:
        try:
            header, uncompressed, compressed = _page(file, position)
        except ValueError:
            if stop - position <= _PADDING and total:
                break
            raise
        total, largest = total + uncompressed, max(largest, uncompressed)
        position += header + compressed
    return Pages(total, largest)


def _page(file: BinaryIO | BufferedIOBase, position: int) -> tuple[int, int, int]:
    """How long a page's header is, its content once decompressed, and its content in the file."""
    count = _FIRST_BYTES
    while True:
        file.seek(position)
        content = file.read(count)
        try:
            reader = _Reader(content)
            fields = reader.struct()
            break
        except IndexError:
            if len(content) < count or count >= _MOST_BYTES:
                raise ValueError("a page has no header") from None
            count *= 8
    uncompressed, compressed = fields.get(2, -1), fields.get(3, -1)
    if uncompressed < 0 or compressed < 0:
        raise ValueError("the header of a page is damaged")
    return reader.position, uncompressed, compressed


class _Reader:
    """Reads values of Thrift's compact protocol one after the other; beyond the end it raises `IndexError`."""

    def __init__(self, content: bytes):
        self.content, self.position = content, 0

    def struct(self, depth: int = 0) -> dict[int, int]:
        """The whole numbers of a struct by the numbers of their fields; what else it has is passed over."""
        if depth > _MOST_DEPTH:
            raise ValueError("the header of a page is damaged")
        fields: dict[int, int] = {}
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._whole()
            kind = byte & 15
            if kind in (4, 5, 6):
                fields[number] = self._whole()
            else:
                self._pass_over(kind, depth)
        return fields

    def _byte(self) -> int:
        byte = self.content[self.position]
        self.position += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("the header of a page is damaged")

    def _whole(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _pass_over(self, kind: int, depth: int) -> None:
        if kind in (1, 2):  # true and false, which lie in the kind
            return
        if kind == 3:
            self._skip(1)
        elif kind == 7:
            self._skip(8)
        elif kind == 8:
            self._skip(self._varint())
        elif kind == 12:
            self.struct(depth + 1)
        else:  # lists, sets and mappings, of which a header has none
            raise ValueError("the header of a page is damaged")

    def _skip(self, count: int) -> None:
        if self.position + count > len(self.content):
            raise IndexError
        self.position += count
