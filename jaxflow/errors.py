"""Errors of this package, and sentences about bad input."""

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

NAMED_ROWS = 5  # the others are counted


def counted(count: int, noun: str) -> str:
    """The number with its noun, as in "1 row" and "2 rows"; the plural takes an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def meant(name: str, known: Iterable[str]) -> str:
    """Return what somebody who wrote `name` probably meant, as the end of a sentence; empty where nothing is near.

    >>> meant("Frod", ["amount", "fraud"]), meant("x", ["amount", "fraud"])
    (', did you mean fraud?', '')
    """
    by_letters: dict[str, str] = {}
    for candidate in known:
        by_letters.setdefault(candidate[:LONGEST_NAME].casefold(), candidate)
    close = difflib.get_close_matches(name[:LONGEST_NAME].casefold(), by_letters, n=1)
    return f", did you mean {by_letters[close[0]]}?" if close else ""


LONGEST_NAME = 60  # letters that are compared: the time grows with their square
GAP = " [...] "
LONGEST_SENTENCE = 1000
"""How many letters of a message are shown; of a longer one, which quotes something long, the beginning and the end."""


def shown(value: Any, most: int = 60) -> str:
    """The representation of a value that somebody else wrote, cut where it is longer than `most` letters."""
    try:
        text = _Head(most).repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, or lists within lists without end
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= most else f"{text[: most - 3]}..."


class _Head(reprlib.Repr):
    """Representations whose first letters are right; of what is long, no more than those letters need is looked at."""

    def __init__(self, most: int):
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = most // 2
        self.maxstring = 2 * most + 2  # quotes and escapes only lengthen a text
        self.maxlong = self.maxother = 1_000_000  # numbers are short


def one_line(text: object, longest: int = LONGEST_SENTENCE) -> str:
    r"""Return `text` as a line that any terminal can show.

    Line ends become spaces, control characters of a terminal, lone surrogates and what else cannot be printed become
    escapes, and of a long text the middle is left out.

    >>> one_line("a\nb \x1b[2J"), one_line("much" * 1000, 20)
    ('a b \\x1b[2J', 'muchmuchmuch [...] h')
    """
    line = _cut(" ".join(_cut(str(text), 4 * longest).splitlines()), longest)
    return _cut("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line), longest)


def _cut(text: str, longest: int) -> str:
    """The beginning and the end, since sentences often end with what helps."""
    if len(text) <= longest:
        return text
    last = (longest - len(GAP)) // 8
    return text[: longest - len(GAP) - last] + GAP + text[len(text) - last :]


class InputError(ValueError):
    """Something the user handed in is wrong: a file, a column, a cell, a key or a value.

    The message is a single sentence that names what is wrong, its value and what was expected, so that a script can
    print it as it is: it may quote a file, so it is made `one_line`. Anything else that escapes from a script is a
    defect of jaxflow and keeps its traceback.
    """

    def __init__(self, sentence: str):
        super().__init__(one_line(sentence))


class Preempted(Exception):
    """A fit was asked to stop by SIGTERM, and its state has been saved."""


class NonFiniteLoss(FloatingPointError):
    """A fit ended at a step whose loss or gradient was not finite.

    Attributes:
        epoch: the epoch of that step, from 1.
        step: the step in that epoch, from 1.
        rows: the rows of the training data that make it so each by itself; empty if none does.
        diverged: whether all rows of the step do, which is a sign of bad parameters rather than of bad rows.
        result: what `fit` would have returned, with the best parameters of the epochs before; None if there are none.
        source: what the rows are rows of, and where their numbers begin.
        subject: what was not finite.
    """

    def __init__(
        self,
        epoch: int,
        step: int,
        rows: Sequence[int],
        *,
        diverged: bool = False,
        result: Any = None,
        source: str = "the training data, counted from 0",
        subject: str = "the loss or its gradient",
    ):
        super().__init__(epoch, step, rows)
        self.epoch, self.step, self.rows = epoch, step, tuple(rows)
        self.diverged, self.result, self.source, self.subject = diverged, result, source, subject

    def renamed(self, rows: Iterable[Any], source: str | None = None) -> "NonFiniteLoss":
        """Return this error for who knows its rows by these numbers, of `source`."""
        renamed = copy(self)
        renamed.rows = tuple(int(row) for row in rows)
        renamed.source = self.source if source is None else source
        return renamed

    def __str__(self) -> str:
        """One sentence: where, why, and what can be done."""
        named = ", ".join(str(row) for row in self.rows[:NAMED_ROWS])
        more = f" and {len(self.rows) - NAMED_ROWS} more" if len(self.rows) > NAMED_ROWS else ""
        if self.diverged:
            why = "for every row of that step: try a lower learning_rate or data on a smaller scale"
        elif self.rows:
            why = f"because of row{'s' if len(self.rows) > 1 else ''} {named}{more} of {self.source}"
        else:
            why = "though for no row of that step by itself"
        kept = "no epoch before it gave parameters to keep" if self.result is None else "the best parameters are kept"
        return (
            f"{self.subject} was not finite in epoch {self.epoch}, step {self.step}, {why}; {kept}; "
            "bad_steps = skip leaves such steps out"
        )
