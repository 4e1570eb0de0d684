import io
import logging
import os
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jaxflow.config import printing
from jaxflow.config.printing import Nowhere, Standard, answer, output_failure, say, show, write_line
from jaxflow.errors import LONGEST_SENTENCE, InputError, one_line

HOSTILE = {
    "clears the screen": ("\x1b[2J", r"\x1b[2J"),
    "sets the title": ("\x1b]0;mine\x07", r"\x1b]0;mine\x07"),
    "the same in one byte": ("\x9b2J", r"\x9b2J"),
    "goes back": ("good\rbad", "good bad"),
    "rubs out": ("good\b\b\b\bbad", r"good\x08\x08\x08\x08bad"),
    "two lines": ("a\nerror: b", "a error: b"),
    "reads the other way": ("\u202egnp.exe", r"\u202egnp.exe"),
    "no character": ("\ud800", r"\ud800"),
    "letters": ("µ ± 雪", "µ ± 雪"),
}


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_reaches_a_terminal_as_an_order(capsys, text):
    text, shown = HOSTILE[text]
    assert one_line(text) == shown
    assert str(InputError(text)) == shown
    say(text)
    show(text)
    assert capsys.readouterr() == (f"{shown}\n", f"{shown}\n")


@pytest.mark.parametrize("char", ["x", "\x1b", "\n", "\U000e0001"])
def test_a_long_text_is_cut_in_its_middle(char):
    line = one_line("begin" + char * 10**6 + "end")
    assert len(line) == LONGEST_SENTENCE
    assert line.startswith("begin")
    assert line.endswith("end")
    assert line.isprintable()


def test_what_libraries_say_is_a_line(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", None)
    monkeypatch.setattr(sys, "excepthook", None)
    monkeypatch.setattr(sys, "unraisablehook", None)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    printing.print_for_scripts()
    warnings.showwarning("\x1b[2J", UserWarning, "a.py", 1)
    try:
        raise ValueError("\x1b[2J")
    except ValueError as error:
        logging.getLogger("orbax").exception("it\nfailed")
        sys.excepthook(ValueError, error, None)
    report: Any = sys.unraisablehook
    report(SimpleNamespace(exc_type=KeyError, exc_value=KeyError("a")))
    in_a_thread = threading.Thread(target=report, args=(SimpleNamespace(exc_type=KeyError, exc_value="b"),))
    in_a_thread.start()
    in_a_thread.join()
    lines = [r"warning: \x1b[2J", "error: orbax: it failed", r"ValueError: \x1b[2J"]
    assert capsys.readouterr().err.splitlines() == [*lines, "warning: KeyError: 'a'"]


def test_without_a_stream_nothing_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    say("x")
    show("x")
    with pytest.raises(InputError, match="standard output is closed, expected a place for the answers"):
        answer("{}")


@pytest.fixture
def full():
    with Path("/dev/full").open("wb") as file:
        yield file.fileno()


def test_a_full_stream_takes_what_it_is_given_and_remembers(full, monkeypatch):
    raw = Standard(full)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw), "utf-8"))
    show("x" * 100)
    assert output_failure() is None  # it is in the buffer
    with pytest.raises(InputError, match="standard output cannot be written: No space left on device"):
        answer("{}")
    show("more")
    sys.stdout.flush()
    assert output_failure() is raw.failure is not None
    with suppress(OSError), os.fdopen(full, "w", closefd=False) as stream:
        write_line(stream, "lost")  # and not a word about it


def test_a_reader_who_is_gone_is_no_mistake(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Standard(write)), "utf-8"))
    with pytest.raises(BrokenPipeError):
        answer("{}")
    os.close(write)


def test_nowhere_takes_all():
    assert Nowhere().write("four") == 4
    assert not Nowhere().isatty()
