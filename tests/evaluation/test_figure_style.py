import struct

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxflow.errors import InputError
from jaxflow.evaluation.figure_style import CURVE_COLORS, add_legend, new_axes, save_figure, styled


@styled
def _figure(lines=1):
    figure, axes = new_axes("title", "x (s)", "y (m)")
    for index in range(lines):
        axes.plot([0, 1], [0, index], label=f"line {index}")
    add_legend(figure)
    return figure


def _chunks(data):
    position = 8
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        yield data[position + 4 : position + 8]
        position += 12 + length


def test_the_same_figure_gives_the_same_bytes_without_date_or_text(tmp_path):
    save_figure(_figure(), tmp_path / "a.png")
    save_figure(_figure(), tmp_path / "b.png")
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert not {b"tEXt", b"iTXt", b"zTXt", b"tIME"} & set(_chunks(data))


def test_the_picture_has_the_size_of_the_readme(tmp_path):
    save_figure(_figure(), tmp_path / "a.png")
    assert struct.unpack(">II", (tmp_path / "a.png").read_bytes()[16:24]) == (900, 600)


def test_a_failure_in_the_middle_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_figure(_figure(), path)
    old = path.read_bytes()

    def write_half(self, target, **options):
        target.write_bytes(b"\x89PNG")
        raise RuntimeError("half way")

    monkeypatch.setattr(Figure, "savefig", write_half)
    with pytest.raises(RuntimeError, match="half way"):
        save_figure(_figure(2), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.svg does not end in \.png"):
        save_figure(_figure(), tmp_path / "a.svg")


def test_a_long_legend_makes_the_figure_taller_and_not_the_axes_smaller(assert_legible):
    heights = []
    for lines in (2, 12):
        figure = _figure(lines)
        assert_legible(figure)
        heights.append(figure.axes[0].get_window_extent().height)
    assert heights[1] > 0.9 * heights[0]


@styled
def test_notes_stand_between_title_and_axes():
    figure, axes = new_axes("title", "x", "y", ["first", "second"])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (note,) = axes.texts
    box = note.get_window_extent(canvas.get_renderer())
    assert note.get_text() == "first\nsecond"
    assert axes.get_window_extent().y1 < box.y0
    assert box.y1 < axes.title.get_window_extent(canvas.get_renderer()).y0
    assert len(new_axes("title", "x", "y")[1].texts) == 0


def test_the_colours_of_curves_differ_also_in_lightness():
    def lightness(color):
        red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    assert len(set(CURVE_COLORS)) == len(CURVE_COLORS)
    assert len({round(lightness(color)) for color in CURVE_COLORS}) == len(CURVE_COLORS)
