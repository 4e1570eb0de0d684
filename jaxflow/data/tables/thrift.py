"""Thrift's compact protocol, in which the headers of Parquet files are written, read without trust.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
"""The kinds of values, as the protocol numbers them in fields and lists."""

WHOLE = (I16, I32, I64)

_MOST_DEPTH = 16  # of values within values, of which what is read has a few


class Reader:
    """Reads values one after the other; beyond the end it raises `IndexError`, at damage `ValueError`.

    Attributes:
        content: the bytes.
        position: where in them the next value begins.
    """

    def __init__(self, content: bytes):
        self.content, self.position = content, 0

    def byte(self) -> int:
        """The next byte."""
        byte = self.content[self.position]
        self.position += 1
        return byte

    def varint(self) -> int:
        """A number that is not negative."""
        content, position = self.content, self.position
        value = shift = 0
        while True:
            byte = content[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                self.position = position
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number has too many digits")

    def whole(self) -> int:
        """A whole number."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def binary(self) -> bytes:
        """A text, or bytes."""
        start = self.position
        self._skip(self.varint())
        return self.content[start : self.position]

    def field(self, before: int) -> tuple[int, int]:
        """The number and the kind of a struct's next field; the kind is 0 at the end.

        Args:
            before: the number of the field before, 0 at the beginning.
        """
        byte = self.byte()
        if not byte:
            return before, 0
        return (before + (byte >> 4) if byte >> 4 else self.whole()), byte & 15

    def items(self) -> tuple[int, int]:
        """How many values a list has, and their kind."""
        byte = self.byte()
        count = byte >> 4
        if count == 15:
            count = self.varint()
        if count > len(self.content) - self.position:  # each takes a byte at least
            raise IndexError
        return count, byte & 15

    def wholes(self) -> dict[int, int]:
        """The whole numbers of a struct by the numbers of their fields; what else it has is passed over."""
        fields: dict[int, int] = {}
        number, kind = self.field(0)
        while kind:
            if kind in WHOLE:
                fields[number] = self.whole()
            else:
                self.pass_over(kind)
            number, kind = self.field(number)
        return fields

    def pass_over(self, kind: int, depth: int = 0) -> None:
        """Pass over the value of a field, which lies in so many others."""
        if depth > _MOST_DEPTH:
            raise ValueError("values lie too deep within each other")
        if kind == STRUCT:
            self._pass_over_struct(depth + 1)
        elif kind in (LIST, SET):
            count, inner = self.items()
            if inner in (TRUE, FALSE, BYTE):
                self._skip(count)
            elif inner == STRUCT:
                for _ in range(count):
                    self._pass_over_struct(depth + 1)
            else:
                for _ in range(count):
                    self.pass_over(inner, depth + 1)
        elif kind in WHOLE:
            self.varint()
        elif kind == BINARY:
            self._skip(self.varint())
        elif kind in (BYTE, DOUBLE):
            self._skip(1 if kind == BYTE else 8)
        elif kind not in (TRUE, FALSE):  # which lie in the kind; mappings, of which Parquet has none
            raise ValueError("a value is of an unknown kind")

    def _pass_over_struct(self, depth: int) -> None:
        # Most of what is passed over is statistics: structs of short numbers and texts.
        content, position = self.content, self.position
        while byte := content[position]:
            position += 1
            if byte < 16:  # the number of the field follows
                while content[position] > 127:
                    position += 1
                position += 1
            kind = byte & 15
            if kind in WHOLE:
                while content[position] > 127:
                    position += 1
                position += 1
            elif kind == BINARY and content[position] < 128:
                position += 1 + content[position]
            elif kind > FALSE:
                self.position = position
                self.pass_over(kind, depth)
                position = self.position
        self.position = position + 1

    def _skip(self, count: int) -> None:
        if count > len(self.content) - self.position:
            raise IndexError
        self.position += count


def varint(value: int) -> bytes:
    """A number that is not negative, as it is written."""
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def list_header(count: int, kind: int) -> bytes:
    """Return the bytes that stand before the values of a list."""
    return bytes([count << 4 | kind]) if count < 15 else bytes([0xF0 | kind]) + varint(count)
