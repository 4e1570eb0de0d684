"""Numbers that are written with other signs are told from kinds of things, which are few or no numbers."""

import numpy as np
import pytest

from jaxflow.data.tables.csv.dressed_numbers import are_numbers, is_dressed_number, may_be_number
from jaxflow.data.tables.read_table import read_table
from jaxflow.errors import InputError

SURE = {
    "dollars": "${:.2f}",
    "negative dollars": "-${:.2f}",
    "percent": "{:.1f} %",
    "full width percent": "{:.1f}\uff05",
    "accounts": "({:.2f})",
    "credit": "{:.2f} CR",
    "unicode minus": "\u2212{:.1f}",
    "dash": "\u2013{:.1f}",
    "trailing minus": "{:.1f}-",
    "no-break space": "1\u00a0{:07.3f}",
    "thin space": "1\u2009{:07.3f}",
    "narrow no-break space": "1\u202f{:07.3f}",
    "Indian groups": "12,34,{:03.0f}",
    "rupees": "Rs. {:.0f}",
    "code of a currency": "{:.2f} SEK",
    "speed": "{:.1f} km/h",
    "power of ten": "{:.2f} \u00d7 10^3",
    "mmHg": "{:.0f} mmHg",
    "square metres": "{:.1f} m\u00b2",
}
PERHAPS = {
    "thousands": "{:.1f}K",
    "millions": "{:.2f}M",
    "below": "<{:.1f}",
    "at most": "\u2264 {:.1f}",
    "about": "~{:.1f}",
    "days": "{:.0f} days",
    "hours": "{:.1f} h",
    "words": "{:.2f} US gallons",
    "or more": "{:.0f}+",
}
NONE = [
    "A1",
    "1.2.3",
    "10.0.0.1",
    "01.02.2024",
    "2024-01-02",
    "12:30",
    "1st",
    "4WD",
    "x",
    "-",
    "10-20",
    "3 rooms",
    "1/2",
]
NONE += [
    "51 Main St",
    "123-XY",
    "A0001",
    "room 5",
    "1.2-beta",
    "10x20",
    "#5",
    "B12",
    "v1.2",
    "e5",
    "DE-51",
    "a b c",
    "",
]


def column(form, n=60, share=1.0, seed=0):
    """Cells of which a share are numbers in this form and the others one of three words."""
    rng = np.random.default_rng(seed)
    numbers = [form.format(value) for value in rng.uniform(10, 999, n)]
    return [number if rng.random() < share else str(rng.choice(["none", "open", "n/a yet"])) for number in numbers]


def csv_file(folder, cells):
    path = folder / "t.csv"
    path.write_text("load;price\n" + "".join(f"{row}.5;{cell}\n" for row, cell in enumerate(cells)))
    return path


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("form", [*SURE.values(), *PERHAPS.values()], ids=[*SURE, *PERHAPS])
def test_numbers_are_refused_where_they_are_all_or_many_of_a_column(form, share, message, tmp_path):
    said = message(read_table, csv_file(tmp_path, column(form, share=share)), label=None)
    assert ", column price is " in said
    assert "expected a plain number: take other signs away, or say that it is none (columns.types.price" in said


@pytest.mark.parametrize("form", SURE.values(), ids=SURE)
def test_numbers_without_doubt_are_so_though_they_are_few(form):
    assert is_dressed_number(form.format(51.4))


@pytest.mark.parametrize("form", PERHAPS.values(), ids=PERHAPS)
def test_what_may_be_a_number_is_a_kind_where_there_are_few(form, tmp_path):
    assert not is_dressed_number(form.format(51.4))
    kinds = [form.format(value) for value in (1, 2.5, 5, 10, 20)]
    found = read_table(csv_file(tmp_path, kinds * 10), label=None)
    assert set(found.categories["price"]) == set(kinds)


@pytest.mark.parametrize("text", NONE)
def test_names_and_codes_are_no_numbers(text):
    assert not may_be_number(text)


@pytest.mark.parametrize(
    "kinds",
    [
        ["10-20", "20-30", "30+", "<10"],
        [f"{rooms} rooms" for rooms in range(1, 30)],
        [f"A{number}" for number in range(40)],
        [f"{number}th" for number in range(4, 40)],
        [f"2024/01/{day:02d}" for day in range(1, 28)],
        [f"10.0.0.{number}" for number in range(40)],
        [f"1.{number}.0" for number in range(40)],
        ["S", "M", "L", "12A", "12B", "14A"],
    ],
)
def test_plain_categories_are_read(kinds, tmp_path):
    assert set(read_table(csv_file(tmp_path, kinds * 3), label=None).categories["price"]) == set(kinds)


@pytest.mark.parametrize(
    ("counts", "cells", "numbers"),
    [
        ([1] * 10, 10, True),
        ([1] * 9, 9, False),  # too few to tell
        ([1] * 10, 101, False),  # mistakes in another column
        ([2] * 10, 20, False),
        ([3] * 10 + [1] * 30, 60, True),
        ([1000] * 50, 50_000, True),  # rounded
        ([1000] * 49, 49_000, False),
        ([], 5, False),
    ],
)
def test_how_many_different_texts_make_numbers(counts, cells, numbers):
    assert are_numbers(counts, cells) == numbers


def test_the_decision_is_made_over_all_blocks_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxflow.data.tables.csv.csv_table.BLOCK_BYTES", 200)
    with pytest.raises(InputError, match="expected a plain number"):
        read_table(csv_file(tmp_path, column("{:.1f}K", 100, 0.3)), label=None)
    few = ["none", "open", *[f"{size}K" for size in range(1, 10)]] * 20
    assert len(read_table(csv_file(tmp_path, few), label=None).categories["price"]) == 11


@pytest.mark.parametrize("text", ["1 " * 10_000, "(" * 10_000, "5" + " " * 10_000 + "!", "1," * 10_000])
def test_long_texts_are_none_at_once(text):
    assert not may_be_number(text)
    assert not is_dressed_number(text)
