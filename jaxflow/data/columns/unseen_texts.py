"""Texts that are none of a column's categories, kept so that they can be shown."""

from collections.abc import Sequence

from jaxflow.data.columns.categories import UNSEEN, Categories

LONGEST_TEXT = 60  # letters of a text that are shown
MOST_TEXTS = 10_000  # of one column that are kept


class KeptTexts(Categories):
    """The categories of a column, which keeps other texts that it is asked for, up to a number of them.

    Each of these has a code of its own, below `UNSEEN`.

    Args:
        known: the categories.
    """

    def __init__(self, known: Sequence[str]):
        super().__init__(known, known.spelling if isinstance(known, Categories) else "text")
        self._others: list[str] = []
        self._codes: dict[str, float] = {}

    def code(self, text: str) -> float:
        """The code of a text that is no category; `UNSEEN` for one that is not kept."""
        shown = shown_text(text)
        if shown not in self._codes and len(self._others) < MOST_TEXTS:
            self._others.append(shown)
            self._codes[shown] = UNSEEN - len(self._others)
        return self._codes.get(shown, UNSEEN)

    def other(self, code: float) -> str:
        """The text of such a code below `UNSEEN`, as it is shown."""
        return self._others[int(UNSEEN - code) - 1]


def shown_text(text: str) -> str:
    """A text of whatever length and letters as much of it as can be shown in a line."""
    start = text[: LONGEST_TEXT + 1]
    shown = start if start.isprintable() else repr(start)[1:-1]
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[: LONGEST_TEXT - 3]}..."
