"""Texts whose bytes were taken for letters, one each, which no bytes can make fail."""


def text_of(cell: str) -> tuple[str, bool]:
    """The text of a cell whose bytes were taken for letters, and whether all of them are text."""
    content = bytes_of(cell)
    try:
        return content.decode("utf-8"), True
    except UnicodeDecodeError:
        return content.decode("utf-8", errors="replace"), False


def bytes_of(text: str) -> bytes:
    """The bytes of which each was taken for a letter."""
    return text.encode("latin-1")
