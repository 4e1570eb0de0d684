"""Texts that are no categories are kept by codes of their own, as far as there is room."""

import pytest

from jaxflow.data.columns import unseen_texts as kept_texts
from jaxflow.data.columns.discrete_maps import UNSEEN
from jaxflow.data.columns.unseen_texts import KeptTexts, shown_text


def test_each_text_has_its_code_until_there_are_too_many(monkeypatch):
    monkeypatch.setattr(kept_texts, "MOST_TEXTS", 2)
    texts = KeptTexts(["a", "b"])
    assert list(texts) == ["a", "b"]
    codes = [texts.code(text) for text in ("c", "d", "c", "e")]
    assert codes == [UNSEEN - 1, UNSEEN - 2, UNSEEN - 1, UNSEEN]
    assert [texts.other(code) for code in codes[:3]] == ["c", "d", "c"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("north", "north"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 57 + "..."),
        ("x" * 10_000_000, "x" * 57 + "..."),
        ("a\nb\x1b[2J", "a\\nb\\x1b[2J"),
        ("\ud800", "\\ud800"),
        ("é", "é"),
    ],
)
def test_a_text_is_shown_in_one_line(text, shown):
    assert shown_text(text) == shown
    assert shown.isprintable()
