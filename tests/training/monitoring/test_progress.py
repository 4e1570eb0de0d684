import io

import pytest

from jaxflow.training.monitoring.progress import FitProgress

ROWS = [
    {"epoch": epoch, "train_loss": 4.0 / epoch, "valid_loss": 2.0 / epoch, "best_loss": 2.0 / epoch} for epoch in (1, 2)
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_without_a_terminal():
    stream = io.StringIO()
    with FitProgress(5, stream) as progress:
        for row in ROWS:
            progress.update(row)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "epoch 1/5  loss 2.0000  best 2.0000"
    assert lines[-1].startswith("epoch 2/5  loss 1.0000  best 1.0000  done in ")
    assert "\x1b" not in stream.getvalue()


def test_time_left_is_told_once_there_is_an_epoch_to_judge_by(monkeypatch):
    monkeypatch.setattr("jaxflow.training.monitoring.progress.SECONDS_BETWEEN_LINES", -1.0)
    stream = io.StringIO()
    with FitProgress(5, stream) as progress:
        for row in ROWS:
            progress.update(row)
    assert "at most 0 s left" in stream.getvalue().splitlines()[1]


def test_a_resumed_fit_says_from_where_it_goes_on():
    stream = io.StringIO()
    with FitProgress(5, stream) as progress:
        progress.restore(ROWS[:1])
        progress.update(ROWS[1])
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["going on after epoch 1/5", "epoch 2/5  loss 1.0000  best 1.0000"]


def test_a_long_epoch_says_how_far_it_has_come(monkeypatch):
    monkeypatch.setattr("jaxflow.training.monitoring.progress.SECONDS_BETWEEN_LINES", -1.0)
    stream = io.StringIO()
    with FitProgress(5, stream) as progress:
        progress.partway(1, 0.25)
        progress.update(ROWS[0])
    assert stream.getvalue().splitlines()[0] == "epoch 1/5  25% of it done"


@pytest.mark.filterwarnings("ignore:.*install .ipywidgets.*")
def test_a_bar_with_loss_best_epochs_and_time_left_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with FitProgress(5, stream) as progress:
        progress.partway(1, 0.5)
        for row in ROWS:
            progress.update(row)
    shown = stream.getvalue()
    for part in ("fitting", "2/5", "loss 1.0000", "best 1.0000", "left"):
        assert part in shown


def test_nothing_more_is_said_when_the_fit_fails():
    stream = io.StringIO()

    def failing_fit():
        with FitProgress(5, stream) as progress:
            progress.update(ROWS[0])
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        failing_fit()
    assert "done" not in stream.getvalue()
