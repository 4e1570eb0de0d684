import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def _overlap(first, second) -> bool:
    return first.x0 < second.x1 and second.x0 < first.x1 and first.y0 < second.y1 and second.y0 < first.y1


def _assert_legible(figure: Figure, legend: bool = True) -> None:
    """Titled, labelled, nothing cut off, nothing over the data, and no letter smaller than 9 points."""
    axes = figure.axes[0]
    assert axes.get_title()
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_visible() and text.get_text():
            assert float(text.get_fontsize()) >= 9, text
            box = text.get_window_extent(renderer)
            # A tick outside the limits of its axis keeps its label but is not drawn.
            if text in axes.get_xticklabels() + axes.get_yticklabels():
                continue
            assert box.x0 >= -1, text
            assert box.y0 >= -1, text
            assert box.x1 <= figure.bbox.width + 1, text
            assert box.y1 <= figure.bbox.height + 1, text
    low, high = sorted(axes.get_xlim())
    drawn = [
        label.get_window_extent(renderer)
        for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if low <= tick <= high
    ]
    assert drawn
    assert not any(_overlap(first, second) for first, second in itertools.pairwise(drawn))
    if legend:
        assert not figure.legends[0].get_frame_on()
        (box,) = [item.get_window_extent(renderer) for item in figure.legends]
        assert not _overlap(box, axes.get_window_extent(renderer))
        assert box.x0 >= -1
        assert box.x1 <= figure.bbox.width + 1


@pytest.fixture(scope="session")
def assert_legible():
    return _assert_legible


@pytest.fixture
def overlapping():
    """Labels and scores of a detector that is neither perfect nor useless, with ties and infinite scores."""
    rng = np.random.default_rng(3)
    labels = np.r_[np.zeros(300, int), np.ones(40, int)]
    scores = np.round(np.r_[rng.normal(0, 1, 300), rng.normal(1.5, 1, 40)], 1)
    scores[[5, 320, 330]] = np.inf
    return labels, scores
