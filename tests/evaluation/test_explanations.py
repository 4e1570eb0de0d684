from typing import Any

import numpy as np
import pytest

from jaxflow.detection import Explanation
from jaxflow.errors import InputError
from jaxflow.evaluation.explanation_plots import MOST_BARS, plot_reasons
from jaxflow.evaluation.explanation_table import explanation_table


def explained(columns, infinite=0) -> Explanation:
    rng = np.random.default_rng(0)
    calibrated = rng.exponential(3, size=(2, columns))
    calibrated[0, :infinite] = np.inf
    names = tuple(f"a column with quite a long name, number {index}" for index in range(columns))
    x = rng.normal(size=(2, columns)) * 10.0 ** np.arange(columns)
    low, high = -np.ones((2, columns)), np.ones((2, columns))
    return Explanation(
        names, x, np.array([np.inf, 7.0]), "replacement", calibrated, calibrated, low, high,
        np.zeros((2, columns), bool), {}, np.full(columns, columns == 4),
    )  # fmt: skip


@pytest.mark.parametrize(("columns", "infinite"), [(1, 0), (4, 2), (25, 1), (3, 3)])
def test_bars_show_the_columns_that_carry_most(assert_legible, columns, infinite):
    explanation = explained(columns, infinite)
    figure = plot_reasons(explanation, 0)
    assert_legible(figure)
    axes = figure.axes[0]
    shown = min(columns, MOST_BARS)
    assert len(axes.patches) == shown
    bars: Any = axes.patches
    lengths = [bar.get_width() for bar in bars]
    assert lengths == sorted(lengths, reverse=True)
    finite = np.sort(explanation.calibrated[0][np.isfinite(explanation.calibrated[0])])[::-1]
    np.testing.assert_allclose(lengths[infinite:], finite[: shown - infinite])
    assert all(bar.get_hatch() for bar in axes.patches[:infinite])
    assert not any(bar.get_hatch() for bar in axes.patches[infinite:])
    notes = " ".join(text.get_text() for text in axes.texts)
    assert (f"{columns - shown} columns that carry less" in notes) == (columns > shown)
    assert (f"hatched: {infinite} beyond all that is seen" in notes) == (infinite > 0)
    first = axes.get_yticklabels()[0].get_text()
    assert ("normal in this context: -1 to 1" if columns == 4 else "normal: -1 to 1") in first
    assert first.startswith("a column ...number ")


def test_a_row_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="row = 2: expected 0 to 1"):
        plot_reasons(explained(3), 2)


@pytest.mark.parametrize("columns", [2, 5])
def test_the_table_names_the_first_reasons(columns):
    explanation = explained(columns)
    header, rows = explanation_table(explanation, [12, 3], threshold=7.0)
    assert header == ("row", "score", "flagged", "first reason", "second", "third")[: 3 + min(columns, 3)]
    assert [row[:3] for row in rows] == [("12", np.inf, "yes"), ("3", 7.0, "no")]
    top = explanation.top(1)[1][0]
    assert rows[1][3] == f"{top.column} = {top.value:.4g} (normal: -1 to 1)"
