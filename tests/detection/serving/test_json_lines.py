"""Lines of a stream that strangers write: each is answered, soon."""

import io
import json
import time

import pytest

from jaxflow.detection.serving.json_lines import LONGEST_LINE, answer_lines


def answers(*lines: bytes) -> list[dict]:
    stream = io.BytesIO(b"\n".join(lines))
    return list(answer_lines(lambda record, where: {"keys": len(record)}, stream.readline))


KEYS = ", ".join(f'"key{number}": 1' for number in range(200_000))
LONG = "k" * 1_000_000


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (f'{{{KEYS}, "key199999": 2}}', "line 1 of standard input is no JSON: the key 'key199999' comes twice"),
        (f'{{{KEYS}, "key0": 2}}', "line 1 of standard input is no JSON: the key 'key0' comes twice"),
        ('{"b": 1, "a": 1, "a": 2, "b": 2}', "line 1 of standard input is no JSON: the key 'a' comes twice"),
        (f'{{"{LONG}": 1, "{LONG}": 2}}', f"line 1 of standard input is no JSON: the key '{'k' * 56}... comes twice"),
        ("[" * 1_000_000, "line 1 of standard input is no JSON: maximum recursion depth exceeded"),
        ('{"a":' * 500_000, "line 1 of standard input is no JSON: maximum recursion depth exceeded"),
        (
            f'{{"a": [{"{}, " * 1_100_000}{{}}]}}',
            "line 1 of standard input has 2200004 values, expected at most 1048576",
        ),
        ("1" * (LONGEST_LINE + 1), f"line 1 of standard input is longer than {LONGEST_LINE} bytes"),
    ],
    ids=["last twice", "first twice", "two twice", "long key", "lists", "mappings", "values", "bytes"],
)
def test_a_hostile_line_is_refused_within_seconds_and_the_next_is_answered(line, answer):
    started = time.process_time()
    refused, answered = answers(line.encode(), b'{"a": 1}')
    assert refused["error"].startswith(answer)
    assert answered == {"keys": 1}
    assert time.process_time() - started < 5


def test_a_line_of_many_keys_and_digits_is_answered():
    started = time.process_time()
    digits = "1" * 8_000_000
    assert answers(f"{{{KEYS}}}".encode(), f'{{"a": {digits}, "b": 0.{digits}}}'.encode()) == [
        {"keys": 200_000},
        {"keys": 2},
    ]
    assert time.process_time() - started < 5
    assert json.loads(f"[{'1' * 300}]", parse_int=float) == [float("1" * 300)]
