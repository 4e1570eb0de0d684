import io

import numpy as np
import pytest
from rich.console import Console

from jaxflow.errors import InputError
from jaxflow.evaluation.metrics import evaluate_scores
from jaxflow.evaluation.tables import format_cell, format_number, metrics_table, print_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (0.98, "0.9800"),
        (0.123456, "0.1235"),
        (1234.56, "1235"),
        (12345.6, "1.235e+04"),
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (-3.5, "-3.500"),
        (1e-7, "1.000e-07"),
        (284807, "284,807"),
        (np.int64(1000), "1,000"),
        (np.float32(0.5), "0.5000"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (True, "yes"),
    ],
)
def test_format_number(value, text):
    assert format_number(value) == text


def test_strings_are_left_alone():
    assert format_cell("0.98") == "0.98"


def test_metrics_in_plain_words():
    metrics = evaluate_scores(np.array([0, 0, 1, 1]), np.array([0.0, 2.0, 1.0, 3.0]), 1.5, n_train=1000)
    header, rows = metrics_table(metrics)
    assert len(header) == 2
    table = {name: format_cell(value) for name, value in rows}
    assert table == {
        "ROC-AUC": "0.7500",
        "PR-AUC (prevalence 0.5000)": "0.8333",
        "PR-AUC relative to random scores": "1.667",
        "precision": "0.5000",
        "recall": "0.5000",
        "F1": "0.5000",
        "false-positive rate": "0.5000",
        "threshold (score)": "1.500",
        "rows: train / test / anomalies": "1,000 / 4 / 2",
    }


def test_missing_metrics_read_not_applicable():
    _, rows = metrics_table(evaluate_scores(np.zeros(2, int), np.array([0.0, 1.0]), 0.5, n_train=1))
    assert format_cell(dict(rows)["ROC-AUC"]) == "n/a"


def test_printed_table_shows_everything_as_it_is():
    stream = io.StringIO()
    print_table(
        "Title [blue]", ("name", "a [b]"), [("x [red]", 0.5), ("y", None)], console=Console(file=stream, width=60)
    )
    text = stream.getvalue()
    for part in ("Title [blue]", "a [b]", "x [red]", "0.5000", "n/a"):
        assert part in text


def test_printed_table_goes_to_standard_output(capsys):
    print_table("Title", ("name",), [("x",)])
    assert "Title" in capsys.readouterr().out


def test_a_row_of_another_length_is_refused():
    with pytest.raises(InputError, match="table 'Title', row 1: 3 cells, expected 2 as in the header"):
        print_table("Title", ("a", "b"), [(1, 2), (1, 2, 3)])
