"""Messages stay readable, whatever they quote."""

import pytest

from jaxflow.errors import LONGEST_SENTENCE, InputError, counted, shown


def nested(depth: int):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def test_a_long_sentence_keeps_its_beginning_and_its_end():
    assert str(InputError("a" * LONGEST_SENTENCE)) == "a" * LONGEST_SENTENCE
    for quoted in ("x" * 1_000_000, "\x1b" * 1_000_000):
        sentence = str(InputError(f"rows.csv: column {quoted} is missing; the column is a"))
        assert len(sentence) < LONGEST_SENTENCE + 20
        assert sentence.startswith("rows.csv: column ")
        assert sentence.endswith(" is missing; the column is a")
        assert sentence.isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("a\n", r"'a\n'"),
        ("a" * 100, "'" + "a" * 56 + "..."),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16..."),
        (10**5000, "a int too large to show"),
        ([10**5000], "a list too large to show"),
        (nested(100_000), "[[[[[...]]]]]"),
    ],
    ids=["null", "escaped", "long text", "long list", "digits", "digits within", "nested"],
)
def test_any_value_can_be_shown(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(("count", "said"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1000, "1000 rows")])
def test_one_is_not_many(count, said):
    assert counted(count, "row") == said
