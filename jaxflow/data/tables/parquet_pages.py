"""How large the pages of a Parquet file become, read from their headers before any is decompressed.

The footer of a file says so too, but whoever writes a file may write anything there; what is allocated for a page is
what the header of the page says. Headers are structs in Thrift's compact protocol
(https://github.com/apache/parquet-format: PageHeader).
"""

from io import BufferedIOBase
from typing import BinaryIO, NamedTuple

from jaxflow.data.tables.thrift import Reader

_FIRST_BYTES, _MOST_BYTES = 1 << 7, 1 << 20  # of a header; statistics make it long
_PADDING = 128  # bytes that some writers count to a chunk behind its last page


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
            reader = Reader(content)
            fields = reader.wholes()
            break
        except IndexError:
            if len(content) < count or count >= _MOST_BYTES:
                raise ValueError("a page has no header") from None
            count *= 8
    uncompressed, compressed = fields.get(2, -1), fields.get(3, -1)
    if uncompressed < 0 or compressed < 0:
        raise ValueError("the header of a page is damaged")
    return reader.position, uncompressed, compressed
