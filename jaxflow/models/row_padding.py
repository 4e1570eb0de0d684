"""Numbers of rows rounded up, so that data sets of about one size share compiled programs."""


def size_class(rows: int) -> int:
    """The least of 1 to 16, 18, 20, ..., 32, 36, ..., 64, 72, ... that is not below `rows`: at most an eighth more."""
    step = 1 << max(0, (rows - 1).bit_length() - 4)
    return -(-rows // step) * step
