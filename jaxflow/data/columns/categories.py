"""Which category a cell is of: a text by its letters, a number by the way it is written."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import numpy as np

UNSEEN = -1.0  # the place of a category that the training rows do not have

# What the cells were that a column's categories were learned from: texts; numbers; or, in detectors that were saved
# before the two were told apart, either, with texts that are the same number taken for one.
Spelling: TypeAlias = Literal["text", "number", "merged"]

_TRUTHS = (("1", "true", "True", "TRUE"), ("0", "false", "False", "FALSE"))


class Categories(Sequence[str]):
    """The categories of a column, by which the cells of other tables find their places.

    Texts that differ are of different categories: "1.10", "1.1" and "01.1" are three. A number is of the category that
    is written as numbers are: 3 and 3.0 are "3", or "3.0" if there is no "3", but never "03".

    Args:
        texts: the categories, all different.
        spelling: what they were learned from. A text is of a category learned from numbers if it is written as that
            number is.
    """

    def __init__(self, texts: Sequence[str], spelling: Spelling = "text"):
        self._texts = tuple(texts)
        self.spelling: Spelling = spelling
        self._places = places_by_text(self._texts)
        if spelling == "number":
            for text in self._texts:
                if text.lstrip("-").isdigit():
                    for way in spellings(int(text)):
                        self._places.setdefault(way, self._places[text])

    def __getitem__(self, place):
        return self._texts[place]

    def __len__(self):
        return len(self._texts)

    def place(self, cell: Any) -> float:
        """The place of a cell's category, `UNSEEN` if it has none; the cell is not blank."""
        if not isinstance(cell, str):
            return next((self._places[way] for way in spellings(cell) if way in self._places), UNSEEN)
        text = cell.strip()
        if self.spelling == "merged" and (number := as_number(text)) is not None:
            text = number_text(number)
        return self._places.get(text, UNSEEN)


def number_text(value: Any) -> str:
    """A number that stands for a category, as text: 3 and 3.0 are the same, and no digit of a whole number is lost."""
    if isinstance(value, float | np.floating):
        return str(int(value)) if math.isfinite(value) and float(value).is_integer() else repr(float(value))
    if isinstance(value, Decimal):
        if value.is_finite() and value == value.to_integral_value():
            return str(int(value))
        return repr(float(value)) if Decimal(repr(float(value))) == value else format(value.normalize(), "f")
    return str(int(value))


def spellings(value: Any) -> tuple[str, ...]:
    """The ways in which a number is written by itself: 3 and 3.0 are "3" and "3.0"."""
    short = number_text(value)
    try:
        return (short, repr(float(value))) if float(value) == value else (short,)
    except OverflowError:
        return (short,)


def category_text(cell: Any) -> str:
    """The category that a cell of training rows makes: its text without blanks around it; 3 and 3.0 make "3"."""
    return cell.strip() if isinstance(cell, str) else number_text(cell)


def places_by_text(texts: Sequence[str]) -> dict[str, float]:
    """The place of each category by its text.

    True and false are written in several ways, and tables of some kinds have 1 and 0 for them: each way stands for the
    category that is written in another, unless there are several of these, or other numbers beside.
    """
    places = {text.strip(): float(place) for place, text in enumerate(texts)}
    if all(as_number(text) in (None, 0.0, 1.0) for text in places):
        for ways in _TRUTHS:
            known = [places[way] for way in ways if way in places]
            if len(known) == 1:
                places |= dict.fromkeys(ways, known[0])
    return places


def is_blank(cell: Any) -> bool:
    """Whether a cell is missing: null, not a number, or a blank text, which is how CSV files write null."""
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def as_number(text: str) -> float | None:
    """The finite number that a text is, or None; Python's 1_000 and digits of other scripts are none."""
    if "_" in text or not text.isascii():
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
