"""Numbers with something about them that a reader of numbers does not take: $12.5, 12 %, 1 234, (5), 51.3 km/h."""

import re
import unicodedata
from collections.abc import Iterable

MOST_KINDS = 9  # of what may be numbers, that are kinds of things, such as sizes, in a column of other texts
SURE_NUMBERS = 50  # of which there are as many different ones are none, however often each is there
LONGEST = 40  # letters of a number and what is about it
LEAST_SHARE = 0.1  # of a column's cells that have to be such numbers, so that they are not mistakes in it

_GAP = "[ \\t]"
_GROUPS = r"\d{1,3}(?:[.,' \u2019_]\d{3})+(?:[.,]\d*)?|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d*)?"
_POWER = rf"[eE][+-]?\d+|{_GAP}?[x*\u00d7\u22c5\u00b7]{_GAP}?10(?:\^|\*\*)?{_GAP}?[+-]?\d+"
_DIGITS = rf"(?:{_GROUPS}|\d+(?:[.,]\d*)?|[.,]\d+)(?:{_POWER})?"
_FRACTION = rf"(?:{_GROUPS}|\d*[.,]\d+)(?:{_POWER})?"
_MONEY = (
    r"(?:[$€£¥₹₽₩₺₴₿¢₫₪₱₦₲₡₵₸₨]|[A-Z]{0,2}\$|Rs\.?|INR|Fr\.?|USD|EUR|GBP|CHF|JPY|CNY|RMB|AUD|CAD|NZD|HKD|SGD|SEK|NOK"
    r"|DKK|PLN|CZK|HUF|RON|BGN|TRY|RUB|UAH|ILS|ZAR|BRL|MXN|KRW|THB|IDR|MYR|PHP|zł|Kč|Ft|kr\.?|lei|dollars?|euros?"
    r"|pounds?|cents?|rupees?)"
)
_UNIT = (
    r"(?:%|‰|pct|percent|°|°C|°F|deg|[munkMGT]?Hz|[munk]?sec|[munμµ]s|[munkMGT]V|[munkM]A|[mkMG]W|[kMG]?Wh|[kMh]?Pa"
    r"|m?bar|mmHg|psi|atm|kg|mg|[μµ]g|lbs?|oz|[munkcd]m|[cdm]l|[KkMGT]i?B|[kMG]bps|min|mins|hrs?|hours?|rpm|ppm|ppb|dB|mph|kph"
    r"|kmph|kn|kJ|kcal|k?Ω|k?ohm|N[m]|mol|[A-Za-zμµ°]{1,4}/[A-Za-zμµ]{1,4}(?:\^?[23])?|[munkcd]?m(?:\^?[23]))"
)
# They may belong to a code as well, as in 12B, 30+ or <10.
_OTHER_UNIT = r"(?:[KkMBTbhsgtlLdmyAVWNJF]|bn|mn|mio|mln|days?|weeks?|months?|years?|yrs?|m2|m3)\.?"
_RELATION = r"(?:[<>=~\u2248\u2264\u2265\u00b1]{1,2}|ca\.?|approx\.?)"
_WORDS = r"[A-Za-zμµ°]+\.?(?: [A-Za-zμµ°]+\.?){0,2}"

_DRESSED = re.compile(
    rf"\(?{_GAP}*[+-]?{_GAP}*{_MONEY}?{_GAP}*[+-]?{_GAP}*{_DIGITS}{_GAP}*(?:{_MONEY}|{_UNIT})?{_GAP}*\)?"
    rf"|'{_GAP}*[+-]?{_DIGITS}{_GAP}*'|{_MONEY}?{_GAP}*{_DIGITS}{_GAP}?-|{_DIGITS}{_GAP}?(?:CR|DR|Cr|Dr)",
    re.ASCII,
)
_PERHAPS = re.compile(
    rf"{_RELATION}?{_GAP}*[+-]?{_MONEY}?{_GAP}*[+-]?{_DIGITS}{_GAP}*(?:{_OTHER_UNIT}|{_MONEY}|{_UNIT}|[+x])?"
    rf"|{_RELATION}?{_GAP}*[+-]?{_FRACTION}{_GAP}*{_WORDS}",
    re.ASCII,
)
_MINUSES = str.maketrans(dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d", "-"))


def is_dressed_number(text: str) -> bool:
    """Whether a text is a number with something about it that leaves no doubt, or in digits of another script."""
    plain = _plain(text)
    return len(plain) <= LONGEST and _DRESSED.fullmatch(plain) is not None


def may_be_number(text: str) -> bool:
    """Whether a text is a number with something about it that may be part of a name as well: 51.3K, <0.5, 12 days."""
    plain = _plain(text)
    return len(plain) <= LONGEST and any(form.fullmatch(plain) for form in (_PERHAPS, _DRESSED))


def are_numbers(counts: Iterable[int], cells: int) -> bool:
    """Whether texts that may be numbers are some, by how often each is there among a column's cells.

    Numbers take more values than kinds of things do: most of the texts differ, or there are very many of them.
    """
    counts = list(counts)
    total = sum(counts)
    differ = len(counts) > MOST_KINDS and (2 * len(counts) > total or len(counts) >= SURE_NUMBERS)
    return differ and total >= LEAST_SHARE * cells


def _plain(text: str) -> str:
    """A text in letters of ASCII as far as there are some for it: one kind of digit, of minus and of gap."""
    text = text.strip()
    if text.isascii() or len(text) > LONGEST:
        return text
    text = "".join(_digit(letter) for letter in text.translate(_MINUSES))
    return unicodedata.normalize("NFKC", text)


def _digit(letter: str) -> str:
    return str(unicodedata.decimal(letter)) if letter.isdecimal() else letter
