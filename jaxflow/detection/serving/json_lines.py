"""A stream of JSON lines, answered line by line."""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from jaxflow.errors import InputError, shown

LONGEST_LINE = 1 << 24  # bytes; more are not kept in memory
MOST_VALUES = 1 << 20  # in a line; parsed, each may take hundreds of bytes, however few it takes in the line


def answer_lines(
    answer: Callable[[Any, str], dict[str, Any]], readline: Callable[[int], bytes]
) -> Iterator[dict[str, Any]]:
    """Answer each line of a stream before the next is read.

    A line that cannot be scored does not end the stream: whoever sends the next one had no part in it.

    Args:
        answer: answers one object, such as `RecordAnswers`; the second argument says where it stood.
        readline: the method of that name of a binary stream, such as `sys.stdin.buffer`; a line is a JSON object of
            column names and numbers, in UTF-8, and lines of white space alone are passed over without an answer.

    Yields:
        For each line what `answer` returns, or for one that is no such object `{"error": "line 7 ..."}`: a
        sentence that names the line, what is wrong and what was expected.
    """
    for number, line in enumerate(_lines(readline), start=1):
        if not line.strip():
            continue
        where = f"line {number} of standard input"
        try:
            yield answer(_record(line, where), where)
        except InputError as error:
            yield {"error": str(error)}


def _lines(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    """The lines; of one that is too long as much as shows that it is."""
    while line := readline(LONGEST_LINE + 1):
        rest = line
        while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
            rest = readline(LONGEST_LINE + 1)
        yield line


def _record(line: bytes, where: str) -> Any:
    if len(line) > LONGEST_LINE:
        raise InputError(f"{where} is longer than {LONGEST_LINE} bytes")
    # Each value but the first follows one of these marks, which short lines are not searched for.
    if len(line) > MOST_VALUES and (values := sum(map(line.count, (b",", b":", b"[", b"{")))) > MOST_VALUES:
        raise InputError(f"{where} has {values} values, expected at most {MOST_VALUES}")
    try:
        # Some programs begin what they write with a mark of its encoding.
        return json.loads(line.decode("utf-8-sig"), object_pairs_hook=_distinct, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is no JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a key twice, brackets without end
        raise InputError(f"{where} is no JSON: {error}") from None


def _integer(digits: str) -> int | float:
    """Whole numbers as they are; those beyond every float are infinite, since Python refuses to read them."""
    return int(digits) if len(digits) <= sys.float_info.max_10_exp else float(digits)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the key {shown(twice)} comes twice")
    return values
