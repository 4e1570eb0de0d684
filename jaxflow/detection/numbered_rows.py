"""Rows that know their numbers in the user's data, so that whatever is said of one names it as the user knows it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True, eq=False)
class NumberedRows:
    """Rows of codes, each with its number in the user's data.

    Attributes:
        codes: the rows, as `Detector.codes` gives them.
        numbers: the number of each in the user's data.
        data: what the numbers are of, and where they begin, as errors say it.
    """

    codes: Float64[np.ndarray, "n columns"]
    numbers: Int64[np.ndarray, "n"]
    data: str = "X, counted from 0"

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, places: Int64[np.ndarray, "m"]) -> "NumberedRows":
        """Return the rows at these places, with their numbers."""
        return NumberedRows(self.codes[places], self.numbers[places], self.data)
